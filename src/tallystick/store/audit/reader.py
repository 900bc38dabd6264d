"""Reading tables in the order of their keys, a page at a time, inside one read transaction."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy.engine import Connection

from tallystick.core.amounts import INT64_MAX
from tallystick.store.driver import Driver, Row
from tallystick.store.engine import raw_connection

LOWEST: Final = -INT64_MAX
HIGHEST: Final = INT64_MAX

Progress = Callable[[str, int, int], None]


class Page(NamedTuple):
    """Rows whose key is above ``low`` and at most ``high``. A table's pages cover all numbers there are."""

    low: int
    high: int
    rows: list[Row]


class Reader:
    """One moment's state of the database. ``progress`` is told a table, the rows done, and all."""

    def __init__(self, connection: Connection, driver: Driver, progress: Progress, rows_at_once: int) -> None:
        self._raw = raw_connection(connection)
        self._driver = driver
        self._progress = progress
        self.rows_at_once = rows_at_once

    def fetch(self, *statements: tuple[str, Row]) -> list[list[Row]]:
        """The rows of every statement."""
        return self._driver.fetch(self._raw, statements)

    def rows(self, statement: str, *parameters: object) -> list[Row]:
        """The rows of one statement."""
        return self.fetch((statement, parameters))[0]

    def named(self, statement: str, numbers: Sequence[int]) -> list[Row]:
        """The rows of a statement with ``{ids:column}`` for some numbers; no statement for none."""
        return self.rows(statement, self._driver.numbers(numbers)) if numbers else []

    def count(self, table: str) -> int:
        """How many rows a table has."""
        number: int = self.rows(f"SELECT COUNT(*) FROM {table}")[0][0]  # noqa: S608 - own names
        return number

    def pages(self, table: str, columns: str, *, key: str = "id") -> Iterator[Page]:
        """All rows of a table in the order of ``key``, which is the first of the columns."""
        statement = f"SELECT {columns} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?"  # noqa: S608 - own names
        total = self.count(table)
        low, done, size = LOWEST, 0, self.rows_at_once
        self._progress(table, 0, total)
        while True:
            rows = self.rows(statement, low, size)
            high = rows[-1][0] if len(rows) == size else HIGHEST
            yield Page(low, high, rows)
            done += len(rows)
            self._progress(table, done, total)
            if high == HIGHEST:
                return
            low = high

    def keyed(self, table: str, columns: str, keys: str, *, above: Row) -> Iterator[list[Row]]:
        """All rows of a table whose key has several columns, which come first, above a position."""
        marks = ", ".join("?" * len(above))
        statement = f"SELECT {columns} FROM {table} WHERE ({keys}) > ({marks}) ORDER BY {keys} LIMIT ?"  # noqa: S608
        size = self.rows_at_once
        while True:
            rows = self.rows(statement, *above, size)
            if rows:
                yield rows
            if len(rows) < size:
                return
            above = rows[-1][: len(above)]
