"""Rows as tables that never cut a figure, a time or an id: texts fold, or else rows become lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tallystick.cli.rendering import amount, facts, moment, places_of, text, titled

Row = Mapping[str, Any]
Kind = Literal["text", "amount", "time"]

GAP: Final = 2
NARROWEST: Final = 8  # what a text that folds is never narrower than


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, where its value is in a row, its kind, and whether it may fold."""

    title: str
    value: str | Callable[[Row], object]
    kind: Kind = "text"
    wraps: bool = False

    def of(self, row: Row) -> object:
        """This column's value in a row."""
        return row.get(self.value) if isinstance(self.value, str) else self.value(row)

    def cells(self, rows: Sequence[Row]) -> list[Text]:
        """This column of a table; amounts have their points below each other."""
        values = [self.of(row) for row in rows]
        if self.kind == "amount":
            places = max(map(places_of, values))
            return [text(amount(value, places), "red" if _is_negative(value) else "") for value in values]
        if self.kind == "time":
            return [text(None if value is None else moment(value)) for value in values]
        return [text(value) for value in values]


def table(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    title: str | None = None,
    empty: str = "nothing to show",
) -> RenderableType:
    """Rows as a table; no rows are said in words."""
    return titled(title if rows else None, _Rows(rows, columns) if rows else text(empty, "dim"))


class _Rows:
    """Rows that know how wide they are, and draw themselves as the place allows."""

    def __init__(self, rows: Sequence[Row], columns: Sequence[Column]) -> None:
        self._columns = columns
        self._cells = [column.cells(rows) for column in columns]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A table, or a list for each row where a table would cut something."""
        widths = [
            max(cell_len(column.title), *(_width(cell) for cell in cells))
            for column, cells in zip(self._columns, self._cells, strict=True)
        ]
        fitting = fit(widths, [column.wraps for column in self._columns], options.max_width)
        yield self._lists() if fitting is None else self._table(fitting)

    def _table(self, widths: Sequence[int]) -> Table:
        drawn = Table(
            header_style="bold",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, GAP - 1, 0, 0),
        )
        for column, width in zip(self._columns, widths, strict=True):
            justify: Literal["right", "left"] = "right" if column.kind == "amount" else "left"
            drawn.add_column(column.title, justify=justify, width=width, overflow="fold")
        for cells in zip(*self._cells, strict=True):
            drawn.add_row(*cells)
        return drawn

    def _lists(self) -> Table:
        stacked = Table.grid()
        for cells in zip(*self._cells, strict=True):
            pairs = zip(self._columns, cells, strict=True)
            stacked.add_row(facts((column.title, cell.plain) for column, cell in pairs))
            stacked.add_row("")
        return stacked


def fit(widths: Sequence[int], may_fold: Sequence[bool], available: int) -> list[int] | None:
    """Widths that fit beside each other, the widest that may fold giving way first; None: there are none."""
    fitting = list(widths)
    while sum(fitting) + GAP * (len(fitting) - 1) > available:
        able = [index for index, folds in enumerate(may_fold) if folds and fitting[index] > NARROWEST]
        if not able:
            return None
        fitting[max(able, key=lambda index: fitting[index])] -= 1
    return fitting


def _width(cell: Text) -> int:
    return max(map(cell_len, cell.plain.split("\n")))


def _is_negative(value: object) -> bool:
    return isinstance(value, int | Decimal) and value < 0
