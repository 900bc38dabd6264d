"""Databases from before paid plans: the columns come, the rows are sealed anew, and what did not fit stays found."""

import sqlalchemy as sa

from tallystick.store.audit import audit
from tallystick.store.engine import migrate
from tallystick.store.schema import memberships
from tallystick.store.seals import seal_of
from tests.store.conftest import Lived

BEFORE = ("customer_id", "plan", "since", "anchor_at", "period_start", "period_end", "granted")


def test_memberships_of_an_older_database_are_sealed_anew(lived: Lived) -> None:
    """One that somebody had edited before is still told of afterwards."""
    with lived.database.write() as connection:
        columns = [memberships.c[name] for name in BEFORE]
        rows = [tuple(row) for row in connection.execute(sa.select(*columns).order_by(columns[0]))]
        for name in ("paid_by", "paid_from", "granted_before"):
            connection.exec_driver_sql(f"ALTER TABLE memberships DROP COLUMN {name}")
        for row in rows:
            connection.execute(
                sa.text("UPDATE memberships SET seal = :seal WHERE customer_id = :id"),
                {"seal": seal_of(row), "id": row[0]},
            )
        edited = rows[0]
        connection.execute(
            sa.text("UPDATE memberships SET since = since + 1 WHERE customer_id = :id"), {"id": edited[0]}
        )
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0005'")
    migrate(lived.database.url.render_as_string(hide_password=False))
    assert [f"memberships {edited[0]} seal"] == broken_seals(lived)
    with lived.database.write() as connection:
        connection.execute(
            sa.text("UPDATE memberships SET since = since - 1, seal = :seal WHERE customer_id = :id"),
            {"seal": seal_of((*edited, None, None, "{}")), "id": edited[0]},
        )
    assert [] == broken_seals(lived)


def broken_seals(lived: Lived) -> list[str]:
    """Rows that the audit finds edited; what paid for plans is gone with the columns, and found for itself."""
    report = audit(lived.database, now=lived.now)
    found = [violation.where for rule in report.rules for violation in rule.violations]
    return [where for where in found if where.endswith("seal")]
