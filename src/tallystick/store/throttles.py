"""Counted attempts per subject and window. Counting locks the row: the counts are exact across processes."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema import throttles

_ADD = sa.text(
    "INSERT INTO throttles (subject, window_at, count) VALUES (:subject, :window_at, :number) "
    "ON CONFLICT (subject, window_at) DO UPDATE SET count = throttles.count + excluded.count RETURNING count"
)


def add(connection: Connection, subject: str, window_at: int, number: int) -> int:
    """Count ``number`` more; gives the count. Others who count it wait for the end of the transaction."""
    parameters = {"subject": subject, "window_at": window_at, "number": number}
    return int(connection.execute(_ADD, parameters).scalar_one())


def lock(connection: Connection, subject: str, window_at: int) -> int:
    """What has been counted; nobody else counts until the end of the transaction."""
    return add(connection, subject, window_at, 0)


def count(connection: Connection, subject: str, window_at: int) -> int:
    """What has been counted, without a lock."""
    found = connection.scalar(sa.select(throttles.c.count).where(*_is(subject, window_at)))
    return int(found or 0)


def take_back(connection: Connection, subject: str, window_at: int) -> None:
    """Undo one count."""
    statement = throttles.update().where(*_is(subject, window_at), throttles.c.count > 0)
    connection.execute(statement.values(count=throttles.c.count - 1))


def forget(connection: Connection, subject: str) -> None:
    """Delete all that was counted of a subject."""
    connection.execute(throttles.delete().where(throttles.c.subject == subject))


def _is(subject: str, window_at: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return throttles.c.subject == subject, throttles.c.window_at == window_at
