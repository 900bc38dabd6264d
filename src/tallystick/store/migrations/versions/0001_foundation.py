"""The first schema: ledger, metering, identity."""

from alembic import op

from tallystick.store import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table. Until the first release the schema module is its own history."""
    schema.metadata.create_all(op.get_bind())
