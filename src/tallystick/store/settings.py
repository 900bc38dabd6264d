"""Small facts about the installation: its node counter, the test clock's offset, the active economy."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.ids import MAX_NODES
from tallystick.store.driver import Driver
from tallystick.store.schema import settings

# In one statement, because processes that start together must not get the same number.
_COUNT_START = sa.text(
    "INSERT INTO settings (name, value) VALUES ('starts', '1') ON CONFLICT (name) "
    "DO UPDATE SET value = CAST(CAST(settings.value AS BIGINT) + 1 AS TEXT) RETURNING value"
)

# As above: the second of two that set it first must not fail.
_PUT = sa.text(
    "INSERT INTO settings (name, value) VALUES (:name, :value) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)

_PUT_ONCE = sa.text("INSERT INTO settings (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")

_TAKE_TURNS: Final = sa.text(
    "INSERT INTO settings (name, value) VALUES (:name, '') ON CONFLICT (name) DO UPDATE SET value = settings.value"
)


def get(connection: Connection, name: str) -> str | None:
    """A setting's value, or None."""
    value: str | None = connection.scalar(sa.select(settings.c.value).where(settings.c.name == name))
    return value


def get_raw(driver: Driver, raw: Any, name: str) -> str | None:  # noqa: ANN401 - the driver's own connection
    """As ``get``, on the driver's own connection."""
    [rows] = driver.fetch(raw, [("SELECT value FROM settings WHERE name = ?", (name,))])
    return rows[0][0] if rows else None


def put(connection: Connection, name: str, value: str) -> None:
    """Set a setting."""
    connection.execute(_PUT, {"name": name, "value": value})


def put_once(connection: Connection, name: str, value: str) -> str:
    """Set a setting that nobody has set; gives the one that stands."""
    connection.execute(_PUT_ONCE, {"name": name, "value": value})
    return str(connection.execute(sa.select(settings.c.value).where(settings.c.name == name)).scalar_one())


def take_turns(connection: Connection, name: str) -> None:
    """From here to the end of the transaction, whoever takes turns under the same name waits."""
    connection.execute(_TAKE_TURNS, {"name": name})


def next_node(connection: Connection) -> int:
    """A number for this process, so that its ids differ from those of every other process that runs."""
    return int(connection.execute(_COUNT_START).scalar_one()) % MAX_NODES
