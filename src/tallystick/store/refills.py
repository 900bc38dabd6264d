"""Automatic refills as customers set them up, and who is waiting for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.once import insert_once
from tallystick.store.schema import refill_requests
from tallystick.store.schema_payments import auto_refills


@dataclass(frozen=True, slots=True)
class RefillRow:
    """A customer's setting: below ``threshold`` micro-units, buy for ``amount_cents``.

    ``wanted_at`` is when usage last took the balance below the threshold; ``next_try_at`` when to look at it next.
    """

    customer_id: int
    enabled: bool
    unit: str
    threshold: int
    amount_cents: int
    failures: int
    wanted_at: int | None
    next_try_at: int | None
    paused_at: int | None
    paused_reason: str | None
    updated_at: int


_COLUMNS: Final = tuple(auto_refills.c[name] for name in RefillRow.__slots__)


def get(connection: Connection, customer_id: int, *, lock: bool = False) -> RefillRow | None:
    """A customer's setting; with ``lock``, nobody else changes it until the end of the transaction."""
    query = sa.select(*_COLUMNS).where(auto_refills.c.customer_id == customer_id)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else RefillRow(*tuple(row))


def begin(connection: Connection, row: RefillRow) -> RefillRow:
    """A customer's setting, which nobody else changes until the end of the transaction; ``row`` if there was none."""
    connection.execute(insert_once(connection, auto_refills).values(**_values(row)))
    return get(connection, row.customer_id, lock=True) or row


def put(connection: Connection, row: RefillRow) -> None:
    """Replace a customer's setting."""
    mine = auto_refills.c.customer_id == row.customer_id
    connection.execute(auto_refills.update().where(mine).values(**_values(row)))


def _values(row: RefillRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in RefillRow.__slots__}


def change(connection: Connection, customer_id: int, **values: object) -> None:
    """Change some of it."""
    connection.execute(
        auto_refills.update().where(auto_refills.c.customer_id == customer_id).values(**values)
    )


def due(connection: Connection, *, now: int, limit: int) -> list[int]:
    """Customers whose refill is to be looked at by ``now``, those that have waited longest first."""
    query = (
        sa.select(auto_refills.c.customer_id)
        .where(auto_refills.c.next_try_at <= now)
        .order_by(auto_refills.c.next_try_at)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


# --- who waits -----------------------------------------------------------------------------------------------------


def requests(connection: Connection, *, limit: int) -> list[int]:
    """Customers whose balance fell below their threshold, those that have waited longest first."""
    query = sa.select(refill_requests.c.customer_id).order_by(refill_requests.c.at).limit(limit)
    return list(connection.execute(query).scalars())


def take_request(connection: Connection, customer_id: int) -> int | None:
    """Take a customer's request away, with the moment of the charge that made it; the caller deals with it."""
    mine = refill_requests.c.customer_id == customer_id
    found = connection.execute(sa.select(sa.func.max(refill_requests.c.at)).where(mine)).scalar_one()
    if found is not None:
        connection.execute(refill_requests.delete().where(mine))
    return None if found is None else int(found)
