"""Files that are put into sandboxes, and changes of sandboxes, by the idempotency keys they were sent with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema_sandboxes import sandbox_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """What was asked of a sandbox: ``process_id`` does it, and is None when it is done and charged."""

    id: int
    sandbox_id: int
    idempotency: str
    request_digest: str
    process_id: str | None
    hold_id: int | None


_COLUMNS: Final = tuple(sandbox_requests.c[name] for name in RequestRow.__slots__)


def _of(row: sa.Row[Any]) -> RequestRow:
    return RequestRow(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def add(connection: Connection, row: RequestRow) -> None:
    """Write down what begins, or was done."""
    connection.execute(
        sandbox_requests.insert().values({name: getattr(row, name) for name in RequestRow.__slots__})
    )


def by_key(connection: Connection, idempotency: str) -> RequestRow | None:
    """What was sent under a key."""
    row = connection.execute(
        sa.select(*_COLUMNS).where(sandbox_requests.c.idempotency == idempotency)
    ).first()
    return None if row is None else _of(row)


def end(connection: Connection, number: int) -> bool:
    """It is done; False where another process gave it up."""
    changed = connection.execute(
        sandbox_requests.update().where(*_underway(number)).values(process_id=None, hold_id=None)
    )
    return bool(changed.rowcount)


def drop(connection: Connection, number: int) -> bool:
    """It is not known to be done, and its key is free again; False where it has ended already."""
    return bool(connection.execute(sandbox_requests.delete().where(*_underway(number))).rowcount)


def _underway(number: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (sandbox_requests.c.id == number, sandbox_requests.c.process_id.is_not(None))


def unfinished(connection: Connection, *, alive: sa.Select[tuple[str]], without: str) -> list[RequestRow]:
    """What was begun by processes that are not alive any more."""
    query = sa.select(*_COLUMNS).where(
        sandbox_requests.c.process_id != without, sandbox_requests.c.process_id.not_in(alive)
    )
    return [_of(row) for row in connection.execute(query)]
