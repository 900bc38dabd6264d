"""Deliveries: who is told what, when to try next, and what came of it.

A run claims what is due with a lease, sends outside of any transaction, and records the outcome. Several may run: a claim
takes rows that nobody else has locked, and moves their next try to the end of the lease. A run that dies leaves them there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.events import MAILED_TYPES, PING, matches
from tallystick.store import endpoints as endpoint_store
from tallystick.store import notifications as notification_store
from tallystick.store.endpoints import EndpointRow
from tallystick.store.notifications import NotificationRow
from tallystick.store.schema import customers
from tallystick.store.schema_notifications import deliveries, endpoints, notifications

LONGEST_ERROR: Final = 300


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One notification on its way to one receiver. ``owner_id`` None: to the operator's own endpoint."""

    id: int
    notification_id: int
    owner_id: int | None
    channel: str
    endpoint_id: int | None
    address: str | None
    attempts: int
    next_at: int
    status: str
    last_status: int | None
    last_error: str | None
    delivered_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A delivery with what it tells."""

    delivery: DeliveryRow
    notification: NotificationRow


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that a run has taken for itself until its lease ends; ``attempt`` counts from 1."""

    id: int
    attempt: int
    channel: str
    address: str | None
    notification: NotificationRow
    endpoint: EndpointRow | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt. ``next_at`` None: it is over, with ``status``."""

    status: str
    next_at: int | None
    last_status: int | None
    last_error: str | None
    delivered_at: int | None = None


# --- who is told ---------------------------------------------------------------------------------------------------


def waiting(connection: Connection, *, now: int) -> tuple[bool, bool]:
    """Whether anything waits to be handed to its receivers, and whether any delivery is due."""
    new = sa.select(notifications.c.id).where(~notifications.c.fanned_out).limit(1)
    due = _due_query(now).limit(1)
    return connection.scalar(new) is not None, connection.scalar(due) is not None


def fan_out(connection: Connection, *, new_id: Callable[[], int], now: int, mails: bool, limit: int) -> int:
    """Give the oldest new notifications to whoever wants them; gives how many there were. ``mails``: e-mail is set up."""
    query = (
        sa.select(*notification_store.COLUMNS)
        .where(~notifications.c.fanned_out)
        .order_by(notifications.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    new = [NotificationRow(*row) for row in connection.execute(query)]
    if not new:
        return 0
    owners = sorted({each.customer_id for each in new if each.customer_id is not None})
    listening = endpoint_store.listening(connection, owners)
    addresses = _addresses(connection, owners) if mails else {}
    rows = [
        delivery_values(new_id(), each, now=now, endpoint=endpoint)
        for each in new
        for endpoint in listening
        if _wants(endpoint, each)
    ]
    for each in new:
        address, types = addresses.get(each.customer_id or 0, (None, ()))
        if address is not None and each.type in types:
            rows.append(delivery_values(new_id(), each, now=now, address=address))
    if rows:
        connection.execute(deliveries.insert(), rows)
    done = notifications.update().where(notifications.c.id.in_([each.id for each in new]))
    connection.execute(done.values(fanned_out=True))
    return len(new)


def _wants(endpoint: EndpointRow, notification: NotificationRow) -> bool:
    """Whether an endpoint is told: its own customer's events or, for the operator's, everybody's, from its creation on."""
    return (
        endpoint.customer_id in {None, notification.customer_id}
        and endpoint.id < notification.id
        and notification.type != PING
        and matches(endpoint.types, notification.type)
    )


def _addresses(connection: Connection, owners: Sequence[int]) -> dict[int, tuple[str, Collection[str]]]:
    """Where customers read e-mail, and about what; those who have no address or opted out are missing."""
    query = sa.select(customers.c.id, customers.c.email).where(
        customers.c.id.in_(owners), customers.c.email.is_not(None)
    )
    chosen = notification_store.preferences(connection, owners)
    found: dict[int, tuple[str, Collection[str]]] = {}
    for number, address in connection.execute(query):
        wanted, types = chosen.get(number, (True, ()))
        if wanted:
            found[number] = (address, types or MAILED_TYPES)
    return found


def delivery_values(
    number: int,
    notification: NotificationRow,
    *,
    now: int,
    endpoint: EndpointRow | None = None,
    address: str | None = None,
) -> dict[str, object]:
    """The row of a new delivery, due at once: to an endpoint, or to an e-mail address."""
    return {
        "id": number,
        "notification_id": notification.id,
        "owner_id": notification.customer_id if endpoint is None else endpoint.customer_id,
        "channel": "email" if endpoint is None else "webhook",
        "endpoint_id": None if endpoint is None else endpoint.id,
        "address": address,
        "next_at": now,
        "status": "pending",
        "created_at": now,
    }


