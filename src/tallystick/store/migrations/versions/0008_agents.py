"""Agents that can be hired, and their tasks."""

from alembic import op

from tallystick.store.schema_agents import TABLES

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables, unless the first schema has made them already."""
    for table in TABLES:
        table.create(op.get_bind(), checkfirst=True)
