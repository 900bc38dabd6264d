"""Files that are put into sandboxes, and changes of sandboxes, have idempotency keys."""

from alembic import op

from tallystick.store.schema_sandboxes import sandbox_requests

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the table, unless the first schema has made it already."""
    sandbox_requests.create(op.get_bind(), checkfirst=True)
