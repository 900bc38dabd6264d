"""Reading holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.words import POST_PENDING
from tallystick.store.schema import holds, transactions, transfers


@dataclass(frozen=True, slots=True)
class HoldRow:
    """A hold, with what its transactions say."""

    id: int
    customer_id: int
    status: str
    meter: str | None
    quantity: int
    economy: str | None
    amounts: tuple[tuple[str, int], ...]
    expires_at: int
    created_at: int
    agent: str | None
    description: str | None
    metadata: str | None
    resolved_at: int | None
    resolved_by: int | None
    captured: int | None
    is_charge: bool  # and no task's, which was settled


class Outcome(NamedTuple):
    """What became of a hold, and by which transaction."""

    customer_id: int
    status: str
    resolved_by: int | None


def outcome_of(connection: Connection, number: int) -> Outcome | None:
    """What became of a hold."""
    query = sa.select(holds.c.customer_id, holds.c.status, holds.c.resolved_by).where(holds.c.id == number)
    row = connection.execute(query).first()
    return None if row is None else Outcome(*row)


def of_customer(
    connection: Connection, customer_id: int, *, status: str | None, before: int | None, limit: int
) -> list[HoldRow]:
    """A customer's holds, newest first, behind the id ``before``; ``captured`` is in the first unit."""
    query = _rows().where(holds.c.customer_id == customer_id).order_by(holds.c.id.desc()).limit(limit)
    if status is not None:
        query = query.where(holds.c.status == status)
    if before is not None:
        query = query.where(holds.c.id < before)
    return [_row(row) for row in connection.execute(query)]


def by_id(connection: Connection, number: int) -> HoldRow | None:
    """One hold."""
    row = connection.execute(_rows().where(holds.c.id == number)).first()
    return None if row is None else _row(row)


def _rows() -> sa.Select[Any]:
    made, resolved = transactions.alias("made"), transactions.alias("resolved")
    # Of a capture that is of another hold first, what came from this one.
    posted = (
        sa.select(sa.func.sum(transfers.c.amount))
        .where(
            transfers.c.transaction_id == holds.c.resolved_by,
            transfers.c.hold_id == holds.c.id,
            transfers.c.phase == POST_PENDING,
        )
        .scalar_subquery()
    )
    captured = sa.case((resolved.c.subject_id == holds.c.id, resolved.c.amount), else_=posted)
    return (
        sa.select(
            holds.c.id,
            holds.c.customer_id,
            holds.c.status,
            holds.c.meter,
            holds.c.quantity,
            holds.c.economy,
            holds.c.amounts,
            holds.c.expires_at,
            made.c.at,
            made.c.agent,
            made.c.description,
            made.c.metadata,
            holds.c.resolved_at,
            holds.c.resolved_by,
            captured.label("captured"),
            resolved.c.kind.label("resolved_kind"),
        )
        .join_from(holds, made, made.c.id == holds.c.id)
        .outerjoin(resolved, resolved.c.id == holds.c.resolved_by)
    )


def _row(row: sa.Row[Any]) -> HoldRow:
    return HoldRow(
        id=row.id,
        customer_id=row.customer_id,
        status=row.status,
        meter=row.meter,
        quantity=row.quantity,
        economy=row.economy,
        amounts=tuple((unit, amount) for unit, amount in json.loads(row.amounts)),
        expires_at=row.expires_at,
        created_at=row.at,
        agent=row.agent,
        description=row.description,
        metadata=row.metadata,
        resolved_at=row.resolved_at,
        resolved_by=row.resolved_by,
        captured=row.captured if row.status == "captured" else None,
        is_charge=row.resolved_kind == "capture",
    )
