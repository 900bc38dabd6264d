"""Databases of earlier versions are brought to the newest schema at the start, with what is in them."""

from pathlib import Path

import sqlalchemy as sa

from tallystick.core.watch import Watch
from tallystick.services.context import SYSTEM
from tallystick.store import migrations, wallets
from tallystick.store.audit import audit
from tallystick.store.engine import Database
from tallystick.store.schema import metadata
from tallystick.store.schema_operators import operator_actions
from tallystick.store.schema_sandboxes import sandbox_processes
from tests.services.yard import Yard
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


def test_lines_of_bills_from_before_two_bills_in_a_transaction_are_kept(
    database_url: str, tmp_path: Path
) -> None:
    """A line's key was its transaction alone; afterwards a transaction may be two lines."""
    with Yard(database_url, tmp_path) as yard:
        sandbox = yard.make()
        yard.tally.sandboxes.stop(yard.ann, sandbox)
        expected, lines = shape(yard.tally.database), yard.tally.sandboxes.lines(yard.ann, sandbox)
        yard.tally.close()
        old = Database(database_url)
        with old.write() as connection:
            _with_the_old_key(connection)
        old.close()

        yard.tally = yard.world.tally = yard.world.open()
        assert (expected, lines) == (
            shape(yard.tally.database),
            yard.tally.sandboxes.lines(yard.ann, sandbox),
        )
        key = sa.inspect(yard.tally.database.engine).get_pk_constraint("sandbox_lines")
        assert ["transaction_id", "operation"] == key["constrained_columns"]
        yard.pass_time(10)
        yard.run(yard.make())


def test_a_database_from_before_keys_of_uploads_is_upgraded(database_url: str, tmp_path: Path) -> None:
    """It looks like a new one, and a file that is put into a sandbox of before is charged once."""
    with Yard(database_url, tmp_path) as yard:
        sandbox, expected = yard.make(), shape(yard.tally.database)
        yard.tally.close()
        old = Database(database_url)
        with old.write() as connection:
            connection.execute(sa.text("DROP TABLE sandbox_requests"))
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0011'"))
        old.close()

        yard.tally = yard.world.tally = yard.world.open()
        assert expected == shape(yard.tally.database)
        for replayed in (False, True):
            answer = yard.tally.sandbox_runs.write_file(yard.ann, sandbox, "a", b"1", idempotency_key="k")
            assert replayed == answer.replayed


def test_what_operators_did_before_there_were_doors_was_done_at_the_dashboard(
    database_url: str, tmp_path: Path
) -> None:
    """The record has its column, and what is in it from before says so."""
    with World(database_url, tmp_path) as world:
        expected = shape(world.tally.database)
        world.tally.close()
        old = Database(database_url)
        values: dict[str, object] = {
            column.name: "1" for column in operator_actions.c if isinstance(column.type, sa.Text)
        }
        numbers = dict.fromkeys(("id", "at", "key_id"), 1)
        with old.write() as connection:
            connection.execute(operator_actions.insert().values(**{**values, **numbers, "status": "done"}))
            connection.execute(sa.text("ALTER TABLE operator_actions DROP COLUMN door"))
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0012'"))
        old.close()

        world.tally = world.open()
        assert expected == shape(world.tally.database)
        with world.tally.database.read() as connection:
            assert "admin" == connection.execute(sa.select(operator_actions.c.door)).scalar_one()


def test_a_database_in_which_processes_were_said_to_be_alive_is_upgraded(
    database_url: str, tmp_path: Path
) -> None:
    """The column goes, the processes stay, and new ones appear."""
    with Yard(database_url, tmp_path) as yard:
        yard.tally.sandbox_keeper.appear()
        expected, before = shape(yard.tally.database), _processes(yard.tally.database)
        yard.tally.close()
        old = Database(database_url)
        with old.write() as connection:
            connection.execute(
                sa.text("ALTER TABLE sandbox_processes ADD COLUMN alive BOOLEAN DEFAULT true NOT NULL")
            )
            connection.execute(
                sandbox_processes.insert().values(id="silent", started_at=1, beat_at=yard.world.clock.micros)
            )
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '0012'"))
        old.close()

        yard.tally = yard.world.tally = yard.world.open()
        assert expected == shape(yard.tally.database)
        assert "silent" in _processes(yard.tally.database)
        yard.tally.sandbox_keeper.appear()
        assert len(before) == 1 < len(_processes(yard.tally.database))


def _processes(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(sa.select(sandbox_processes.c.id)).scalars())


def _with_the_old_key(connection: sa.Connection) -> None:
    table = metadata.tables["sandbox_lines"]
    kept = connection.execute(table.select()).mappings().all()
    connection.execute(sa.text("DROP TABLE sandbox_lines"))
    columns = [
        sa.Column(each.name, each.type, primary_key=each.name == "transaction_id", nullable=each.nullable)
        for each in table.columns
    ]
    older = sa.Table("sandbox_lines", sa.MetaData(naming_convention=metadata.naming_convention), *columns)
    for index in table.indexes:
        sa.Index(index.name, *(older.c[each.name] for each in index.columns))
    older.create(connection)
    connection.execute(older.insert(), [dict(row) for row in kept])
    connection.execute(sa.text("UPDATE alembic_version SET version_num = '0010'"))
