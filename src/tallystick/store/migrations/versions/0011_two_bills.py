"""One transaction may be two lines of a sandbox's bill: an operation, and the time up to it."""

from alembic import op
from sqlalchemy import inspect

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Let the key of a line be its transaction with its operation, unless the first schema has done so."""
    key = inspect(op.get_bind()).get_pk_constraint("sandbox_lines")
    if "operation" in key["constrained_columns"]:
        return
    with op.batch_alter_table("sandbox_lines", recreate="auto") as table:
        if key["name"]:
            table.drop_constraint(key["name"], type_="primary")
        table.create_primary_key("pk_sandbox_lines", ["transaction_id", "operation"])
