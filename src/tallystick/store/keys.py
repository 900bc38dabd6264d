"""API keys. A key is stored by its digest, never itself; a revoked key stays as a record."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.driver import Driver
from tallystick.store.engine import raw_connection
from tallystick.store.schema import api_keys, settings

_COLUMNS = (
    api_keys.c.id,
    api_keys.c.customer_id,
    api_keys.c.name,
    api_keys.c.role,
    api_keys.c.prefix,
    api_keys.c.created_by,
    api_keys.c.created_at,
    api_keys.c.expires_at,
    api_keys.c.revoked_at,
)
_BEARERS = (
    "SELECT k.key_hash, EXISTS (SELECT 1 FROM budgets b WHERE b.key_id = k.id), "
    "k.id, k.customer_id, k.name, k.role, k.expires_at, k.revoked_at FROM api_keys k WHERE {names:k.key_hash}"
)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as it is listed."""

    id: int
    customer_id: int | None
    name: str
    role: str
    prefix: str
    created_by: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True)
class Bearer:
    """What a request that shows a key must know of it."""

    has_budget: bool
    id: int
    customer_id: int | None
    name: str
    role: str
    expires_at: int | None
    revoked_at: int | None


def add(connection: Connection, row: KeyRow, *, key_hash: str) -> None:
    """A new key."""
    connection.execute(
        api_keys.insert().values(
            id=row.id,
            customer_id=row.customer_id,
            name=row.name,
            role=row.role,
            prefix=row.prefix,
            key_hash=key_hash,
            created_by=row.created_by,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
    )


def bearers(connection: Connection, driver: Driver, hashes: Sequence[str]) -> dict[str, Bearer]:
    """Who shows the keys with these digests: one read by an index, as every request asks."""
    rows = raw_connection(connection).execute(driver.sql(_BEARERS), (driver.names(hashes),)).fetchall()
    return {key_hash: Bearer(bool(has_budget), *fields) for key_hash, has_budget, *fields in rows}


def by_hash(connection: Connection, key_hash: str) -> KeyRow | None:
    """A key by its digest, revoked or not."""
    row = connection.execute(sa.select(*_COLUMNS).where(api_keys.c.key_hash == key_hash)).first()
    return None if row is None else KeyRow(*row)


def by_id(connection: Connection, number: int) -> KeyRow | None:
    """A key by its id, revoked or not."""
    row = connection.execute(sa.select(*_COLUMNS).where(api_keys.c.id == number)).first()
    return None if row is None else KeyRow(*row)


def lock(connection: Connection, number: int) -> None:
    """Whoever else locks this key waits for the end of the transaction."""
    connection.execute(sa.select(api_keys.c.id).where(api_keys.c.id == number).with_for_update())


def page(connection: Connection, *, customer_id: int | None, below: int | None, limit: int) -> list[KeyRow]:
    """Keys of a customer, or of everybody, newest first; ``below`` is the last id of the page before."""
    query = sa.select(*_COLUMNS).order_by(api_keys.c.id.desc()).limit(limit)
    if customer_id is not None:
        query = query.where(api_keys.c.customer_id == customer_id)
    if below is not None:
        query = query.where(api_keys.c.id < below)
    return [KeyRow(*row) for row in connection.execute(query)]


def count_usable(connection: Connection, *, customer_id: int, now: int) -> int:
    """How many keys of a customer are neither revoked nor expired."""
    return _count(connection, api_keys.c.customer_id == customer_id, _usable(now))


def has_usable_admin(connection: Connection, *, now: int) -> bool:
    """Whether anybody could administer this installation by a key."""
    return _count(connection, api_keys.c.role == "admin", _usable(now)) > 0


def _usable(now: int) -> sa.ColumnElement[bool]:
    in_time = sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    return sa.and_(api_keys.c.revoked_at.is_(None), in_time)


def _count(connection: Connection, *conditions: sa.ColumnElement[bool]) -> int:
    return int(connection.scalar(sa.select(sa.func.count()).select_from(api_keys).where(*conditions)) or 0)


def revoke(connection: Connection, number: int, *, revoked_at: int) -> None:
    """From now on nobody gets in with this key; one that is revoked already keeps its moment."""
    connection.execute(
        api_keys.update()
        .where(api_keys.c.id == number, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
    )


def take_turns(connection: Connection) -> None:
    """Processes that start together make their keys one by one, by the row that counts the starts."""
    connection.execute(sa.select(settings.c.name).where(settings.c.name == "starts").with_for_update())
