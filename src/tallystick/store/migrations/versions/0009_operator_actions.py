"""The operators' dashboard: who has signed in, and what they did."""

from alembic import op

from tallystick.store.schema_operators import TABLES

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the tables, unless the first schema has made them already."""
    for table in TABLES:
        table.create(op.get_bind(), checkfirst=True)
