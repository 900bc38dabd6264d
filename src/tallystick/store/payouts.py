"""What customers have earned with paid credits, and how much of it is old enough to be paid out."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema import accounts, customers, grants
from tallystick.store.schema_agents import tasks


class PayoutRow(NamedTuple):
    """One customer's earnings in one unit, in micro-units.

    ``earned`` in all from paid credits; of what is left, ``payable`` is old enough, ``waiting`` is not, and ``disputed``
    belongs to tasks about which an admin has to decide. ``free`` is left of what was earned from free credits, and is never
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
    is_disputed = sa.and_(is_paid, in_dispute)
    is_waiting = sa.and_(is_paid, ~in_dispute, is_young)
    is_payable = sa.and_(is_paid, ~in_dispute, ~is_young)

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
