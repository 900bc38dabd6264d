"""Whether a process looks after sandboxes is told by when it was last heard, and by nothing else."""

from alembic import op
from sqlalchemy import inspect

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Remove the column that said so too, unless the first schema has none."""
    columns = {column["name"] for column in inspect(op.get_bind()).get_columns("sandbox_processes")}
    if "alive" in columns:
        op.drop_column("sandbox_processes", "alive")
