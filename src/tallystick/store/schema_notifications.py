"""The tables of notifications: what happened, who is told where, and what became of telling them."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)

from tallystick.store.schema import metadata


def _id(name: str = "id") -> Column[int]:
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)


# The last number that was given out; 0 stands for what concerns the operator alone.
notification_sequences = Table(
    "notification_sequences", metadata, _id("customer_id"), Column("last", BigInteger, nullable=False)
)

# `sequence` rises by one for each notification of a customer; a test event has 0 and does not count. Inside the transaction
# that writes it, it may be negative: its place among those that are written together.
notifications = Table(
    "notifications",
    metadata,
    _id(),
    Column("customer_id", BigInteger),
    Column("sequence", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
    Column("once", Text),
    Column("fanned_out", Boolean, nullable=False, server_default=text("false")),
)
Index("ix_notifications_customer", notifications.c.customer_id, notifications.c.id)
Index(
    "uq_notifications_sequence",
    notifications.c.customer_id,
    notifications.c.sequence,
    unique=True,
    sqlite_where=notifications.c.sequence > 0,
    postgresql_where=notifications.c.sequence > 0,
)
Index(
    "uq_notifications_once",
    notifications.c.once,
    unique=True,
    sqlite_where=notifications.c.once.is_not(None),
    postgresql_where=notifications.c.once.is_not(None),
)
Index(
    "ix_notifications_waiting",
    notifications.c.id,
    sqlite_where=~notifications.c.fanned_out,
    postgresql_where=~notifications.c.fanned_out,
)

endpoints = Table(
    "endpoints",
    metadata,
    _id(),
    Column("customer_id", BigInteger, index=True),
    Column("url", Text, nullable=False),
    Column("types", Text, nullable=False),
    Column("description", Text),
    Column("secret", Text, nullable=False),
    Column("previous_secret", Text),
    Column("previous_until", BigInteger),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("failing_since", BigInteger),
    Column("resume_at", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("status IN ('enabled', 'disabled')", name="status"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    Column("notification_id", BigInteger, nullable=False, index=True),
    Column("owner_id", BigInteger),
    Column("channel", Text, nullable=False),
    Column("endpoint_id", BigInteger),
    Column("address", Text),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("next_at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("last_status", SmallInteger),
    Column("last_error", Text),
    Column("delivered_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("channel IN ('webhook', 'email')", name="channel"),
    CheckConstraint("status IN ('pending', 'delivered', 'failed', 'dropped')", name="status"),
)
Index("ix_deliveries_owner", deliveries.c.owner_id, deliveries.c.id)
Index("ix_deliveries_endpoint", deliveries.c.endpoint_id, deliveries.c.id)
Index(
    "ix_deliveries_due",
    deliveries.c.next_at,
    deliveries.c.id,
    sqlite_where=deliveries.c.status == "pending",
    postgresql_where=deliveries.c.status == "pending",
)

notification_preferences = Table(
    "notification_preferences",
    metadata,
    _id("customer_id"),
    Column("email", Boolean, nullable=False),
    Column("types", Text, nullable=False),
)

TABLES: Final = (notification_sequences, notifications, endpoints, deliveries, notification_preferences)
