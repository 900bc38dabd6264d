"""What only exports read: long lists oldest first, each in pages that go on behind the last one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.times import DAY
from tallystick.store.payments import PaymentRow
from tallystick.store.schema import customers, entries, grants
from tallystick.store.schema_payments import payments

_PAYMENT: Final = tuple(payments.c[name] for name in PaymentRow.__slots__)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """How many entries of one type on one meter a day has, and their sum. ``day_at`` is the day's first moment, UTC."""

    day_at: int
    type: str
    meter: str | None
    count: int
    amount: int


def usage(connection: Connection, wallet_id: int, *, after: int, upto: int) -> list[UsageRow]:
    """The entries with a sequence above ``after`` and up to ``upto``, summed by day, type and meter."""
    day_at = (entries.c.at - entries.c.at % sa.literal_column(str(DAY))).label("day_at")
    split = (day_at, entries.c.type, entries.c.meter)
    rows = connection.execute(
        sa.select(*split, sa.func.count(), sa.func.sum(entries.c.amount))
        .where(entries.c.wallet_id == wallet_id, entries.c.sequence > after, entries.c.sequence <= upto)
        .group_by(*split)
    )
    return [
        UsageRow(int(at), entry_type, meter, int(count), int(amount))
        for at, entry_type, meter, count, amount in rows
    ]


def entry_moment(connection: Connection, wallet_id: int, sequence: int) -> int:
    """When an entry was booked, in microseconds."""
    query = sa.select(entries.c.at).where(entries.c.wallet_id == wallet_id, entries.c.sequence == sequence)
    return int(connection.execute(query).scalar_one())


def payments_onward(
    connection: Connection,
    *,
    customer_id: int | None,
    unit: str | None,
    start: int | None,
    end: int | None,
    after: int,
    upto: int,
    limit: int,
) -> list[PaymentRow]:
    """A customer's payments (or everybody's) with ids above ``after`` and up to ``upto``, oldest first.

    ``start`` and ``end`` bound the moment of the order: from the one on, and before the other.
    """
    query = sa.select(*_PAYMENT).where(payments.c.id > after, payments.c.id <= upto)
    if customer_id is not None:
        query = query.where(payments.c.customer_id == customer_id)
    if unit is not None:
        query = query.where(payments.c.unit == unit)
    if start is not None:
        query = query.where(payments.c.created_at >= start)
    if end is not None:
        query = query.where(payments.c.created_at < end)
    rows = connection.execute(query.order_by(payments.c.id).limit(limit))
    return [PaymentRow(*tuple(row)) for row in rows]


def last_payment(connection: Connection, *, customer_id: int | None) -> int:
    """The id of a customer's newest payment (or of everybody's); 0 where there is none."""
    query = sa.select(sa.func.coalesce(sa.func.max(payments.c.id), 0))
    if customer_id is not None:
        query = query.where(payments.c.customer_id == customer_id)
    return int(connection.execute(query).scalar_one())


def is_sold(connection: Connection, unit: str) -> bool:
    """Whether there is any payment for a unit; the economy may not have it any more."""
    query = sa.select(sa.literal(1)).where(payments.c.unit == unit).limit(1)
    return connection.execute(query).first() is not None


def grant_references(connection: Connection, numbers: Collection[int]) -> dict[int, str]:
    """What some grants were given for, by their ids; those without a reference are left out."""
    query = sa.select(grants.c.id, grants.c.reference).where(
        grants.c.id.in_(numbers), grants.c.reference.is_not(None)
    )
    return {number: str(reference) for number, reference in connection.execute(query)}


def external_ids(connection: Connection, numbers: Collection[int]) -> dict[int, str]:
    """The operator's own ids of some customers, by our ids; those without one are left out."""
    query = sa.select(customers.c.id, customers.c.external_id).where(
        customers.c.id.in_(numbers), customers.c.external_id.is_not(None)
    )
    return {number: str(external_id) for number, external_id in connection.execute(query)}
