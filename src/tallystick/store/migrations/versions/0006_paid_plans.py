"""Plans that a subscription pays for: what says so in a membership, under its seal."""

import sqlalchemy as sa
from alembic import op

from tallystick.store.seals import seal_of

revision = "0006"
down_revision = "0005"

_BEFORE = ("customer_id", "plan", "since", "anchor_at", "period_start", "period_end", "granted")
_NEW = (
    sa.Column("paid_by", sa.Text),
    sa.Column("paid_from", sa.BigInteger),
    sa.Column("granted_before", sa.Text, nullable=False, server_default="{}"),
)


def upgrade() -> None:
    """Add the columns, where the first migration has not made them, and seal each row anew with them."""
    connection = op.get_bind()
    known = {column["name"] for column in sa.inspect(connection).get_columns("memberships")}
    if _NEW[0].name in known:
        return
    for column in _NEW:
        op.add_column("memberships", column)
    table = sa.table("memberships", *(sa.column(name) for name in (*_BEFORE, "seal")))
    for *row, seal in connection.execute(sa.select(table)).all():
        # A row that did not fit its seal before does not fit it afterwards either: the audit goes on telling.
        if seal == seal_of(row):
            mine = table.c.customer_id == row[0]
            connection.execute(table.update().where(mine).values(seal=seal_of((*row, None, None, "{}"))))
