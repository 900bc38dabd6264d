"""Reading what plan a customer is on."""

import json

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.book import Membership
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
    )
