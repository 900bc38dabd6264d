"""What admins do through other doors than the dashboard is written down too: the record says which door it was."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column, unless the tables were made with it: what is there was done from the dashboard."""
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("operator_actions")}
    if "door" not in known:
        op.add_column("operator_actions", sa.Column("door", sa.Text, nullable=False, server_default="admin"))
