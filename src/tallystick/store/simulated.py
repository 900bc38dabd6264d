"""What the simulated payment provider keeps: objects as documents, idempotency keys with their answers, and events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema_simulated import simulated_events, simulated_keys, simulated_objects

_OBJECT: Final = (
    simulated_objects.c.id,
    simulated_objects.c.number,
    simulated_objects.c.kind,
    simulated_objects.c.payer,
    simulated_objects.c.reference,
    simulated_objects.c.due_at,
    simulated_objects.c.data,
    simulated_objects.c.created_at,
)
# Built once: each event looks for one, and building a query costs more than running it.
_FIND: Final = sa.select(*_OBJECT).where(
    simulated_objects.c.id == sa.bindparam("row_id"), simulated_objects.c.kind == sa.bindparam("kind")
)
_FIND_LOCKED: Final = _FIND.with_for_update()
_EVENT: Final = (
    simulated_events.c.id,
    simulated_events.c.number,
    simulated_events.c.type,
    simulated_events.c.subject,
    simulated_events.c.subject_id,
    simulated_events.c.facts,
    simulated_events.c.created_at,
    simulated_events.c.attempts,
)

# Of two that come at once, the second waits here for the first to commit, and then finds its answer.
_TAKE_KEY: Final = sa.text(
    "INSERT INTO simulated_keys (key, digest, made, created_at) VALUES (:key, :digest, '', :at) ON CONFLICT (key) DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A document. ``due_at`` is when the clock makes something happen to it; ``number`` orders what was made."""

    id: str
    number: int
    kind: str
    payer: str | None
    reference: str | None
    due_at: int | None
    data: str
    created_at: int


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What an idempotency key was used for, and the id of what it made."""

    digest: str
    made: str
    created_at: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Something that happened. ``attempts`` is how often it was sent and not taken."""

    id: str
    number: int
    type: str
    subject: str
    subject_id: str
    facts: str
    created_at: int
    attempts: int = 0


# --- objects ---------------------------------------------------------------------------------------------------------


def add(connection: Connection, row: StoredObject) -> None:
    """A new object."""
    connection.execute(
        simulated_objects.insert().values(
            id=row.id,
            number=row.number,
            kind=row.kind,
            payer=row.payer,
            reference=row.reference,
            due_at=row.due_at,
            data=row.data,
            created_at=row.created_at,
            updated_at=row.created_at,
        )
    )


def save(connection: Connection, row_id: str, *, data: str, due_at: int | None, now: int) -> None:
    """Replace an object's document, and when it is due next."""
    connection.execute(
        simulated_objects.update()
        .where(simulated_objects.c.id == row_id)
        .values(data=data, due_at=due_at, updated_at=now)
    )


def find(connection: Connection, row_id: str, *, kind: str, lock: bool = False) -> StoredObject | None:
    """An object by its id. With ``lock``, whoever else locks it waits for the end of the transaction."""
    row = connection.execute(_FIND_LOCKED if lock else _FIND, {"row_id": row_id, "kind": kind}).first()
    return None if row is None else StoredObject(*row)


def newest(
    connection: Connection,
    *,
    kind: str,
    payer: str | None = None,
    reference: str | None = None,
    since: int | None = None,
    limit: int = 1,
) -> list[StoredObject]:
    """Objects of a kind, newest first: of a payer, with a reference, made at ``since`` or later."""
    query = sa.select(*_OBJECT).where(simulated_objects.c.kind == kind)
    if payer is not None:
        query = query.where(simulated_objects.c.payer == payer)
    if reference is not None:
        query = query.where(simulated_objects.c.reference == reference)
    if since is not None:
        query = query.where(simulated_objects.c.created_at >= since)
    found = connection.execute(query.order_by(simulated_objects.c.number.desc()).limit(limit))
    return [StoredObject(*row) for row in found]


