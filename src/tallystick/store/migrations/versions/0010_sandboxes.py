"""Sandboxes, their bills, what was run in them, and the processes that look after them."""

from alembic import op

from tallystick.store.schema_sandboxes import TABLES

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the tables, unless the first schema has made them already."""
    for table in TABLES:
        table.create(op.get_bind(), checkfirst=True)
