"""Operators' sessions, and the record of what operators did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema import api_keys, budgets
from tallystick.store.schema_operators import operator_actions, operator_sessions


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session's end, and the key that it was opened with as that key stands now."""

    expires_at: int
    key_id: int
    name: str
    role: str
    key_expires_at: int | None
    key_revoked_at: int | None
    key_has_budget: bool


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action. ``terms`` and ``report`` are JSON; ``status`` is begun, done, refused or failed.

    ``door`` is admin for the dashboard, or else rest, cli or mcp.
    """

    id: int
    at: int
    key_id: int
    operator: str
    action: str
    customer_id: int | None
    subject: str | None
    terms: str
    reason: str
    status: str
    outcome: str | None
    report: str | None
    ended_at: int | None
    idempotency: str
    request_digest: str
    door: str


_COLUMNS: Final = tuple(operator_actions.c[name] for name in ActionRow.__slots__)


# --- sessions ------------------------------------------------------------------------------------------------------


def add_session(
    connection: Connection, *, token_hash: str, key_id: int, created_at: int, expires_at: int
) -> None:
    """A new session."""
    connection.execute(
        operator_sessions.insert().values(
            token_hash=token_hash, key_id=key_id, created_at=created_at, expires_at=expires_at
        )
    )


def session(connection: Connection, token_hash: str) -> SessionKey | None:
    """A session with its key."""
    query = (
        sa.select(
            operator_sessions.c.expires_at,
            api_keys.c.id,
            api_keys.c.name,
            api_keys.c.role,
            api_keys.c.expires_at.label("key_expires_at"),
            api_keys.c.revoked_at,
            sa.exists().where(budgets.c.key_id == api_keys.c.id),
        )
        .join_from(operator_sessions, api_keys, api_keys.c.id == operator_sessions.c.key_id)
        .where(operator_sessions.c.token_hash == token_hash)
    )
    row = connection.execute(query).first()
    return None if row is None else SessionKey(*tuple(row))


def end_session(connection: Connection, token_hash: str) -> None:
    """Delete a session; one that is gone already stays gone."""
    connection.execute(operator_sessions.delete().where(operator_sessions.c.token_hash == token_hash))


def prune_sessions(connection: Connection, *, now: int) -> None:
    """Delete the sessions that have ended."""
    connection.execute(operator_sessions.delete().where(operator_sessions.c.expires_at <= now))


# --- actions -------------------------------------------------------------------------------------------------------


def add(connection: Connection, row: ActionRow) -> None:
    """A new action; the database refuses one whose form was taken already."""
    connection.execute(
        operator_actions.insert().values(**{name: getattr(row, name) for name in ActionRow.__slots__})
    )


def end(
    connection: Connection, number: int, *, status: str, outcome: str, report: str | None, ended_at: int
) -> bool:
    """What came of an action; False when that was written already, and stays."""
    query = operator_actions.update().where(
        operator_actions.c.id == number, operator_actions.c.status == "begun"
    )
    values = {"status": status, "outcome": outcome, "report": report, "ended_at": ended_at}
    return connection.execute(query.values(values)).rowcount > 0


def by_id(connection: Connection, number: int) -> ActionRow | None:
    """An action by its id."""
    return _one(connection, operator_actions.c.id == number)


def by_idempotency(connection: Connection, idempotency: str) -> ActionRow | None:
    """What came of a form."""
    return _one(connection, operator_actions.c.idempotency == idempotency)


def _one(connection: Connection, condition: sa.ColumnElement[bool]) -> ActionRow | None:
    row = connection.execute(sa.select(*_COLUMNS).where(condition)).first()
    return None if row is None else ActionRow(*row)


def page(
    connection: Connection,
    *,
    action: str | None = None,
    status: str | None = None,
    operator: str | None = None,
    customer_id: int | None = None,
    before: int | None = None,
    limit: int,
) -> list[ActionRow]:
    """Actions, newest first, of those that are asked for."""
    query = sa.select(*_COLUMNS).order_by(operator_actions.c.id.desc()).limit(limit)
    chosen = {"action": action, "status": status, "operator": operator, "customer_id": customer_id}
    for name, value in chosen.items():
        if value is not None:
            query = query.where(operator_actions.c[name] == value)
    if before is not None:
        query = query.where(operator_actions.c.id < before)
    return [ActionRow(*row) for row in connection.execute(query)]
