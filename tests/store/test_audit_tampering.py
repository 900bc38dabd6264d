"""The audit finds every edit of every column of the ledger, and every row that was deleted or added."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.amounts import INT64_MAX
from tallystick.store.audit import AuditReport, audit
from tallystick.store.engine import Database
from tallystick.store.schema import accounts, budgets, entries, metadata, transfers, wallets
from tests.store.conftest import Lived

# What operators and logins set or measure. None of it says what anybody has, or had, or why.
OUT_OF_SCOPE = {
    "settings": "facts about the installation: its node counter, the test clock",
    "customers": "names and metadata, which the operator may change",
    "users": "logins",
    "sessions": "logins, deleted when they end",
    "api_keys": "rights, which operators grant and revoke",
    "agents": "what is offered, which owners change",
    "tasks": "what was agreed and asked, as payments: its credits move in the ledger",
    "oauth_clients": "programs that ask for rights, deleted when they are no longer used",
    "oauth_authorizations": "rights that were asked for, deleted after some minutes",
    "connected_apps": "rights, which their owners grant and revoke",
    "oauth_tokens": "as connected_apps",
    "operator_sessions": "as sessions",
    "operator_actions": "what operators did and why; what it moved stands in the ledger, under their keys",
    "sandboxes": "how far each has lived and why it ended: what it cost stands in the ledger",
    "sandbox_lines": "which transaction of the ledger is for what of a sandbox",
    "sandbox_executions": "what was run in sandboxes, and what it wrote",
    "sandbox_requests": "what was asked of sandboxes under which keys: the price stands in the ledger",
    "sandbox_processes": "which processes look after sandboxes, deleted when they end",
    "throttles": "counters against guessing, deleted after their window",
    "budgets": "limits, which their owners change; what they counted is in budget_counters",
    "balance_alerts": "marks for the worker, deleted when it has looked",
    "refill_requests": "as balance_alerts, for the payments",
    "expiry_notices": "who was told what, deleted when the grant is over",
    "payers": "what the payment provider knows customers as",
    "payments": "what was paid: `tally payments reconcile` holds it beside its grants and the provider's books",
    "payment_refunds": "as payments",
    "payment_disputes": "as payments",
    "stripe_events": "as payments",
    "auto_refills": "wishes, which their owners change",
    "subscriptions": "as payments",
    "plan_requests": "answers that are given again to a repeated request",
    "simulated_objects": "the books of the simulated payment provider",
    "simulated_keys": "as simulated_objects",
    "simulated_events": "as simulated_objects",
    "notification_sequences": "how many notifications each customer had",
    "notifications": "what others were told of; each cause stands in the ledger",
    "endpoints": "where webhooks are sent, which their owners change",
    "deliveries": "what became of telling others, deleted after a while",
    "notification_preferences": "what customers want by e-mail",
}
# The same of the columns of a table that otherwise belongs to the ledger.
FIGURES_TO_WATCH = {wallets.c[name] for name in ("told_below", "watch_below", "watch_above", "refill_below")}
# Steps of a task that change its status alone.
MOVING_NOTHING = {"task_accept", "task_completion", "task_end", "task_dispute", "task_dispute_end"}
LEDGER = [table for table in metadata.sorted_tables if table.name not in OUT_OF_SCOPE]
COLUMNS = [column for table in LEDGER for column in table.columns if column not in FIGURES_TO_WATCH]
ROWS = 2

Row = dict[str, Any]


class Tampered(Database):
    """A database in which much has happened; its readers see what somebody did to it with SQL."""

    def __init__(self, lived: Lived) -> None:
        super().__init__(lived.database.url.render_as_string(hide_password=False), pool_size=1)
        self._now = lived.now
        self._deed: sa.Executable | None = None
        self._rows: dict[str, list[Row]] = {}

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that begins with the deed and ends without it."""
        with self.engine.connect() as connection, connection.begin() as transaction:
            if self._deed is not None:
                connection.execute(self._deed)
            yield connection
            transaction.rollback()

    def audit_after(self, deed: sa.Executable | None) -> AuditReport:
        """Audit the database as it would be after a statement; it stays as it is."""
        self._deed = deed
        try:
            return audit(self, now=self._now)
        finally:
            self._deed = None

    def rows(self, table: sa.Table) -> list[Row]:
        """Every row of a table, in the order of its key."""
        if table.name not in self._rows:
            with self.read() as connection:
                found = connection.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings()
                self._rows[table.name] = [dict(row) for row in found]
        return self._rows[table.name]


@pytest.fixture(scope="module")
def tampered(lived_once: Lived) -> Iterator[Tampered]:
    """One history for all tests, without the rules by which the database itself would stop some edits."""
    database = Tampered(lived_once)
    if database.is_sqlite:
        sa.event.listen(database.engine, "connect", _ignore_checks)
    else:
        with database.write() as connection:
            for rule in [rule for table in LEDGER for rule in table.constraints]:
                if isinstance(rule, sa.CheckConstraint):
                    name = connection.dialect.identifier_preparer.format_constraint(rule)
                    connection.exec_driver_sql(f"ALTER TABLE {rule.table.name} DROP CONSTRAINT {name}")
    yield database
    database.close()


def _ignore_checks(raw: sqlite3.Connection, _record: object) -> None:
    raw.execute("PRAGMA ignore_check_constraints=ON")


def at(table: sa.Table, row: Row) -> sa.ColumnElement[bool]:
    """The condition that finds a row by its key."""
    return sa.and_(*(column == row[column.name] for column in table.primary_key.columns))


