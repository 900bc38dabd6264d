"""The simulated payment provider's own tables."""

from alembic import op

from tallystick.store.schema_simulated import TABLES

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables, unless the first schema has made them already."""
    for table in TABLES:
        table.create(op.get_bind(), checkfirst=True)
