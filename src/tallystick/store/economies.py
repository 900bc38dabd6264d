"""Every version of an economy that was ever active, by the digest of its content."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tallystick.store.schema import economies
from tallystick.store.seals import seal_of

# Processes that start together store the same version: the second finds it there.
_ADD = sa.text(
    "INSERT INTO economies (version, name, text, loaded_at, seal) "
    "VALUES (:version, :name, :text, :loaded_at, :seal) ON CONFLICT (version) DO NOTHING"
)


def add(connection: Connection, *, version: str, name: str, text: str, loaded_at: int) -> None:
    """Store a version; one that is stored stays as it is."""
    if get(connection, version) is None:
        seal = seal_of((version, name, text, loaded_at))
        values = {"version": version, "name": name, "text": text, "loaded_at": loaded_at, "seal": seal}
        connection.execute(_ADD, values)


def get(connection: Connection, version: str) -> Row[tuple[str, str, str, int, str]] | None:
    """A version with its name, text and the moment it was first loaded."""
    return connection.execute(sa.select(economies).where(economies.c.version == version)).first()


def all_versions(connection: Connection) -> list[Row[tuple[str, str, str, int, str]]]:
    """Every version, oldest first."""
    return list(connection.execute(sa.select(economies).order_by(economies.c.loaded_at, economies.c.version)))
