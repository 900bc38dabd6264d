"""Notifications: written in the transaction of their cause, each with the next number of its customer.

Who is told, and how, is worked out afterwards (``store.deliveries``), so that a cause costs the same however many listen.
The row that counts a customer's numbers is locked until the transaction ends: numbers have no gaps. So emit last, after
posting to the ledger, which locks wallets first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.events import EVENT_TYPES, Event
from tallystick.store.driver import Driver, Insert
from tallystick.store.schema_notifications import deliveries, notification_preferences, notifications

OPERATOR: Final = 0  # whose numbers those are that belong to no customer

_B, _T = "bigint", "text"
_COUNT: Final = Insert(
    "notification_sequences",
    (("customer_id", _B), ("last", _B)),
    "ON CONFLICT (customer_id) DO UPDATE SET last = notification_sequences.last + excluded.last",
)
_INSERT: Final = Insert(
    "notifications",
    (("id", _B), ("customer_id", _B), ("sequence", _B), ("type", _T), ("at", _B), ("data", _T), ("once", _T)),
)
_NUMBER: Final = (
    "UPDATE notifications SET sequence = sequence + 1 + (SELECT s.last FROM notification_sequences s "
    "WHERE s.customer_id = COALESCE(notifications.customer_id, 0)) WHERE {ids:id}"
)
_TOLD: Final = "SELECT once FROM notifications WHERE {names:once}"
_NEXT: Final = sa.text(
    "INSERT INTO notification_sequences (customer_id, last) VALUES (:customer_id, 1) "
    "ON CONFLICT (customer_id) DO UPDATE SET last = notification_sequences.last + 1 RETURNING last"
)
_ADD: Final = notifications.insert()

_encode: Final = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """Something that happened. ``data`` is JSON; ``customer_id`` None concerns the operator alone."""

    id: int
    customer_id: int | None
    sequence: int
    type: str
    at: int
    data: str


COLUMNS: Final = (
    notifications.c.id,
    notifications.c.customer_id,
    notifications.c.sequence,
    notifications.c.type,
    notifications.c.at,
    notifications.c.data,
)


# --- writing -------------------------------------------------------------------------------------------------------


def emit(
    connection: Connection,
    *,
    new_id: Callable[[], int],
    now: int,
    customer_id: int | None,
    type: str,  # noqa: A002 - the word that events are known by
    data: Mapping[str, object],
    once: str | None = None,
) -> int:
    """Write a notification in the caller's transaction; gives its number among those of its customer.

    ``type`` is one of ``EVENT_TYPES``; ``data`` has texts, whole numbers, exact ``Decimal`` amounts, and lists and mappings
    of them; ``now`` is when it happened. What was told under ``once`` before is not told again: then its number is given.
    """
    _check(type)
    number = connection.execute(
        _NEXT, {"customer_id": OPERATOR if customer_id is None else customer_id}
    ).scalar_one()
    if once is not None:  # looked up behind the lock, so that of two at once the second sees the first
        told = connection.execute(sa.select(*COLUMNS).where(notifications.c.once == once)).first()
        if told is not None:
            _take_back(connection, customer_id)
            return int(told.sequence)
    insert(
        connection,
        NotificationRow(new_id(), customer_id, int(number), type, now, data_text(data)),
        once=once,
    )
    return int(number)


def insert(
    connection: Connection, row: NotificationRow, *, once: str | None = None, fanned_out: bool = False
) -> None:
    """A notification with a number that the caller took; with ``fanned_out``, the caller also says who is told."""
    connection.execute(
        _ADD,
        {
            "id": row.id,
            "customer_id": row.customer_id,
            "sequence": row.sequence,
            "type": row.type,
            "at": row.at,
            "data": row.data,
            "once": once,
            "fanned_out": fanned_out,
        },
    )


def write_events(driver: Driver, raw: Any, new_id: Callable[[], int], events: Sequence[Event]) -> None:  # noqa: ANN401
    """As ``emit``, for all events of a batch, by raw statements whose answers nobody waits for."""
    keys = [event.once for event in events if event.once is not None]
    if keys:
        [rows] = driver.fetch(raw, [(_TOLD, (driver.names(keys),))])
        events = _untold(events, {row[0] for row in rows})
    if not events:
        return
    counts = Counter(_owner(event) for event in events)
    driver.insert(raw, _COUNT, sorted(counts.items()))
    rows = []
    for event in events:
        _check(event.type)
        owner = _owner(event)
        rows.append(
            (
                new_id(),
                event.customer_id,
                -counts[owner],
                event.type,
                event.at,
                data_text(event.data),
                event.once,
            )
        )
        counts[owner] -= 1
    driver.insert(raw, _INSERT, rows)
    raw.execute(driver.sql(_NUMBER), (driver.numbers(row[0] for row in rows),))


def data_text(data: Mapping[str, object]) -> str:
    """An event's data as JSON: amounts stay exact numbers."""
    return _encode(data).decode()


