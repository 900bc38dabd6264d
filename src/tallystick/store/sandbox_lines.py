"""The lines of sandboxes' bills, and what was run in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema_sandboxes import sandbox_executions, sandbox_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRow:
    """One line of a bill: what a transaction of the ledger was for, or a part of it, by unit.

    The slice of the life where it is ``running``.
    """

    transaction_id: int
    sandbox_id: int
    customer_id: int
    at: int
    operation: str
    amounts: tuple[tuple[str, int], ...]
    from_ms: int | None = None
    to_ms: int | None = None
    vcpu_cost: int | None = None
    memory_cost: int | None = None
    execution_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRow:
    """Something that was run: ``status`` is running, done, or failed where the sandbox did not carry it out."""

    id: int
    sandbox_id: int
    idempotency: str
    request_digest: str
    process_id: str
    hold_id: int | None
    language: str
    code: str
    status: str
    started_at: int
    duration_ms: int | None = None
    exit_code: int | None = None
    timed_out: bool | None = None
    oom: bool | None = None
    truncated: bool | None = None
    stdout: str | None = None
    stderr: str | None = None


_LINE: Final = tuple(sandbox_lines.c[name] for name in LineRow.__slots__)
_EXECUTION: Final = tuple(sandbox_executions.c[name] for name in ExecutionRow.__slots__)


def _line(row: sa.Row[Any]) -> LineRow:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    values["amounts"] = tuple((unit, amount) for unit, amount in json.loads(values["amounts"]))
    return LineRow(**values)


def add(connection: Connection, row: LineRow) -> None:
    """A new line."""
    values = {name: getattr(row, name) for name in LineRow.__slots__}
    connection.execute(sandbox_lines.insert().values(values | {"amounts": json.dumps(row.amounts)}))


def prolong(connection: Connection, sandbox_id: int, *, from_ms: int, to_ms: int) -> None:
    """Have the line that ends at one moment of a life end at another: the time between cost nothing by itself."""
    connection.execute(
        sandbox_lines.update()
        .where(sandbox_lines.c.sandbox_id == sandbox_id, sandbox_lines.c.to_ms == from_ms)
        .values(to_ms=to_ms)
    )


def of_sandbox(connection: Connection, sandbox_id: int) -> list[LineRow]:
    """The lines of one bill, oldest first."""
    query = (
        sa.select(*_LINE)
        .where(sandbox_lines.c.sandbox_id == sandbox_id)
        .order_by(sandbox_lines.c.transaction_id, sandbox_lines.c.operation)
    )
    return [_line(row) for row in connection.execute(query)]


def charge_of(
    connection: Connection, sandbox_id: int, operation: str, *, execution_id: int | None
) -> int | None:
    """The transaction that charged the last of some operations, or an execution; None where none was charged."""
    query = (
        sa.select(sandbox_lines.c.transaction_id)
        .where(sandbox_lines.c.sandbox_id == sandbox_id, sandbox_lines.c.operation == operation)
        .order_by(sandbox_lines.c.transaction_id.desc())
        .limit(1)
    )
    if execution_id is not None:
        query = query.where(sandbox_lines.c.execution_id == execution_id)
    return connection.scalar(query)


def charges_of(sandbox_id: int) -> sa.Select[tuple[int]]:
    """The transactions that one bill's lines are for."""
    return sa.select(sandbox_lines.c.transaction_id).where(sandbox_lines.c.sandbox_id == sandbox_id)


def of_customer(connection: Connection, customer_id: int, *, since: int, until: int) -> list[LineRow]:
    """All lines of a customer's bills in a span of time, oldest first."""
    query = (
        sa.select(*_LINE)
        .where(
            sandbox_lines.c.customer_id == customer_id,
            sandbox_lines.c.at >= since,
            sandbox_lines.c.at < until,
        )
        .order_by(sandbox_lines.c.at, sandbox_lines.c.transaction_id, sandbox_lines.c.operation)
    )
    return [_line(row) for row in connection.execute(query)]


# --- executions ----------------------------------------------------------------------------------------------------


def add_execution(connection: Connection, row: ExecutionRow) -> None:
    """Something begins to run."""
    connection.execute(
        sandbox_executions.insert().values({name: getattr(row, name) for name in ExecutionRow.__slots__})
    )


def end_execution(connection: Connection, number: int, values: Mapping[str, object]) -> bool:
    """Note what came of it; False where it has ended already."""
    changed = connection.execute(
        sandbox_executions.update()
        .where(sandbox_executions.c.id == number, sandbox_executions.c.status == "running")
        .values(hold_id=None, **values)
    )
    return bool(changed.rowcount)


def _execution(row: sa.Row[Any]) -> ExecutionRow:
    return ExecutionRow(**row._mapping)  # noqa: SLF001 - as above


def execution_by_key(connection: Connection, idempotency: str) -> ExecutionRow | None:
    """What was run under a key."""
    query = sa.select(*_EXECUTION).where(sandbox_executions.c.idempotency == idempotency)
    row = connection.execute(query).first()
    return None if row is None else _execution(row)


def executions(
    connection: Connection, sandbox_id: int, *, before: int | None, limit: int
) -> list[ExecutionRow]:
    """What was run in a sandbox, newest first, from below the id ``before``."""
    query = (
        sa.select(*_EXECUTION)
        .where(sandbox_executions.c.sandbox_id == sandbox_id)
        .order_by(sandbox_executions.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(sandbox_executions.c.id < before)
    return [_execution(row) for row in connection.execute(query)]


def unfinished(connection: Connection, *, alive: sa.Select[tuple[str]], without: str) -> list[ExecutionRow]:
    """What ran for processes that are not alive any more."""
    query = sa.select(*_EXECUTION).where(
        sandbox_executions.c.status == "running",
        sandbox_executions.c.process_id != without,
        sandbox_executions.c.process_id.not_in(alive),
    )
    return [_execution(row) for row in connection.execute(query)]


def drop_execution(connection: Connection, number: int) -> None:
    """It was never carried out."""
    connection.execute(sandbox_executions.delete().where(sandbox_executions.c.id == number))