def add(connection: Connection, values: dict[str, object]) -> None:
    """One delivery that the caller decided on."""
    connection.execute(deliveries.insert(), [values])


# --- claiming and recording ----------------------------------------------------------------------------------------


def claim(connection: Connection, *, now: int, until: int, limit: int, per_endpoint: int) -> list[Claimed]:
    """Take up to ``limit`` due deliveries until ``until``, at most ``per_endpoint`` of them for one endpoint."""
    taken: list[tuple[int, int, int, int | None]] = []
    counts: Counter[int] = Counter()
    while len(taken) < limit:
        full = [number for number, count in counts.items() if count >= per_endpoint]
        found = _due(connection, now=now, limit=limit * 4, without=full, seen=[each[0] for each in taken])
        for number, notification_id, attempts, endpoint_id in found:
            if len(taken) == limit:
                break
            if endpoint_id is not None:
                counts[endpoint_id] += 1
                if counts[endpoint_id] > per_endpoint:
                    continue
            taken.append((number, notification_id, attempts, endpoint_id))
        if len(found) < limit * 4:
            break
    if not taken:
        return []
    mine = deliveries.update().where(deliveries.c.id.in_([each[0] for each in taken]))
    connection.execute(mine.values(next_at=until, attempts=deliveries.c.attempts + 1))
    return _claimed(connection, taken)


def _due(
    connection: Connection, *, now: int, limit: int, without: Sequence[int], seen: Sequence[int]
) -> list[tuple[int, int, int, int | None]]:
    """Due deliveries that nobody else has taken, the longest waiting first."""
    query = _due_query(now).limit(limit).with_for_update(of=deliveries, skip_locked=True)
    if without:
        query = query.where(
            sa.or_(deliveries.c.endpoint_id.is_(None), deliveries.c.endpoint_id.not_in(without))
        )
    if seen:
        query = query.where(deliveries.c.id.not_in(seen))
    return [(row.id, row.notification_id, row.attempts, row.endpoint_id) for row in connection.execute(query)]


def _due_query(now: int) -> sa.Select[tuple[int, int, int, int | None]]:
    """Due deliveries, apart from those to endpoints that are disabled, deleted or at rest."""
    open_for_it = sa.and_(endpoints.c.status == "enabled", endpoints.c.resume_at <= now)
    return (
        sa.select(
            deliveries.c.id, deliveries.c.notification_id, deliveries.c.attempts, deliveries.c.endpoint_id
        )
        .join_from(deliveries, endpoints, endpoints.c.id == deliveries.c.endpoint_id, isouter=True)
        .where(
            deliveries.c.status == "pending",
            deliveries.c.next_at <= now,
            sa.or_(deliveries.c.channel == "email", open_for_it),
        )
        .order_by(deliveries.c.next_at, deliveries.c.id)
    )


def _claimed(connection: Connection, taken: Sequence[tuple[int, int, int, int | None]]) -> list[Claimed]:
    numbers = [each[1] for each in taken]
    query = sa.select(*notification_store.COLUMNS).where(notifications.c.id.in_(numbers))
    told = {row.id: NotificationRow(*row) for row in connection.execute(query)}
    where = endpoint_store.by_ids(connection, [each[3] for each in taken if each[3] is not None])
    mailed = sa.select(deliveries.c.id, deliveries.c.address).where(
        deliveries.c.id.in_([each[0] for each in taken if each[3] is None])
    )
    addresses = {row.id: row.address for row in connection.execute(mailed)}
    return [
        Claimed(
            id=number,
            attempt=attempts + 1,
            channel="email" if endpoint_id is None else "webhook",
            address=addresses.get(number),
            notification=told[notification_id],
            endpoint=None if endpoint_id is None else where.get(endpoint_id),
        )
        for number, notification_id, attempts, endpoint_id in taken
    ]


def record(connection: Connection, claimed: Claimed, outcome: Outcome) -> bool:
    """Write down what came of an attempt; False when another run has taken the delivery meanwhile, or it was dropped."""
    values: dict[str, object] = {
        "status": outcome.status,
        "last_status": outcome.last_status,
        "last_error": outcome.last_error and outcome.last_error[:LONGEST_ERROR],
        "delivered_at": outcome.delivered_at,
    }
    if outcome.next_at is not None:
        values["next_at"] = outcome.next_at
    return connection.execute(_held(claimed).values(values)).rowcount > 0


