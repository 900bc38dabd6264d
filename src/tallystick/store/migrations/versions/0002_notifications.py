"""Notifications: what happened, endpoints, deliveries, preferences."""

from alembic import op

from tallystick.store.schema_notifications import TABLES

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables, unless the first schema has made them already."""
    for table in TABLES:
        table.create(op.get_bind(), checkfirst=True)
