"""What the worker asks of the store: who is due, and what can be thrown away."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.holdings import NEVER
from tallystick.store.schema import hourly_counters, sessions, throttles, wallets
from tallystick.store.watches import prune_notices


def due_customers(connection: Connection, *, now: int, limit: int, without: Sequence[int] = ()) -> list[int]:
    """Customers with something due, those who wait longest first."""
    query = (
        sa.select(wallets.c.customer_id).where(wallets.c.next_due_at <= now).order_by(wallets.c.next_due_at)
    )
    if without:
        query = query.where(wallets.c.customer_id.not_in(without))
    found = connection.scalars(query.limit(limit))
    return sorted(set(found))


def earliest_due(connection: Connection) -> int | None:
    """The earliest moment at which anything is due, past or future; None when nothing is."""
    moment: int | None = connection.scalar(sa.select(sa.func.min(wallets.c.next_due_at)))
    return None if moment is None or moment == NEVER else moment


def prune(connection: Connection, *, now: int, before: int) -> dict[str, int]:
    """Delete what nobody asks for any more: counters of windows that began before ``before``, ended sessions, notices."""
    deleted = {
        "hourly_counters": hourly_counters.delete().where(hourly_counters.c.window_at < before),
        "throttles": throttles.delete().where(throttles.c.window_at < before),
        "sessions": sessions.delete().where(sessions.c.expires_at < now),
    }
    counts = {name: connection.execute(statement).rowcount for name, statement in deleted.items()}
    return {**counts, "expiry_notices": prune_notices(connection, before=before)}
