"""Users and their sessions. A session is stored by the digest of its token, never by the token itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.driver import Driver
from tallystick.store.engine import raw_connection
from tallystick.store.schema import sessions, users

_SESSIONS = (
    "SELECT s.token_hash, u.id, u.customer_id, s.expires_at FROM sessions s JOIN users u ON u.id = s.user_id "
    "WHERE {names:s.token_hash}"
)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who logs in for a customer."""

    id: int
    customer_id: int
    email: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class SessionOwner:
    """Who a session belongs to, and until when."""

    user_id: int
    customer_id: int
    expires_at: int


def add(connection: Connection, user: User, *, created_at: int) -> None:
    """A new user; the database refuses an email that is taken."""
    connection.execute(
        users.insert().values(
            id=user.id,
            customer_id=user.customer_id,
            email=user.email,
            password_hash=user.password_hash,
            created_at=created_at,
        )
    )


def by_email(connection: Connection, email: str) -> User | None:
    """A user by the normalised email."""
    return _one(connection, users.c.email == email)


def by_id(connection: Connection, number: int) -> User | None:
    """A user by the id."""
    return _one(connection, users.c.id == number)


def _one(connection: Connection, condition: sa.ColumnElement[bool]) -> User | None:
    row = connection.execute(
        sa.select(users.c.id, users.c.customer_id, users.c.email, users.c.password_hash).where(condition)
    ).first()
    return None if row is None else User(*row)


def set_password_hash(connection: Connection, user: User, password_hash: str) -> bool:
    """Replace the hash that was read; False where somebody else has replaced it meanwhile."""
    is_as_read = users.update().where(users.c.id == user.id, users.c.password_hash == user.password_hash)
    return connection.execute(is_as_read.values(password_hash=password_hash)).rowcount == 1


def lock_as_read(connection: Connection, user: User) -> bool:
    """Let nobody change a user's password until the transaction ends; False where it is not the one that was read."""
    query = sa.select(users.c.password_hash).where(users.c.id == user.id).with_for_update()
    return connection.scalar(query) == user.password_hash


def add_session(
    connection: Connection, *, token_hash: str, user_id: int, created_at: int, expires_at: int
) -> None:
    """A new session."""
    connection.execute(
        sessions.insert().values(
            token_hash=token_hash, user_id=user_id, created_at=created_at, expires_at=expires_at
        )
    )


def session_owners(connection: Connection, driver: Driver, hashes: Sequence[str]) -> dict[str, SessionOwner]:
    """Who sessions belong to, by the digest of the token: one indexed read, as every request asks."""
    rows = raw_connection(connection).execute(driver.sql(_SESSIONS), (driver.names(hashes),)).fetchall()
    return {token_hash: SessionOwner(*owner) for token_hash, *owner in rows}


def end_session(connection: Connection, *, token_hash: str, user_id: int) -> None:
    """Delete a user's session; one that is gone already stays gone."""
    connection.execute(
        sessions.delete().where(sessions.c.token_hash == token_hash, sessions.c.user_id == user_id)
    )


def end_sessions_of(connection: Connection, user_id: int, *, but: str | None = None) -> None:
    """Delete every session of a user, except the one whose token has the digest ``but``."""
    ended = sessions.delete().where(sessions.c.user_id == user_id)
    connection.execute(ended if but is None else ended.where(sessions.c.token_hash != but))
