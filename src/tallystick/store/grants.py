"""Reading grants: their terms and what is left of them. An unlimited plan's standing lot is no grant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.words import LOT
from tallystick.store.schema import accounts, grants
from tallystick.store.wallets import IS_OPEN


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant with the totals of its account, in micro-units."""

    id: int
    customer_id: int
    unit: str
    kind: str
    category: str
    origin: str
    priority: int
    effective_at: int
    expires_at: int | None
    debits: int
    credits: int
    held: int
    amount: int
    reason: str | None
    reference: str | None
    created_at: int
    booked_at: int | None
    voided_at: int | None
    clawed_back: int

    @property
    def remaining(self) -> int:
        """What is left in it, held amounts included."""
        return self.credits - self.debits


_COLUMNS: Final = (
    grants.c.id,
    grants.c.customer_id,
    accounts.c.unit,
    accounts.c.kind,
    accounts.c.category,
    accounts.c.origin,
    accounts.c.priority,
    accounts.c.effective_at,
    accounts.c.expires_at,
    accounts.c.debits_posted,
    accounts.c.credits_posted,
    accounts.c.debits_pending,
    grants.c.amount,
    grants.c.reason,
    grants.c.reference,
    grants.c.created_at,
    grants.c.booked_at,
    grants.c.voided_at,
    grants.c.clawed_back,
)


def _select() -> sa.Select[Any]:
    return sa.select(*_COLUMNS).join_from(grants, accounts, accounts.c.id == grants.c.id)


def by_id(connection: Connection, number: int) -> GrantRow | None:
    """A grant that someone made."""
    row = connection.execute(_select().where(grants.c.id == number, accounts.c.kind == LOT)).first()
    return None if row is None else GrantRow(*row)


def of_customer(
    connection: Connection, customer_id: int, *, unit: str | None, before: int | None, limit: int
) -> list[GrantRow]:
    """A customer's grants that someone made, newest first, from behind the id ``before``."""
    query = _select().where(grants.c.customer_id == customer_id, accounts.c.kind == LOT)
    if unit is not None:
        query = query.where(accounts.c.unit == unit)
    if before is not None:
        query = query.where(grants.c.id < before)
    return [GrantRow(*row) for row in connection.execute(query.order_by(grants.c.id.desc()).limit(limit))]


def all_of_customer(connection: Connection, customer_id: int) -> list[GrantRow]:
    """Every lot that a customer ever had, standing lots of unlimited plans included."""
    query = _select().where(grants.c.customer_id == customer_id)
    return [GrantRow(*row) for row in connection.execute(query.order_by(grants.c.id))]


def open_lots(connection: Connection, customer_id: int, unit: str) -> dict[int, GrantRow]:
    """A wallet's lots that are not empty, standing lots of unlimited plans included, by their ids."""
    query = _select().where(accounts.c.customer_id == customer_id, IS_OPEN, accounts.c.unit == unit)
    return {row.id: GrantRow(*row) for row in connection.execute(query)}


def by_ids(connection: Connection, numbers: Sequence[int]) -> dict[int, GrantRow]:
    """Some lots, standing lots of unlimited plans included, by their ids."""
    return {row.id: GrantRow(*row) for row in connection.execute(_select().where(grants.c.id.in_(numbers)))}


def next_scheduled(connection: Connection, customer_id: int, unit: str) -> int | None:
    """When the next scheduled grant of a wallet takes effect."""
    moment: int | None = connection.scalar(
        sa.select(sa.func.min(grants.c.effective_at))
        .join_from(grants, accounts, accounts.c.id == grants.c.id)
        .where(
            grants.c.customer_id == customer_id,
            grants.c.booked_at.is_(None),
            grants.c.voided_at.is_(None),
            accounts.c.unit == unit,
        )
    )
    return moment


def earned_by_reference(connection: Connection, customer_id: int, unit: str) -> dict[str, tuple[int, int]]:
    """How many rewards a customer got under each reference, and of how much in all; without those that were voided."""
    query = (
        sa.select(grants.c.reference, sa.func.count(), sa.func.sum(grants.c.amount))
        .join(accounts, accounts.c.id == grants.c.id)
        .where(
            grants.c.customer_id == customer_id,
            accounts.c.unit == unit,
            accounts.c.category == "reward",
            grants.c.reference.is_not(None),
            grants.c.voided_at.is_(None),
        )
        .group_by(grants.c.reference)
    )
    return {reference: (int(count), int(total)) for reference, count, total in connection.execute(query)}
