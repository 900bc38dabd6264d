"""Databases of earlier versions are brought to the newest schema at the start, with what is in them."""

from pathlib import Path

import sqlalchemy as sa

from tallystick.core.watch import Watch
from tallystick.services.context import SYSTEM
from tallystick.store import migrations, wallets
from tallystick.store.audit import audit
from tallystick.store.engine import Database
from tallystick.store.schema import metadata
from tests.tallies import USER, World

BEFORE_THE_WATCH = [
    "DROP INDEX ix_accounts_expiring",
    *(f"DROP TABLE {name}" for name in ("balance_alerts", "refill_requests", "expiry_notices")),
    *(
        f"ALTER TABLE wallets DROP COLUMN {name}"
        for name in ("told_below", "watch_below", "watch_above", "refill_below")
    ),
    "DELETE FROM settings WHERE name = 'balances_placed'",
    "UPDATE alembic_version SET version_num = '0002'",
]


def shape(database: Database) -> dict[str, tuple[set[str], set[str | None]]]:
    """Each table's columns and indexes."""
    inspector = sa.inspect(database.engine)
    return {
        table: (
            {column["name"] for column in inspector.get_columns(table)},
            {index["name"] for index in inspector.get_indexes(table)},
        )
        for table in metadata.tables
    }


def test_a_database_from_before_the_balance_watch_is_upgraded(database_url: str, tmp_path: Path) -> None:
    """It looks like a new one afterwards, nothing is lost, and its wallets are watched from the next turn on."""
    with World(database_url, tmp_path) as world:
        world.grant(100)
        expected = shape(world.tally.database)
        world.tally.close()
        old = Database(database_url)
        with old.write() as connection:
            for statement in BEFORE_THE_WATCH:
                connection.execute(sa.text(statement))
        old.close()

        world.tally = world.open()
        database = world.tally.database
        assert expected == shape(database)
        with database.read() as connection:
            assert migrations.newest() == migrations.current(connection)
        assert 100 == world.available()
        world.tally.watch.run_once()
        customer_id = world.tally.customers.resolve(SYSTEM, USER)
        with database.read() as connection:
            assert (
                Watch(None, 50_000_000, None) == wallets.of_customer(connection, customer_id)["credits"].watch
            )
        assert audit(database).ok
