"""Files that are put into sandboxes have idempotency keys."""

from alembic import op

from tallystick.store.schema_sandboxes import sandbox_uploads

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the table, unless the first schema has made it already."""
    sandbox_uploads.create(op.get_bind(), checkfirst=True)
