"""The tables of the operators' dashboard: who has signed in with which key, and what each of them did and why.

A session stands here by its digest only, and is worth nothing without its key. An action is never deleted.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text

from tallystick.store.schema import metadata

operator_sessions = Table(
    "operator_sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("key_id", ForeignKey("api_keys.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

operator_actions = Table(
    "operator_actions",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("key_id", BigInteger, nullable=False),
    Column("operator", Text, nullable=False),  # the key's name, as it was then
    Column("action", Text, nullable=False),
    Column("customer_id", BigInteger),
    Column("subject", Text),  # the id of the charge, payment, delivery or endpoint, as doors show it
    Column("terms", Text, nullable=False),  # what else was asked, as JSON
    Column("reason", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("outcome", Text),
    Column("report", Text),  # of a reconciliation or an audit, as JSON
    Column("ended_at", BigInteger),
    Column("idempotency", Text, nullable=False, unique=True),
    Column("request_digest", Text, nullable=False),
    Column("door", Text, nullable=False, server_default="admin"),
    CheckConstraint("status IN ('begun', 'done', 'refused', 'failed')", name="status"),
)
Index("ix_operator_actions_customer", operator_actions.c.customer_id, operator_actions.c.id)
Index("ix_operator_actions_action", operator_actions.c.action, operator_actions.c.id)

TABLES = (operator_sessions, operator_actions)
