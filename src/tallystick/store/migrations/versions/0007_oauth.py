"""The authorization server: clients, authorizations, connected apps and their tokens."""

from alembic import op

from tallystick.store.schema_oauth import TABLES

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the tables, unless the first schema has made them already."""
    for table in TABLES:
        table.create(op.get_bind(), checkfirst=True)