def earliest_due(connection: Connection, *, now: int) -> StoredObject | None:
    """The object that has been due longest, locked; one that another process works on is left to it."""
    query = (
        sa.select(*_OBJECT)
        .where(simulated_objects.c.due_at <= now)
        .order_by(simulated_objects.c.due_at, simulated_objects.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).first()
    return None if row is None else StoredObject(*row)


def is_due(connection: Connection, *, now: int) -> bool:
    """Whether any object is due."""
    return _any(connection, simulated_objects.c.due_at <= now)


def is_waiting(connection: Connection, *, now: int) -> bool:
    """Whether any event waits to be delivered."""
    return _any(connection, simulated_events.c.next_attempt_at <= now)


def _any(connection: Connection, condition: sa.ColumnElement[bool]) -> bool:
    return connection.execute(sa.select(sa.literal(1)).where(condition).limit(1)).first() is not None


# --- idempotency keys ------------------------------------------------------------------------------------------------


def take_key(connection: Connection, key: str, *, digest: str, now: int) -> StoredKey | None:
    """Take a key for this transaction; gives what it was used for before, or None when nobody used it."""
    taken = connection.execute(_TAKE_KEY, {"key": key, "digest": digest, "at": now}).rowcount
    if taken:
        return None
    query = sa.select(simulated_keys.c.digest, simulated_keys.c.made, simulated_keys.c.created_at)
    row = connection.execute(query.where(simulated_keys.c.key == key).with_for_update()).one()
    return StoredKey(*row)


def renew_key(connection: Connection, key: str, *, digest: str, now: int) -> None:
    """Use a key anew that was forgotten."""
    connection.execute(
        simulated_keys.update()
        .where(simulated_keys.c.key == key)
        .values(digest=digest, made="", created_at=now)
    )


def note_made(connection: Connection, key: str, made: str) -> None:
    """Keep the id of what a key made, for the repeats."""
    connection.execute(simulated_keys.update().where(simulated_keys.c.key == key).values(made=made))


# --- events ----------------------------------------------------------------------------------------------------------


def add_event(connection: Connection, event: StoredEvent) -> None:
    """A new event, to be delivered at once."""
    connection.execute(
        simulated_events.insert().values(
            id=event.id,
            number=event.number,
            type=event.type,
            subject=event.subject,
            subject_id=event.subject_id,
            facts=event.facts,
            created_at=event.created_at,
            next_attempt_at=event.created_at,
        )
    )


def claim_event(connection: Connection, *, now: int, until: int) -> StoredEvent | None:
    """The oldest event that waits to be delivered; until then nobody else gets it."""
    query = (
        sa.select(*_EVENT)
        .where(simulated_events.c.next_attempt_at <= now)
        .order_by(simulated_events.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    event = StoredEvent(*row)
    _set_event(connection, event.id, next_attempt_at=until)
    return event


def mark_delivered(connection: Connection, event_id: str, *, now: int) -> None:
    """Somebody took it."""
    _set_event(connection, event_id, delivered_at=now, next_attempt_at=None)


def mark_failed(connection: Connection, event_id: str, *, attempts: int, next_attempt_at: int | None) -> None:
    """Nobody took it: when to try again, or None to give it up."""
    _set_event(connection, event_id, attempts=attempts, next_attempt_at=next_attempt_at)


def _set_event(connection: Connection, event_id: str, **values: int | None) -> None:
    connection.execute(simulated_events.update().where(simulated_events.c.id == event_id).values(**values))


def events(
    connection: Connection, *, since: int, below: tuple[int, int] | None, limit: int
) -> Sequence[StoredEvent]:
    """A page of events, newest first; ``below`` is the moment and the number of the last one of the page before."""
    query = sa.select(*_EVENT).where(simulated_events.c.created_at >= since)
    if below is not None:
        moment, number = below
        query = query.where(
            sa.or_(
                simulated_events.c.created_at < moment,
                sa.and_(simulated_events.c.created_at == moment, simulated_events.c.number < number),
            )
        )
    order = (simulated_events.c.created_at.desc(), simulated_events.c.number.desc())
    return [StoredEvent(*row) for row in connection.execute(query.order_by(*order).limit(limit))]
