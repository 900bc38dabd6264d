"""Reading what plan a customer is on."""

import json

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.holdings import Membership
from tallystick.store.schema import memberships


def get(connection: Connection, customer_id: int) -> Membership | None:
    """A customer's plan and its current period."""
    row = connection.execute(sa.select(memberships).where(memberships.c.customer_id == customer_id)).first()
    if row is None:
        return None
    return Membership(
        customer_id=row.customer_id,
        plan=row.plan,
        since=row.since,
        anchor_at=row.anchor_at,
        period_start=row.period_start,
        period_end=row.period_end,
        granted=json.loads(row.granted),
        paid_by=row.paid_by,
        paid_from=row.paid_from,
        before=json.loads(row.granted_before),
    )


def on_plan(connection: Connection, plan: str, *, after: int, limit: int) -> list[int]:
    """Customers on a plan, by their ids, from the one after ``after``."""
    customer_id = memberships.c.customer_id
    found = (
        sa.select(customer_id).where(memberships.c.plan == plan, customer_id > after).order_by(customer_id)
    )
    return list(connection.scalars(found.limit(limit)))
