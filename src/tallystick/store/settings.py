"""Small facts about the installation: its node counter, the test clock's offset, the active economy."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.ids import MAX_NODES
from tallystick.store.schema import settings


def get(connection: Connection, name: str) -> str | None:
    """A setting's value, or None."""
    value: str | None = connection.scalar(sa.select(settings.c.value).where(settings.c.name == name))
    return value


def put(connection: Connection, name: str, value: str) -> None:
    """Set a setting."""
    if connection.execute(settings.update().where(settings.c.name == name).values(value=value)).rowcount == 0:
        connection.execute(settings.insert().values(name=name, value=value))


def next_node(connection: Connection) -> int:
    """A number for this process, so that its ids differ from those of every other process that runs."""
    starts = int(get(connection, "starts") or 0) + 1
    put(connection, "starts", str(starts))
    return starts % MAX_NODES
