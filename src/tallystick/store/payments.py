"""Payments as they stand with us: what was ordered, what the provider made of it, and which grant it became.

A payment's row is locked before it changes, and every change counts its ``version``: who asked the provider while the row
had an older version asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tallystick.store.once import insert_once
from tallystick.store.schema_payments import (
    payers,
    payment_disputes,
    payment_refunds,
    payments,
    stripe_events,
)

SETTLED: Final = ("paid", "failed", "expired", "mismatch")  # nothing more is waited for
UNDER_WAY: Final = ("new", "processing", "unknown")


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """One payment. ``credits`` in micro-units, money in cents, ``reference`` and ``checkout`` the provider's ids."""

    id: int
    customer_id: int
    kind: str
    status: str
    provider: str
    live: bool
    unit: str
    credits: int
    amount_cents: int
    currency: str
    item: str | None
    title: str
    economy: str
    payer: str | None
    checkout: str | None
    reference: str | None
    invoice: str | None
    url: str | None
    invoice_url: str | None
    receipt_url: str | None
    grant_id: int | None
    failure: str | None
    failure_text: str | None
    refunded_cents: int
    disputed_cents: int
    clawed_back: int
    dispute_status: str | None
    version: int
    created_at: int
    expires_at: int | None
    paid_at: int | None
    look_at: int | None
    looks: int
    token: str
    request_digest: str | None


_COLUMNS: Final = tuple(payments.c[name] for name in PaymentRow.__slots__)


# Built once: each event asks them, and building a query costs more than running it.
_BY_ID: Final = sa.select(*_COLUMNS).where(payments.c.id == sa.bindparam("number"))
_BY_ID_LOCKED: Final = _BY_ID.with_for_update()
_BY_CHECKOUT: Final = sa.select(*_COLUMNS).where(
    payments.c.checkout == sa.bindparam("value"), payments.c.provider == sa.bindparam("provider")
)
_IS_HANDLED: Final = sa.select(sa.literal(1)).where(
    stripe_events.c.provider == sa.bindparam("provider"), stripe_events.c.id == sa.bindparam("event")
)
_MARK: Final = sa.text(
    "INSERT INTO stripe_events (provider, id, type, subject, subject_id, created_at, handled_at, outcome) "
    "VALUES (:provider, :id, :type, :subject, :subject_id, :created_at, :now, :outcome) "
    "ON CONFLICT DO NOTHING"
)


def _read(row: Row[Any] | None) -> PaymentRow | None:
    return None if row is None else PaymentRow(*tuple(row))


# --- payments ------------------------------------------------------------------------------------------------------


def add(connection: Connection, **values: object) -> None:
    """A new payment. Its page or its refill may be there already: then the database refuses it."""
    connection.execute(payments.insert().values(**values))


def add_once(connection: Connection, **values: object) -> None:
    """A new payment, unless there is one with its idempotency key: also one that somebody else adds just now."""
    connection.execute(insert_once(connection, payments).values(**values))


def by_id(connection: Connection, number: int, *, lock: bool = False) -> PaymentRow | None:
    """A payment; with ``lock``, nobody else changes it until the end of the transaction."""
    return _read(connection.execute(_BY_ID_LOCKED if lock else _BY_ID, {"number": number}).first())


def by_idempotency(connection: Connection, idempotency: str) -> PaymentRow | None:
    """The payment that was ordered with this key."""
    return _read(
        connection.execute(sa.select(*_COLUMNS).where(payments.c.idempotency == idempotency)).first()
    )


def by_provider_id(connection: Connection, provider: str, column: str, value: str) -> PaymentRow | None:
    """The payment with a ``checkout``, ``reference`` or ``invoice`` of the provider's."""
    if column == "checkout":
        return _read(connection.execute(_BY_CHECKOUT, {"value": value, "provider": provider}).first())
    query = sa.select(*_COLUMNS).where(payments.c[column] == value, payments.c.provider == provider)
    return _read(connection.execute(query).first())


def change(connection: Connection, number: int, **values: object) -> None:
    """Change a payment's row; its version counts it."""
    connection.execute(_change(frozenset(values)), {**values, "number": number})


@cache
def _change(names: frozenset[str]) -> sa.TextClause:
    """The statement for these columns: built once, as those above."""
    columns = "".join(f", {payments.c[name].name} = :{name}" for name in sorted(names))
    return sa.text(f"UPDATE payments SET version = version + 1{columns} WHERE id = :number")  # noqa: S608 - columns


def page(
    connection: Connection, *, customer_id: int | None, before: int | None, limit: int
) -> list[PaymentRow]:
    """A customer's payments (or everybody's), newest first."""
    query = sa.select(*_COLUMNS).order_by(payments.c.id.desc()).limit(limit)
    if customer_id is not None:
        query = query.where(payments.c.customer_id == customer_id)
    if before is not None:
        query = query.where(payments.c.id < before)
    return [PaymentRow(*tuple(row)) for row in connection.execute(query)]


