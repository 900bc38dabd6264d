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
COLUMNS = ("what", "figure", "beside", "ratio", "target", "met")
BEGIN = "<!-- figures: written by `make bench` -->"
END = "<!-- end of figures -->"


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


def content_of(
    *, machine: Figures, options: Figures, results: list[Result], failures: Sequence[Figures]
) -> dict[str, Any]:
    """What results.json holds."""
    return {
        "machine": machine,
        "options": options,
        "results": [result.as_json() for result in results],
        "failures": failures,
    }


def write(path: Path, content: Figures) -> None:
    """results.json."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def show(console: Console, content: Figures) -> None:
    """The table on the terminal."""
    console.print(machine_line(content["machine"]), highlight=False)
    table = Table(title="Benchmarks")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in {"figure", "ratio"} else "left", no_wrap=True)
    for each in content["results"]:
        table.add_row(*_cells(each))
    console.print(table)
    for failure in content["failures"]:
        console.print(f"{failure['name']} could not be measured: {failure['reason']}", markup=False)


def document(path: Path, content: Figures) -> None:
    """Put the figures where the documentation shows them: between two marks, in place of those before."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{markdown(content)}{END}{after}", encoding="utf-8")


def markdown(content: Figures) -> str:
    """The machine and the table, for the documentation."""
    lines = [machine_line(content["machine"]), "", _row(COLUMNS), _row(["---"] * len(COLUMNS))]
    lines += [_row(_cells(each)) for each in content["results"]]
    return "\n".join(lines) + "\n"


def machine_line(machine: Figures) -> str:
    """The machine in one line."""
    fsync = machine["fsync_ms"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['kernel']}, "
        f"{machine['python']}, SQLite {machine['sqlite']}, PostgreSQL {machine['postgresql']}; "
        f"64 KiB are durable in {fsync['databases']} ms ({fsync['postgresql']} ms where PostgreSQL's files are); "
        f"load average at the start {machine['load_average']}; revision {machine['revision']}."
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(result: Figures) -> list[str]:
    unit, beside, ratio = result["unit"], result["beside_figure"], result["ratio"]
    return [
        result["what"],
        f"{_number(result['figure'])} {unit}",
        result["beside"] if beside is None else f"{result['beside']}: {_number(beside)} {unit}",
        "" if ratio is None else f"{ratio:.2f}",
        result["target"] or "",
        {True: "yes", False: "MISSED", None: "-"}[result["met"]],
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
