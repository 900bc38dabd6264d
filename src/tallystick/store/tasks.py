"""Tasks as they are read by whoever asks about them; the ledger writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.holdings import Task
from tallystick.store.schema_agents import agents, tasks
from tallystick.store.task_rows import COLUMNS, task_of

_COLUMNS = tuple(tasks.c[name] for name in COLUMNS)
_OPEN = tasks.c.status.in_(["created", "accepted"])


class TaskTerms(NamedTuple):
    """What never changes of a task: whose it is, and under which economy it was made."""

    id: int
    agent_id: int
    owner_id: int
    requester_id: int
    payer_id: int
    economy: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which tasks are looked for; what is None does not matter. ``now`` tells which open ones have timed out."""

    now: int
    requester_id: int | None = None
    owner_id: int | None = None
    either_id: int | None = None
    agent_id: int | None = None
    parent_id: int | None = None
    status: str | None = None
    billing: str | None = None


def terms(connection: Connection, number: int) -> TaskTerms | None:
    """What never changes of a task."""
    query = sa.select(*(tasks.c[name] for name in TaskTerms._fields)).where(tasks.c.id == number)
    row = connection.execute(query).first()
    return None if row is None else TaskTerms(*tuple(row))


def by_id(connection: Connection, number: int) -> tuple[Task, str] | None:
    """A task, and the name of its agent."""
    query = _select().where(tasks.c.id == number)
    row = connection.execute(query).first()
    return None if row is None else _found(row)


def _found(row: sa.Row[Any]) -> tuple[Task, str]:
    values = tuple(row)
    return task_of(values[:-1]), str(values[-1])


def _select() -> sa.Select[Any]:
    return sa.select(*_COLUMNS, agents.c.name).join_from(tasks, agents, agents.c.id == tasks.c.agent_id)


def listed(
    connection: Connection, wanted: Wanted, *, before: int | None, limit: int
) -> list[tuple[Task, str]]:
    """Tasks that fit, newest first, from below the id ``before``, each with the name of its agent."""
    query = _select().order_by(tasks.c.id.desc()).limit(limit)
    for column, value in (
        (tasks.c.requester_id, wanted.requester_id),
        (tasks.c.owner_id, wanted.owner_id),
        (tasks.c.agent_id, wanted.agent_id),
        (tasks.c.parent_id, wanted.parent_id),
        (tasks.c.billing, wanted.billing),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.either_id is not None:
        sides = (tasks.c.requester_id, tasks.c.owner_id, tasks.c.payer_id)
        query = query.where(sa.or_(*(side == wanted.either_id for side in sides)))
    if wanted.status is not None:
        query = query.where(_has_status(wanted.status, wanted.now))
    if before is not None:
        query = query.where(tasks.c.id < before)
    return [_found(row) for row in connection.execute(query)]


def _has_status(status: str, now: int) -> sa.ColumnElement[bool]:
    """An open task whose time is over has timed out, whether or not a worker has noted it."""
    over = tasks.c.expires_at <= now
    if status == "timed_out":
        return sa.or_(tasks.c.status == status, sa.and_(_OPEN, over))
    return (
        sa.and_(tasks.c.status == status, ~over)
        if status in {"created", "accepted"}
        else tasks.c.status == status
    )


def over_without_hold(connection: Connection, *, now: int, limit: int) -> list[TaskTerms]:
    """Open tasks whose time is over and that hold nothing: nobody but the worker ends them."""
    query = (
        sa.select(*(tasks.c[name] for name in TaskTerms._fields))
        .where(_OPEN, tasks.c.expires_at <= now, tasks.c.hold_id.is_(None))
        .order_by(tasks.c.expires_at)
        .limit(limit)
    )
    return [TaskTerms(*tuple(row)) for row in connection.execute(query)]