def to_look_at(connection: Connection, *, provider: str, now: int, limit: int) -> list[PaymentRow]:
    """Payments whose outcome has to be asked for by ``now``, those that have waited longest first."""
    query = (
        sa.select(*_COLUMNS)
        .where(payments.c.look_at <= now, payments.c.provider == provider)
        .order_by(payments.c.look_at, payments.c.id)
        .limit(limit)
    )
    return [PaymentRow(*tuple(row)) for row in connection.execute(query)]


def refill_under_way(connection: Connection, customer_id: int) -> PaymentRow | None:
    """The refill whose outcome is not known yet."""
    query = sa.select(*_COLUMNS).where(
        payments.c.customer_id == customer_id,
        payments.c.kind == "refill",
        payments.c.status.in_(UNDER_WAY),
    )
    return _read(connection.execute(query).first())


def refilled_cents(connection: Connection, customer_id: int, *, since: int) -> int:
    """What refills since a moment have cost, those under way included."""
    query = sa.select(sa.func.coalesce(sa.func.sum(payments.c.amount_cents), 0)).where(
        payments.c.customer_id == customer_id,
        payments.c.kind == "refill",
        payments.c.status.in_(("paid", *UNDER_WAY)),
        payments.c.created_at >= since,
    )
    return int(connection.execute(query).scalar_one())


def last_refill_at(connection: Connection, customer_id: int) -> int | None:
    """When the last refill was tried."""
    query = sa.select(sa.func.max(payments.c.created_at)).where(
        payments.c.customer_id == customer_id, payments.c.kind == "refill"
    )
    found: int | None = connection.execute(query).scalar_one()
    return found


# --- payers --------------------------------------------------------------------------------------------------------


def payer_of(connection: Connection, provider: str, customer_id: int) -> str | None:
    """What the provider knows a customer as."""
    query = sa.select(payers.c.reference).where(
        payers.c.customer_id == customer_id, payers.c.provider == provider, payers.c.gone_at.is_(None)
    )
    return connection.execute(query).scalar_one_or_none()


def lock_payer(connection: Connection, provider: str, customer_id: int) -> None:
    """Nobody else orders anything for this payer until the end of the transaction, whatever rows there are yet."""
    mine = (payers.c.customer_id == customer_id) & (payers.c.provider == provider)
    connection.execute(sa.select(payers.c.reference).where(mine).with_for_update())


def payer_gone_at(connection: Connection, provider: str, customer_id: int) -> int | None:
    """Since when the provider does not know a customer any more that it knew before."""
    query = sa.select(payers.c.gone_at).where(
        payers.c.customer_id == customer_id, payers.c.provider == provider
    )
    found: int | None = connection.execute(query).scalar_one_or_none()
    return found


def customer_of_payer(connection: Connection, provider: str, reference: str) -> int | None:
    """The customer that the provider knows as ``reference``."""
    query = sa.select(payers.c.customer_id).where(
        payers.c.provider == provider, payers.c.reference == reference
    )
    return connection.execute(query).scalar_one_or_none()


def put_payer(connection: Connection, provider: str, customer_id: int, reference: str, *, now: int) -> None:
    """Remember what the provider knows a customer as; a payer that is gone makes room for the next.

    Raises ``ValueError`` if the provider knows another customer by that name.
    """
    values = {"reference": reference, "created_at": now, "gone_at": None}
    mine = {"customer_id": customer_id, "provider": provider}
    connection.execute(insert_once(connection, payers).values(**mine, **values))
    kept = connection.execute(payers.update().filter_by(**mine).values(**values))
    if kept.rowcount == 0:
        raise ValueError(f"{provider} knows another customer as {reference}")


def payer_is_gone(connection: Connection, provider: str, reference: str, *, now: int) -> None:
    """The provider knows this payer no more: the next payment makes a new one."""
    mine = (payers.c.provider == provider) & (payers.c.reference == reference)
    connection.execute(payers.update().where(mine, payers.c.gone_at.is_(None)).values(gone_at=now))


# --- refunds -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RefundRow:
    """A refund that an operator asked for."""

    id: int
    payment_id: int
    amount_cents: int
    status: str
    reference: str | None
    reason: str | None
    caller: str
    failure: str | None
    created_at: int
    look_at: int | None
    request_digest: str | None


_REFUND_COLUMNS: Final = tuple(payment_refunds.c[name] for name in RefundRow.__slots__)


def add_refund(connection: Connection, **values: object) -> None:
    """A new refund, before the provider is asked for it, unless there is one with its idempotency key."""
    connection.execute(insert_once(connection, payment_refunds).values(**values))


def refund_by_id(connection: Connection, number: int) -> RefundRow | None:
    """A refund."""
    row = connection.execute(sa.select(*_REFUND_COLUMNS).where(payment_refunds.c.id == number)).first()
    return None if row is None else RefundRow(*row)


def refund_by_idempotency(connection: Connection, idempotency: str) -> RefundRow | None:
    """The refund that was asked for with this key."""
    query = sa.select(*_REFUND_COLUMNS).where(payment_refunds.c.idempotency == idempotency)
    row = connection.execute(query).first()
    return None if row is None else RefundRow(*row)