def is_unique(column: sa.Column[Any]) -> bool:
    """Whether the database itself refuses the same value twice, alone or beside other columns."""
    table = column.table
    assert isinstance(table, sa.Table)
    rules = [rule.columns for rule in table.constraints if isinstance(rule, sa.UniqueConstraint)]
    indexes = [index.columns for index in table.indexes if index.unique]
    return column.primary_key or any(column.name in columns for columns in (*rules, *indexes))


def edits(column: sa.Column[Any], value: Any) -> list[Any]:
    """Other values of a column that somebody might write."""
    name = f"{column.table.name}.{column.name}"
    if name == "wallets.next_due_at":
        return [INT64_MAX]  # An earlier moment only makes the ledger look, and find nothing due.
    if isinstance(column.type, sa.Boolean):
        others: list[Any] = [not value]
    elif isinstance(column.type, sa.Text):
        others = ["x"] if value is None else [f"{value}x", value[:-1]]
    else:
        others = [7] if value is None else [value + 1, value - 1]
    if column.nullable:
        others.append(None)
    return [other for other in dict.fromkeys(others) if other != value]


def victims(column: sa.Column[Any], tampered: Tampered) -> list[Row]:
    """The rows in which an edit of this column means anything, those with something in the column first."""
    table, name = column.table, column.name
    rows = tampered.rows(table)
    if (table, name) == (wallets, "next_due_at"):
        expiring = [row for row in tampered.rows(accounts) if row["is_open"] and row["expires_at"]]
        owners = {(row["customer_id"], row["unit"]) for row in expiring if not row["voided"]}
        rows = [row for row in rows if (row["customer_id"], row["unit"]) in owners]
    elif (table, name) == (wallets, "has_budgets"):
        limited = {
            row["customer_id"] for row in tampered.rows(budgets)
        }  # Of others the flag costs a look, no more.
        rows = [row for row in rows if row["customer_id"] in limited]
    elif (table, name) == (wallets, "id"):
        rows = [row for row in rows if row["sequence"]]  # Nothing refers to a wallet that was never used,
    elif (table, name) == (accounts, "id"):
        rows = [
            row for row in rows if row["credits_posted"] or row["debits_posted"] or not row["code"]
        ]  # nor to
    return sorted(rows, key=lambda row: row[name] is None)  # an account of the system that was not.


def test_every_table_is_in_the_ledger_or_has_a_reason_not_to_be() -> None:
    """A table that is neither known as configuration nor checked by the audit does not get past this test."""
    assert (
        len(FIGURES_TO_WATCH) == 4
    )  # When somebody is told of a balance; a wrong one is put right by the next look.
    assert set(OUT_OF_SCOPE) | {table.name for table in LEDGER} == set(metadata.tables)
    assert len(LEDGER) == 11


def test_an_audit_of_the_untouched_history_finds_nothing(tampered: Tampered) -> None:
    """What the other tests find is what they did; and every table of the ledger has rows to tamper with."""
    report = tampered.audit_after(None)
    assert report.ok, report
    assert all(tampered.rows(table) for table in LEDGER)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: f"{column.table.name}.{column.name}")
def test_an_edited_column_is_found(tampered: Tampered, column: sa.Column[Any]) -> None:
    """Whatever is written over a value of this column, the audit tells."""
    table = column.table
    assert isinstance(table, sa.Table)
    chosen = victims(column, tampered)
    assert chosen
    taken = {row[column.name] for row in tampered.rows(table)} if is_unique(column) else set()
    for row in chosen[:: max(len(chosen) // ROWS, 1)]:
        for value in edits(column, row[column.name]):
            if value in taken:
                continue  # The database itself forbids it.
            report = tampered.audit_after(sa.update(table).where(at(table, row)).values({column.name: value}))
            assert not report.ok, f"{row} with {value!r}"


@pytest.mark.parametrize("table", LEDGER, ids=lambda table: table.name)
def test_a_deleted_row_is_found(tampered: Tampered, table: sa.Table) -> None:
    """Rows do not vanish; only the counters of hours that are over may be thrown away.

    A transaction that did nothing has nothing that would miss it.
    """
    rows = tampered.rows(table)
    if table.name == "hourly_counters":
        newest = max(row["window_at"] for row in rows)
        rows = [row for row in rows if row["window_at"] == newest]
    elif table.name == "transactions":
        told = {row["transaction_id"] for line in (transfers, entries) for row in tampered.rows(line)}
        rows = [row for row in rows if row["id"] in told or row["subject_id"] or row["kind"] == "plan_change"]
        rows = [row for row in rows if row["kind"] not in MOVING_NOTHING]
    for row in rows[:: max(len(rows) // 8, 1)]:
        report = tampered.audit_after(sa.delete(table).where(at(table, row)))
        assert not report.ok, row


@pytest.mark.parametrize("table", LEDGER, ids=lambda table: table.name)
def test_an_added_row_is_found(tampered: Tampered, table: sa.Table) -> None:
    """A copy of a row under another key belongs to nothing."""
    unique = [column.name for column in table.columns if is_unique(column)]
    rows = tampered.rows(table)
    for row in rows[:: max(len(rows) // 8, 1)]:
        copy = dict(row)
        for name in unique:
            value = copy[name]
            copy[name] = f"{value}x" if isinstance(value, str) else None if value is None else value + 5000
        report = tampered.audit_after(sa.insert(table).values(copy))
        assert not report.ok, copy