def _untold(events: Sequence[Event], told: set[str]) -> list[Event]:
    found: list[Event] = []
    for event in events:
        if event.once is None or event.once not in told:
            found.append(event)
            if event.once is not None:
                told.add(event.once)
    return found


def _owner(event: Event) -> int:
    return OPERATOR if event.customer_id is None else event.customer_id


def _check(event_type: str) -> None:
    if event_type not in EVENT_TYPES:
        message = f"there is no event of the type {event_type}"
        raise ValueError(message)


def _take_back(connection: Connection, customer_id: int | None) -> None:
    connection.execute(
        sa.text("UPDATE notification_sequences SET last = last - 1 WHERE customer_id = :customer_id"),
        {"customer_id": OPERATOR if customer_id is None else customer_id},
    )


# --- reading -------------------------------------------------------------------------------------------------------


def page(
    connection: Connection,
    *,
    customer_id: int | None,
    types: Sequence[str] | None,
    below: int | None,
    limit: int,
) -> list[NotificationRow]:
    """Notifications of a customer, or of everybody, newest first; ``below`` is the last id of the page before."""
    query = sa.select(*COLUMNS).order_by(notifications.c.id.desc()).limit(limit)
    if customer_id is not None:
        query = query.where(notifications.c.customer_id == customer_id)
    if types is not None:
        query = query.where(notifications.c.type.in_(types))
    if below is not None:
        query = query.where(notifications.c.id < below)
    return [NotificationRow(*row) for row in connection.execute(query)]


def prune(connection: Connection, *, below: int, limit: int) -> int:
    """Delete the oldest notifications with an id below ``below`` that nobody waits for; gives how many."""
    waiting = sa.exists().where(
        deliveries.c.notification_id == notifications.c.id, deliveries.c.status == "pending"
    )
    old = (
        sa.select(notifications.c.id)
        .where(notifications.c.id < below, notifications.c.fanned_out, ~waiting)
        .order_by(notifications.c.id)
        .limit(limit)
    )
    numbers = list(connection.scalars(old))
    if numbers:
        connection.execute(deliveries.delete().where(deliveries.c.notification_id.in_(numbers)))
        connection.execute(notifications.delete().where(notifications.c.id.in_(numbers)))
    return len(numbers)


# --- preferences ---------------------------------------------------------------------------------------------------


def preferences(
    connection: Connection, customer_ids: Sequence[int]
) -> dict[int, tuple[bool, tuple[str, ...]]]:
    """What customers chose: whether they get e-mail, and of which types (none named: all of them)."""
    table = notification_preferences
    query = sa.select(table.c.customer_id, table.c.email, table.c.types).where(
        table.c.customer_id.in_(customer_ids)
    )
    return {
        customer_id: (bool(email), tuple(json.loads(types)))
        for customer_id, email, types in connection.execute(query)
    }


def set_preferences(connection: Connection, customer_id: int, *, email: bool, types: Sequence[str]) -> None:
    """Set what a customer chose."""
    connection.execute(
        sa.text(
            "INSERT INTO notification_preferences (customer_id, email, types) VALUES (:customer_id, :email, :types) "
            "ON CONFLICT (customer_id) DO UPDATE SET email = excluded.email, types = excluded.types"
        ),
        {"customer_id": customer_id, "email": email, "types": json.dumps(list(types))},
    )
