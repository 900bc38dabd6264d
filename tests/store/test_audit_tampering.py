"""The audit finds every edit of every column of the ledger, and every row that was deleted or added."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.amounts import INT64_MAX
from tallystick.store.audit import AuditReport, audit
from tallystick.store.engine import Database
from tallystick.store.schema import metadata
from tests.postgres import temporary_database
from tests.store.history import live, open_history

# What operators and logins set or measure. None of it says what anybody has, or had, or why.
OUT_OF_SCOPE = {
    "settings": "facts about the installation: its node counter, the test clock",
    "customers": "names and metadata, which the operator may change",
    "users": "logins",
    "sessions": "logins, deleted when they end",
    "api_keys": "rights, which operators grant and revoke",
    "throttles": "counters against guessing, deleted after their window",
    "budgets": "limits, which their owners change; what they counted is in budget_counters",
}
LEDGER = [table for table in metadata.sorted_tables if table.name not in OUT_OF_SCOPE]
COLUMNS = [column for table in LEDGER for column in table.columns]
ROWS = 3

Row = dict[str, Any]


@dataclass(frozen=True)
class Lived:
    """A database in which much has happened, and the moment after it."""

    url: str
    now: int

    def audit(self, *statements: sa.Executable) -> AuditReport:
        """Audit the database as it would be after the statements; it stays as it is."""
        database = Tampered(self.url, statements)
        try:
            return audit(database, now=self.now)
        finally:
            database.close()

    def rows(self, table: sa.Table) -> list[Row]:
        """Every row of a table, in the order of its key."""
        database = Database(self.url, pool_size=1)
        with database.read() as connection:
            found = connection.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings()
            rows = [dict(row) for row in found]
        database.close()
        return rows


class Tampered(Database):
    """A database whose readers see what somebody did to it with SQL and all rights."""

    def __init__(self, url: str, statements: tuple[sa.Executable, ...]) -> None:
        super().__init__(url, pool_size=1)
        self._statements = statements

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that begins with the deed and ends without it."""
        with self.engine.connect() as connection, connection.begin() as transaction:
            self._lift_rules(connection)
            for statement in self._statements:
                connection.execute(statement)
            yield connection
            transaction.rollback()

    def _lift_rules(self, connection: Connection) -> None:
        if self.is_sqlite:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
            return
        for table in LEDGER:
            for rule in table.constraints:
                if isinstance(rule, sa.CheckConstraint):
                    name = connection.dialect.identifier_preparer.format_constraint(rule)
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} DROP CONSTRAINT {name}")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """One history for all tests of this file, on each engine."""
    folder = tmp_path_factory.mktemp("lived")
    if request.param == "sqlite":
        yield _live(f"sqlite:///{folder / 'tally.db'}", folder)
    else:
        with temporary_database(request.getfixturevalue("postgres_server")) as url:
            yield _live(url, folder)


def _live(url: str, folder: Path) -> Lived:
    history = open_history(url, folder)
    live(history)
    history.tally.close()
    return Lived(url, history.clock.now)


def at(table: sa.Table, row: Row) -> sa.ColumnElement[bool]:
    """The condition that finds a row by its key."""
    return sa.and_(*(column == row[column.name] for column in table.primary_key.columns))


def edits(column: sa.Column[Any], value: Any) -> list[Any]:  # noqa: ANN401 - a value of the column
    """Other values of a column that somebody might write."""
    name = f"{column.table.name}.{column.name}"
    if name == "wallets.next_due_at":
        return [INT64_MAX]  # An earlier moment only makes the ledger look, and find nothing due.
    if isinstance(column.type, sa.Boolean):
        others: list[Any] = [not value]
    elif isinstance(column.type, sa.Text):
        others = ["x"] if value is None else [f"{value}x", "", value[:-1]]
    else:
        others = [7] if value is None else [value + 1, value - 1, 0, -value]
    if column.nullable:
        others.append(None)
    return [other for other in dict.fromkeys(others) if other != value]


def victims(column: sa.Column[Any], rows: list[Row]) -> list[Row]:
    """A few rows to edit, with something in the column where there are such rows."""
    table, name = column.table.name, column.name
    if (table, name) == ("wallets", "next_due_at"):
        rows = [row for row in rows if row["balance"] and row["next_due_at"] != INT64_MAX]
    elif (table, name) == ("wallets", "has_budgets"):
        rows = [row for row in rows if row["has_budgets"]]  # Without a budget the flag costs a look, no more.
    elif (table, name) == ("wallets", "id"):
        rows = [row for row in rows if row["sequence"]]  # Nothing refers to a wallet that was never used.
    filled = [row for row in rows if row[name] is not None] or rows
    step = max(len(filled) // ROWS, 1)
    return [filled[index] for index in range(len(filled) - 1, -1, -step)][:ROWS]


def test_every_table_is_in_the_ledger_or_has_a_reason_not_to_be() -> None:
    """A table that is neither known as configuration nor checked by the audit does not get past this test."""
    assert set(OUT_OF_SCOPE) | {table.name for table in LEDGER} == set(metadata.tables)
    assert len(LEDGER) == 11


def test_an_audit_of_the_untouched_history_finds_nothing(lived: Lived) -> None:
    """What the other tests find is what they did; and every table of the ledger has rows to tamper with."""
    report = lived.audit()
    assert report.ok, report
    assert all(lived.rows(table) for table in LEDGER)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: f"{column.table.name}.{column.name}")
def test_an_edited_column_is_found(lived: Lived, column: sa.Column[Any]) -> None:
    """Whatever is written over a value of this column, the audit tells."""
    table = column.table
    assert isinstance(table, sa.Table)
    rows = lived.rows(table)
    keys = {row[column.name] for row in rows} if column.primary_key else set()
    chosen = victims(column, rows)
    assert chosen
    for row in chosen:
        for value in edits(column, row[column.name]):
            if value in keys:
                continue  # The key itself forbids it.
            report = lived.audit(sa.update(table).where(at(table, row)).values({column.name: value}))
            assert not report.ok, f"{row} with {value!r}"


@pytest.mark.parametrize("table", LEDGER, ids=lambda table: table.name)
def test_a_deleted_row_is_found(lived: Lived, table: sa.Table) -> None:
    """Rows do not vanish; only the counters of hours that are over may be thrown away."""
    rows = lived.rows(table)
    if table.name == "hourly_counters":
        newest = max(row["window_at"] for row in rows)
        rows = [row for row in rows if row["window_at"] == newest]
    for row in rows[:: max(len(rows) // 20, 1)]:
        report = lived.audit(sa.delete(table).where(at(table, row)))
        assert not report.ok, row


@pytest.mark.parametrize("table", LEDGER, ids=lambda table: table.name)
def test_an_added_row_is_found(lived: Lived, table: sa.Table) -> None:
    """A copy of a row under another key belongs to nothing."""
    unique = {column.name for column in table.primary_key.columns}
    for rule in (*table.constraints, *table.indexes):
        if isinstance(rule, sa.UniqueConstraint) or (isinstance(rule, sa.Index) and rule.unique):
            unique.update(column.name for column in rule.columns)
    rows = lived.rows(table)
    for row in rows[:: max(len(rows) // 20, 1)]:
        copy = dict(row)
        for name in unique:
            value = copy[name]
            copy[name] = f"{value}x" if isinstance(value, str) else None if value is None else value + 5000
        report = lived.audit(sa.insert(table).values(copy))
        assert not report.ok, copy
