"""Subscriptions as they stand with us: one row for each customer, and the requests for a plan that were answered.

A row is locked before it changes, and every change counts its ``version``: who asked the provider while the row had an older
version asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema_payments import plan_requests, subscriptions

RUNNING: Final = frozenset({"incomplete", "active", "past_due", "unpaid"})
ORDERED: Final = frozenset({"new", "open"})


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """A customer's subscription, or the page on which it is to begin. ``reference`` and ``checkout`` are the provider's."""

    customer_id: int
    provider: str
    number: int
    plan: str
    status: str
    reference: str | None
    checkout: str | None
    checkout_url: str | None
    expires_at: int | None
    wanted: str | None
    wanted_number: int | None
    next_plan: str | None
    period_start: int | None
    period_end: int | None
    ends_at: int | None
    version: int
    created_at: int
    look_at: int | None
    looks: int

    @property
    def is_running(self) -> bool:
        """Whether the provider goes on sending bills for it."""
        return self.status in RUNNING and self.reference is not None


_COLUMNS: Final = tuple(subscriptions.c[name] for name in SubscriptionRow.__slots__)


def get(
    connection: Connection, provider: str, customer_id: int, *, lock: bool = False
) -> SubscriptionRow | None:
    """A customer's; with ``lock``, nobody else changes it until the end of the transaction."""
    query = sa.select(*_COLUMNS).where(
        subscriptions.c.customer_id == customer_id, subscriptions.c.provider == provider
    )
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else SubscriptionRow(*tuple(row))


def by_number(connection: Connection, provider: str, number: int) -> SubscriptionRow | None:
    """The one that was ordered under this id of ours."""
    query = sa.select(*_COLUMNS).where(subscriptions.c.number == number, subscriptions.c.provider == provider)
    row = connection.execute(query).first()
    return None if row is None else SubscriptionRow(*tuple(row))


def customer_of(connection: Connection, provider: str, reference: str) -> int | None:
    """Whose subscription this is, by the provider's id."""
    query = sa.select(subscriptions.c.customer_id).where(
        subscriptions.c.provider == provider, subscriptions.c.reference == reference
    )
    return connection.execute(query).scalar_one_or_none()


def order(connection: Connection, customer_id: int, **values: object) -> None:
    """A new order takes the place of what has ended; who has none gets a row."""
    fresh = {**dict.fromkeys(_CLEARED), "looks": 0, **values}
    mine = subscriptions.c.customer_id == customer_id
    changed = connection.execute(
        subscriptions.update().where(mine).values(version=subscriptions.c.version + 1, **fresh)
    )
    if not changed.rowcount:
        connection.execute(subscriptions.insert().values(customer_id=customer_id, **fresh))


_CLEARED: Final = (
    "reference",
    "checkout",
    "checkout_url",
    "expires_at",
    "wanted",
    "wanted_number",
    "next_plan",
    "period_start",
    "period_end",
    "ends_at",
    "look_at",
)


def change(connection: Connection, customer_id: int, **values: object) -> None:
    """Change a row; its version counts it."""
    connection.execute(
        subscriptions.update()
        .where(subscriptions.c.customer_id == customer_id)
        .values(version=subscriptions.c.version + 1, **values)
    )


def to_look_at(connection: Connection, *, provider: str, now: int, limit: int) -> Sequence[SubscriptionRow]:
    """Those to be asked for by ``now``, those that have waited longest first."""
    query = (
        sa.select(*_COLUMNS)
        .where(subscriptions.c.look_at <= now, subscriptions.c.provider == provider)
        .order_by(subscriptions.c.look_at, subscriptions.c.customer_id)
        .limit(limit)
    )
    return [SubscriptionRow(*tuple(row)) for row in connection.execute(query)]


def answer_of(connection: Connection, idempotency: str) -> tuple[str, str] | None:
    """The digest and the answer of a request that was answered under this key."""
    query = sa.select(plan_requests.c.request_digest, plan_requests.c.answer).where(
        plan_requests.c.idempotency == idempotency
    )
    row = connection.execute(query).first()
    return None if row is None else (row.request_digest, row.answer)


def remember(connection: Connection, *, idempotency: str, digest: str, answer: str, now: int) -> None:
    """Keep an answer for repeats of its key; the first one stays."""
    connection.execute(
        sa.text(
            "INSERT INTO plan_requests (idempotency, request_digest, answer, created_at) "
            "VALUES (:idempotency, :digest, :answer, :now) ON CONFLICT DO NOTHING"
        ),
        {"idempotency": idempotency, "digest": digest, "answer": answer, "now": now},
    )
