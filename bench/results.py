"""What was found: figures, what they are measured beside, their targets, and whether these were met."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table. ``met`` is None where there is no target, or nothing to hold it against.

    ``ratio`` is ``figure / beside``; ``target`` says in words what was asked of the figure or of the ratio.
    """

    name: str
    what: str
    figure: float
    unit: str
    beside: str
    beside_figure: float | None
    target: str | None = None
    met: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times what it was measured beside."""
        return round(self.figure / self.beside_figure, 3) if self.beside_figure else None

    def as_json(self) -> dict[str, Any]:
        """For results.json."""
        return {**asdict(self), "ratio": self.ratio}


def alternate(rounds: int, runs: Mapping[str, Callable[[], Figures]]) -> dict[str, list[Figures]]:
    """Every run once in each round, every second round backwards: what changes meanwhile meets them all."""
    found: dict[str, list[Figures]] = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs) if number % 2 == 0 else list(runs)[::-1]
        for name in names:
            found[name].append(runs[name]())
    return found


def middle(figures: list[Figures], name: str) -> float:
    """The median over the rounds."""
    return float(median(each[name] for each in figures))


def write(
    path: Path, *, machine: Figures, options: Figures, results: list[Result], failures: Sequence[Figures]
) -> None:
    """results.json."""
    content = {
        "machine": machine,
        "options": options,
        "results": [result.as_json() for result in results],
        "failures": failures,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def show(console: Console, machine: Figures, results: list[Result], failures: Sequence[Figures]) -> None:
    """The table on the terminal."""
    console.print("  ".join(f"{name}: {value}" for name, value in machine.items()), highlight=False)
    table = Table(title="Benchmarks")
    for name in ("what", "figure", "beside", "ratio", "target", "met"):
        table.add_column(name, justify="right" if name in {"figure", "ratio"} else "left", no_wrap=True)
    for each in results:
        beside = "" if each.beside_figure is None else f": {_number(each.beside_figure)} {each.unit}"
        table.add_row(
            each.what,
            f"{_number(each.figure)} {each.unit}",
            f"{each.beside}{beside}",
            "" if each.ratio is None else f"{each.ratio:.2f}",
            each.target or "",
            {True: "yes", False: "MISSED", None: "-"}[each.met],
        )
    console.print(table)
    for failure in failures:
        console.print(f"[bold]{failure['name']} could not be measured:[/bold] {failure['reason']}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
