"""What the balance watch asks of the store: marks of wallets to look at, requests for refills, grants that expire soon.

A mark is written by the transaction that moved the balance, under the lock of the wallet's row, and taken under the same
lock: so none is lost, and none is seen by two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.watch import Watch
from tallystick.core.words import LOT
from tallystick.store.once import insert_once
from tallystick.store.schema import accounts, balance_alerts, expiry_notices, wallets
from tallystick.store.wallets import IS_OPEN

_REQUEST: Final = sa.text(
    "INSERT INTO refill_requests (customer_id, unit, at) VALUES (:customer_id, :unit, :at) "
    "ON CONFLICT (customer_id, unit) DO UPDATE SET at = excluded.at"
)


class WatchedWallet(NamedTuple):
    """A wallet, and what it is watched for."""

    id: int
    customer_id: int
    unit: str
    watch: Watch


class ExpiringGrant(NamedTuple):
    """A grant with something left, held or not, that expires soon. ``remaining`` in micro-units."""

    id: int
    customer_id: int
    unit: str
    category: str
    expires_at: int
    remaining: int


def alerted_customers(connection: Connection, *, limit: int, without: Sequence[int] = ()) -> list[int]:
    """Customers with marks, those who wait longest first."""
    query = sa.select(balance_alerts.c.customer_id).order_by(balance_alerts.c.at)
    if without:
        query = query.where(balance_alerts.c.customer_id.not_in(without))
    return list(dict.fromkeys(connection.scalars(query.limit(limit))))


def take_alerts(connection: Connection, wallet_ids: Sequence[int]) -> dict[int, int]:
    """Remove the marks of some wallets, which the caller has locked; gives since when each had one."""
    rows = connection.execute(
        sa.delete(balance_alerts)
        .where(balance_alerts.c.wallet_id.in_(wallet_ids))
        .returning(balance_alerts.c.wallet_id, balance_alerts.c.at)
    )
    return dict(rows.all())


def request_refill(connection: Connection, *, customer_id: int, unit: str, at: int) -> None:
    """Ask for a refill; ``at`` is when the wallet was last found to want one."""
    connection.execute(_REQUEST, {"customer_id": customer_id, "unit": unit, "at": at})


def wallets_after(connection: Connection, wallet_id: int, *, limit: int) -> list[WatchedWallet]:
    """The next wallets in the order of their ids."""
    columns = wallets.c
    rows = connection.execute(
        sa.select(
            columns.id,
            columns.customer_id,
            columns.unit,
            columns.told_below,
            columns.watch_below,
            columns.watch_above,
        )
        .where(columns.id > wallet_id)
        .order_by(columns.id)
        .limit(limit)
    )
    return [WatchedWallet(row[0], row[1], row[2], Watch(*row[3:6])) for row in rows]


def expiring(
    connection: Connection, *, after: tuple[int, int], until: int, lifetime: int, limit: int
) -> list[ExpiringGrant]:
    """Open grants that expire ``after`` a moment and id, and by ``until``, of whom nobody was told, in that order.

    Left out are grants that live no longer than ``lifetime`` in all, and those in frozen wallets, whose time stands still.
    """
    lot = accounts.c
    rows = connection.execute(
        sa.select(
            lot.id,
            lot.customer_id,
            lot.unit,
            lot.category,
            lot.expires_at,
            lot.credits_posted - lot.debits_posted,
        )
        .join(wallets, sa.and_(wallets.c.customer_id == lot.customer_id, wallets.c.unit == lot.unit))
        .where(
            IS_OPEN,
            lot.expires_at.is_not(None),
            sa.tuple_(lot.expires_at, lot.id) > sa.tuple_(*map(sa.literal, after)),
            lot.expires_at <= until,
            lot.expires_at - lot.effective_at > lifetime,
            lot.kind == LOT,
            lot.voided.is_(False),
            wallets.c.frozen_at.is_(None),
            ~sa.exists().where(expiry_notices.c.grant_id == lot.id),
        )
        .order_by(lot.expires_at, lot.id)
        .limit(limit)
    )
    return [ExpiringGrant(*tuple(row)) for row in rows]


def mark_told(connection: Connection, grants: Iterable[ExpiringGrant]) -> set[int]:
    """Note of which grants' expiry their owners are told in this transaction; gives those that nobody else has told of."""
    rows = [{"grant_id": each.id, "expires_at": each.expires_at} for each in grants]
    rows.sort(key=lambda row: row["grant_id"])
    insert = insert_once(connection, expiry_notices)
    return set(connection.scalars(insert.values(rows).returning(expiry_notices.c.grant_id)))


def prune_notices(connection: Connection, *, before: int) -> int:
    """Forget notices of grants that are over; gives how many."""
    is_open = sa.exists().where(accounts.c.id == expiry_notices.c.grant_id, IS_OPEN)
    done = connection.execute(sa.delete(expiry_notices).where(expiry_notices.c.expires_at < before, ~is_open))
    return done.rowcount
