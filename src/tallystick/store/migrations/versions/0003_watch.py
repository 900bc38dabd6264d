"""Balances are watched: what wallets are compared with, who is to be looked at, and which expiries were told."""

import sqlalchemy as sa
from alembic import op

from tallystick.store import schema

revision = "0003"
down_revision = "0002"

_COLUMNS = ("told_below", "watch_below", "watch_above", "refill_below")


def upgrade() -> None:
    """Add what is missing: a new database has the newest schema from its first revision on."""
    bind = op.get_bind()
    there = {column["name"] for column in sa.inspect(bind).get_columns("wallets")}
    for name in _COLUMNS:
        if name not in there:
            op.add_column("wallets", sa.Column(name, sa.BigInteger))
    for table in (schema.balance_alerts, schema.refill_requests, schema.expiry_notices):
        table.create(bind, checkfirst=True)
    for index in schema.accounts.indexes:
        if index.name == "ix_accounts_expiring":
            index.create(bind, checkfirst=True)