def give_back(connection: Connection, claimed: Claimed, *, now: int) -> None:
    """Let somebody else try what was claimed and not tried."""
    connection.execute(_held(claimed).values(next_at=now, attempts=claimed.attempt - 1))


def _held(claimed: Claimed) -> sa.Update:
    return deliveries.update().where(
        deliveries.c.id == claimed.id,
        deliveries.c.attempts == claimed.attempt,
        deliveries.c.status == "pending",
    )


def drop(connection: Connection, endpoint_id: int, *, reason: str) -> int:
    """Nothing that waits for this endpoint is sent any more; gives how many there were."""
    query = deliveries.update().where(
        deliveries.c.endpoint_id == endpoint_id, deliveries.c.status == "pending"
    )
    return connection.execute(query.values(status="dropped", last_error=reason)).rowcount


# --- reading and replaying -----------------------------------------------------------------------------------------


def page(
    connection: Connection,
    *,
    owner_id: int | None,
    everybody: bool = False,
    endpoint_id: int | None,
    status: str | None,
    below: int | None,
    limit: int,
) -> list[Listed]:
    """What was sent for a customer, to the operator's own endpoints, or with ``everybody`` at all; newest first."""
    query = _listed().order_by(deliveries.c.id.desc()).limit(limit)
    if not everybody:
        query = query.where(_of(owner_id))
    if endpoint_id is not None:
        query = query.where(deliveries.c.endpoint_id == endpoint_id)
    if status is not None:
        query = query.where(deliveries.c.status == status)
    if below is not None:
        query = query.where(deliveries.c.id < below)
    return [_listed_row(row) for row in connection.execute(query)]


def by_id(connection: Connection, number: int) -> Listed | None:
    """A delivery by its id."""
    row = connection.execute(_listed().where(deliveries.c.id == number)).first()
    return None if row is None else _listed_row(row)


def again(connection: Connection, numbers: Sequence[int], *, now: int) -> None:
    """Send these once more, from the first attempt on."""
    query = deliveries.update().where(deliveries.c.id.in_(numbers))
    connection.execute(
        query.values(status="pending", next_at=now, attempts=0, delivered_at=None, last_error=None)
    )


def replay(
    connection: Connection,
    endpoint: EndpointRow,
    *,
    types: Sequence[str],
    since: int | None,
    after_sequence: int | None,
    new_id: Callable[[], int],
    now: int,
    limit: int,
) -> tuple[int, NotificationRow | None]:
    """Send an endpoint what happened since then, oldest first; gives how many, and the last where there is more."""
    query = (
        sa.select(*notification_store.COLUMNS)
        .where(notifications.c.type.in_(types), notifications.c.fanned_out)
        .order_by(notifications.c.id)
        .limit(limit + 1)
    )
    if endpoint.customer_id is not None:
        query = query.where(notifications.c.customer_id == endpoint.customer_id)
    if since is not None:
        query = query.where(notifications.c.at >= since)
    if after_sequence is not None:
        query = query.where(notifications.c.sequence > after_sequence)
    found = [NotificationRow(*row) for row in connection.execute(query)]
    wanted = found[:limit]
    known = sa.select(deliveries.c.notification_id, deliveries.c.id).where(
        deliveries.c.endpoint_id == endpoint.id,
        deliveries.c.notification_id.in_([each.id for each in wanted]),
    )
    sent = {row.notification_id: row.id for row in connection.execute(known)}
    if sent:
        again(connection, list(sent.values()), now=now)
    rows = [
        delivery_values(new_id(), each, now=now, endpoint=endpoint) for each in wanted if each.id not in sent
    ]
    if rows:
        connection.execute(deliveries.insert(), rows)
    return len(wanted), wanted[-1] if len(found) > limit else None


def _listed() -> sa.Select[tuple[object, ...]]:
    query: sa.Select[tuple[object, ...]] = sa.select(deliveries, *notification_store.COLUMNS).join_from(
        deliveries, notifications, notifications.c.id == deliveries.c.notification_id
    )
    return query


def _listed_row(row: sa.Row[tuple[object, ...]]) -> Listed:
    values = tuple(row)
    width = len(deliveries.c)
    return Listed(DeliveryRow(*values[:width]), NotificationRow(*values[width:]))  # type: ignore[arg-type]


def _of(owner_id: int | None) -> sa.ColumnElement[bool]:
    return deliveries.c.owner_id.is_not_distinct_from(owner_id)