def refunds_of(connection: Connection, payment_id: int) -> list[RefundRow]:
    """A payment's refunds, oldest first."""
    query = (
        sa.select(*_REFUND_COLUMNS)
        .where(payment_refunds.c.payment_id == payment_id)
        .order_by(payment_refunds.c.id)
    )
    return [RefundRow(*row) for row in connection.execute(query)]


def change_refund(connection: Connection, number: int, **values: object) -> None:
    """Change a refund's row."""
    connection.execute(payment_refunds.update().where(payment_refunds.c.id == number).values(**values))


def look_at_refunds(connection: Connection, payment_id: int, *, now: int) -> None:
    """Have the outcome of a payment's refunds asked for again, of those that did not fail."""
    connection.execute(
        payment_refunds.update()
        .where(payment_refunds.c.payment_id == payment_id, payment_refunds.c.status != "failed")
        .values(look_at=now)
    )


def refunds_to_look_at(connection: Connection, *, provider: str, now: int, limit: int) -> list[RefundRow]:
    """Refunds whose outcome has to be asked for by ``now``."""
    query = (
        sa.select(*_REFUND_COLUMNS)
        .join(payments, payments.c.id == payment_refunds.c.payment_id)
        .where(payment_refunds.c.look_at <= now, payments.c.provider == provider)
        .order_by(payment_refunds.c.look_at)
        .limit(limit)
    )
    return [RefundRow(*row) for row in connection.execute(query)]


# --- disputes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """A dispute as it stood when the provider was asked last; ``froze`` when it froze the customer's wallet."""

    id: str
    payment_id: int
    customer_id: int
    status: str
    reason: str
    amount_cents: int
    withdrawn_cents: int
    evidence_due_at: int | None
    opened_at: int
    closed_at: int | None
    froze: bool


_DISPUTE_COLUMNS: Final = tuple(payment_disputes.c[name] for name in DisputeRow.__slots__)


def disputes_of(connection: Connection, payment_id: int) -> dict[str, DisputeRow]:
    """A payment's disputes by their ids."""
    query = sa.select(*_DISPUTE_COLUMNS).where(payment_disputes.c.payment_id == payment_id)
    return {row.id: DisputeRow(*row) for row in connection.execute(query)}


def put_dispute(connection: Connection, row: DisputeRow) -> None:
    """Remember how a dispute stands."""
    values = {name: getattr(row, name) for name in DisputeRow.__slots__}
    mine = payment_disputes.c.id == row.id
    if not connection.execute(payment_disputes.update().where(mine).values(**values)).rowcount:
        connection.execute(payment_disputes.insert().values(**values))


def freezing_disputes(connection: Connection, customer_id: int, unit: str) -> int:
    """How many open disputes keep a customer's wallet of a unit frozen."""
    query = (
        sa.select(sa.func.count())
        .select_from(payment_disputes.join(payments, payments.c.id == payment_disputes.c.payment_id))
        .where(
            payment_disputes.c.customer_id == customer_id,
            payment_disputes.c.froze,
            payment_disputes.c.closed_at.is_(None),
            payments.c.unit == unit,
        )
    )
    return int(connection.execute(query).scalar_one())


def keep_frozen(connection: Connection, customer_id: int, unit: str) -> None:
    """Somebody froze a wallet by hand: the end of a dispute does not thaw it any more."""
    mine = sa.select(payments.c.id).where(payments.c.customer_id == customer_id, payments.c.unit == unit)
    connection.execute(
        payment_disputes.update()
        .where(payment_disputes.c.froze, payment_disputes.c.payment_id.in_(mine))
        .values(froze=False)
    )


def open_disputes(connection: Connection, *, limit: int) -> Sequence[DisputeRow]:
    """Disputes that are not closed, those that must be answered soonest first."""
    query = (
        sa.select(*_DISPUTE_COLUMNS)
        .where(payment_disputes.c.closed_at.is_(None))
        .order_by(payment_disputes.c.evidence_due_at, payment_disputes.c.id)
        .limit(limit)
    )
    return [DisputeRow(*row) for row in connection.execute(query)]


# --- events --------------------------------------------------------------------------------------------------------


def event_is_handled(connection: Connection, provider: str, event_id: str) -> bool:
    """Whether an event was handled, and its effect committed."""
    return connection.execute(_IS_HANDLED, {"provider": provider, "event": event_id}).first() is not None


def handled_among(connection: Connection, provider: str, event_ids: Sequence[str]) -> set[str]:
    """Those of some events that were handled."""
    query = sa.select(stripe_events.c.id).where(
        stripe_events.c.provider == provider, stripe_events.c.id.in_(event_ids)
    )
    return set(connection.execute(query).scalars())


def mark_event(
    connection: Connection,
    *,
    provider: str,
    event_id: str,
    event_type: str,
    subject: str,
    subject_id: str,
    created_at: int,
    now: int,
    outcome: str,
) -> None:
    """Mark an event as handled, in the transaction of its effect; one that is marked stays as it is."""
    connection.execute(
        _MARK,
        {
            "provider": provider,
            "id": event_id,
            "type": event_type,
            "subject": subject,
            "subject_id": subject_id,
            "created_at": created_at,
            "now": now,
            "outcome": outcome,
        },
    )
