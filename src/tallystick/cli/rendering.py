"""How answers look: JSON for programs, tables for people. Amounts are exact and aligned at their points."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tallystick.cli.problems import Problem

Row = Mapping[str, Any]
Kind = Literal["text", "amount", "time"]

WIDTH_OF_A_FILE: Final = 160
NOTHING: Final = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, where its value is in a row, and what kind of value that is."""

    title: str
    value: str | Callable[[Row], object]
    kind: Kind = "text"
    wraps: bool = False

    def of(self, row: Row) -> object:
        """This column's value in a row."""
        return row.get(self.value) if isinstance(self.value, str) else self.value(row)


def json_text(data: object) -> str:
    """JSON with exact numbers."""
    import msgspec

    return msgspec.json.format(msgspec.json.Encoder(decimal_format="number").encode(data), indent=2).decode()


def console(*, stderr: bool = False) -> Console:
    """Where to print. What goes into a file or a pipe is not broken at 80 columns."""
    stream = sys.stderr if stderr else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=stream, highlight=False, markup=False, width=WIDTH_OF_A_FILE if wide else None)


def text(value: object, style: str = "") -> Text:
    """A value as text. Control characters, which could rewrite a terminal, are shown as what they are not."""
    if value is None:
        return Text(NOTHING, style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no", style=style)
    if isinstance(value, Decimal):
        return Text(amount(value), style=style)
    return Text(
        "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in str(value)), style=style
    )


def amount(value: object, places: int = 0) -> str:
    """An exact number with at least ``places`` decimals and its thousands apart; none is a dash."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return NOTHING if value is None else str(value)
    number = Decimal(value)
    digits = max(places, _places(number))
    # Scaled by hand: the context of `quantize` and `normalize` rounds what has more than 28 digits.
    whole, _, fraction = f"{abs(number):f}".partition(".")
    grouped = f"{int(whole):,}" + (f".{fraction[:digits].ljust(digits, '0')}" if digits else "")
    return f"-{grouped}" if number < 0 else grouped


def _places(value: object) -> int:
    """How many decimals a number needs."""
    if not isinstance(value, Decimal) or not value.is_finite():
        return 0
    return len(f"{value:f}".partition(".")[2].rstrip("0"))


def moment(value: object) -> str:
    """An RFC 3339 time without its letters and its fraction, and still in UTC."""
    shown = str(value)
    if len(shown) >= 20 and shown[10] in "Tt" and shown[-1] in "Zz":  # noqa: PLR2004 - as in 2026-11-01T00:00:00Z
        return f"{shown[:10]} {shown[11:19]}Z"
    return shown


def table(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    title: str | None = None,
    empty: str = "nothing to show",
) -> Table | Text:
    """Rows as a table; no rows are said in words."""
    if not rows:
        return Text(empty, style="dim")
    drawn = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=_box())
    for column in columns:
        drawn.add_column(
            column.title,
            justify="right" if column.kind == "amount" else "left",
            no_wrap=not column.wraps,
            overflow="fold",
        )
    for cells in zip(*(_cells(rows, column) for column in columns), strict=True):
        drawn.add_row(*cells)
    return drawn


def _cells(rows: Sequence[Row], column: Column) -> list[Text]:
    values = [column.of(row) for row in rows]
    if column.kind == "amount":
        places = max(_places(value) for value in values)
        return [text(amount(value, places), "red" if _is_negative(value) else "") for value in values]
    if column.kind == "time":
        return [text(None if value is None else moment(value)) for value in values]
    return [text(value) for value in values]


def _is_negative(value: object) -> bool:
    return isinstance(value, int | Decimal) and value < 0


def facts(pairs: Iterable[tuple[str, object]], *, title: str | None = None) -> Table:
    """Names and values, one pair a line, numbers aligned at their points; what is unknown is left out."""
    known = [(name, value) for name, value in pairs if value is not None]
    numbers = [value for _, value in known if _is_number(value)]
    places = max(map(_places, numbers), default=0)
    shown = [amount(value, places) for value in numbers]
    width = max(map(len, shown), default=0)
    drawn = Table(
        title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False
    )
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in known:
        drawn.add_row(name, text(amount(value, places).rjust(width) if _is_number(value) else value))
    return drawn


def answer_facts(answer: Row) -> Table:
    """What an answer says in plain values, each under its own name."""
    shown = ((name, moment(value) if isinstance(value, str) else value) for name, value in answer.items())
    return facts(
        (name.replace("_", " "), value) for name, value in shown if isinstance(value, str | int | Decimal)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _box() -> Any:  # noqa: ANN401 - rich's Box
    from rich import box

    return box.SIMPLE_HEAD


def show_problem(problem: Problem) -> None:
    """Tell people, on standard error, what was refused, why, and what to do."""
    out = console(stderr=True)
    out.print(Text.assemble(("refused: ", "bold red"), (problem.code, "bold")))
    out.print(text(problem.detail))
    errors = problem.fields.get("errors")
    if isinstance(errors, list) and len(errors) > 1:
        for each in errors:
            if isinstance(each, Mapping):
                out.print(
                    text(
                        f"  {each.get('field', each.get('key'))}: {each.get('message', each.get('expected'))}"
                    )
                )
    told = {name: value for name, value in problem.fields.items() if isinstance(value, str | int | Decimal)}
    if told:
        shown = (
            f"{name} {amount(value) if _is_number(value) else text(value)}" for name, value in told.items()
        )
        out.print(text(" · ".join(shown), "dim"))
    if problem.advice:
        out.print(text(f"What to do: {problem.advice}"))
