"""What customers have earned with paid credits, and how much of it is old enough to be paid out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema import accounts, customers, entries, grants, transfers, wallets
from tallystick.store.schema_agents import tasks
from tallystick.store.schema_payments import payments


class PayoutRow(NamedTuple):
    """One customer's earnings in one unit, in micro-units.

    ``earned`` in all from paid credits; of what is left, ``payable`` is old enough, ``waiting`` is not, and ``disputed``
    belongs to tasks about which an admin has to decide, or was paid with a payment that its payer disputes or has charged
    back. ``free`` is left of what was earned from free credits, and is never
    paid out.
    """

    customer_id: int
    external_id: str | None
    unit: str
    earned: int
    payable: int
    waiting: int
    disputed: int
    free: int


def report(
    connection: Connection, *, unit: str, earned_before: int, now: int, after: int, limit: int
) -> list[PayoutRow]:
    """Those who have earned anything for tasks in a unit, in the order of customers, behind the id ``after``.

    Earnings from ``earned_before`` on are still waiting, and so are those of tasks that may be disputed at ``now``.
    """
    left = accounts.c.credits_posted - accounts.c.debits_posted - accounts.c.debits_pending
    is_paid = accounts.c.origin == "paid"
    in_dispute = sa.func.coalesce(tasks.c.status == "disputed", sa.false())
    is_young = sa.or_(
        grants.c.created_at >= earned_before, sa.func.coalesce(tasks.c.disputable_until, 0) > now
    )
    unsure = sa.or_(in_dispute, _among(accounts.c.id, _paid_with_disputed(connection, unit)))
    is_disputed = sa.and_(is_paid, unsure)
    is_waiting = sa.and_(is_paid, ~unsure, is_young)
    is_payable = sa.and_(is_paid, ~unsure, ~is_young)

    def total(condition: sa.ColumnElement[bool], amount: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.sum(sa.case((condition, amount), else_=0)), sa.BigInteger)

    customer_id = accounts.c.customer_id
    query = (
        sa.select(
            customer_id,
            customers.c.external_id,
            accounts.c.unit,
            total(is_paid, grants.c.amount),
            total(is_payable, left),
            total(is_waiting, left),
            total(is_disputed, left),
            total(~is_paid, left),
        )
        .join_from(accounts, grants, grants.c.id == accounts.c.id)
        .join(customers, customers.c.id == customer_id)
        .outerjoin(tasks, tasks.c.settlement_id == grants.c.transaction_id)
        .where(accounts.c.category == "task_credit", accounts.c.unit == unit, ~accounts.c.voided)
        .where(customer_id > after)
        .group_by(customer_id, customers.c.external_id, accounts.c.unit)
        .order_by(customer_id)
        .limit(limit)
    )
    return [PayoutRow(*tuple(row)) for row in connection.execute(query)]


def _paid_with_disputed(connection: Connection, unit: str) -> set[int]:
    """The earnings with anything in them of a payment that is disputed or was charged back, however often it was passed on.

    Whoever earned them is owed nothing that nobody paid; that the payer's debt was repaid, as with a gift, changes nothing.
    """
    taken_back = sa.or_(
        payments.c.dispute_status.in_(["inquiry", "open"]),
        sa.and_(payments.c.dispute_status == "lost", payments.c.disputed_cents > 0),
    )
    bought = sa.select(payments.c.grant_id).where(
        payments.c.unit == unit, payments.c.grant_id.is_not(None), taken_back
    )
    new = {int(row[0]) for row in connection.execute(bought)}
    found: set[int] = set()
    while new:
        new = set(connection.scalars(_earned_from(new))) - found
        found |= new
    return found


def _earned_from(lots: Iterable[int]) -> sa.Select[int]:
    """What others have earned out of some lots: by the statements of those who had them, since the journal has no index."""
    source, target = accounts.alias("source"), accounts.alias("target")
    return (
        sa.select(target.c.id)
        .distinct()
        .join_from(
            source,
            wallets,
            sa.and_(wallets.c.customer_id == source.c.customer_id, wallets.c.unit == source.c.unit),
        )
        .join(entries, entries.c.wallet_id == wallets.c.id)
        .join(
            transfers,
            sa.and_(
                transfers.c.transaction_id == entries.c.transaction_id, transfers.c.debit_id == source.c.id
            ),
        )
        .join(target, target.c.id == transfers.c.credit_id)
        .where(_among(source.c.id, lots), target.c.category == "task_credit")
    )


def _among(column: sa.ColumnElement[int], numbers: Iterable[int]) -> sa.ColumnElement[bool]:
    """One of these, however many: they are written into the statement, since parameters are bounded."""
    return column.in_(sa.bindparam(None, sorted(numbers), expanding=True, literal_execute=True, unique=True))
