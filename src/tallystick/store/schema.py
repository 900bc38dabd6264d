"""The tables. Amounts are micro-units and times microseconds since the epoch, both BIGINT, in every database.

``accounts`` holds every ledger account, lots included, and is kept narrow because each charge updates it; what a lot's
grant was about stands in ``grants`` under the same id. ``transactions``, ``transfers`` and ``entries`` are only ever
inserted. The tables of the hot path carry no foreign keys: ``tally audit`` checks what those would.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# PostgreSQL keeps an updated row on its page when there is room; these rows are updated by every charge.
_ROOM_TO_UPDATE: Final[dict[str, Any]] = {"postgresql_with": {"fillfactor": "50"}}


def _id(name: str = "id") -> Column[int]:
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)


def _number(name: str, *, default: int | None = 0) -> Column[int]:
    if default is None:
        return Column(name, BigInteger)
    return Column(name, BigInteger, nullable=False, server_default=text(str(default)))


settings = Table(
    "settings", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)

economies = Table(
    "economies",
    metadata,
    Column("version", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("loaded_at", BigInteger, nullable=False),
    Column("seal", Text, nullable=False),
)

customers = Table(
    "customers",
    metadata,
    _id(),
    Column("external_id", Text, unique=True),
    Column("email", Text),
    Column("metadata", Text, nullable=False, server_default="{}"),
    Column("created_at", BigInteger, nullable=False),
)

users = Table(
    "users",
    metadata,
    _id(),
    Column("customer_id", ForeignKey("customers.id"), nullable=False, index=True),
    Column("email", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("customer_id", ForeignKey("customers.id"), index=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("key_hash", Text, nullable=False, unique=True),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    CheckConstraint("role IN ('user', 'service', 'admin')", name="role"),
)

throttles = Table(
    "throttles",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("window_at", BigInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)

wallets = Table(
    "wallets",
    metadata,
    _id(),
    Column("customer_id", BigInteger, nullable=False),
    Column("unit", Text, nullable=False),
    Column("debt_account_id", BigInteger, nullable=False),
    Column("cover_id", BigInteger),
    Column("frozen_at", BigInteger),
    Column("next_due_at", BigInteger, nullable=False, index=True),
    Column("has_budgets", Boolean, nullable=False, server_default=text("false")),
    _number("sequence"),
    _number("last_at"),
    _number("balance"),
    _number("granted"),
    _number("purchased"),
    _number("earned"),
    _number("spent"),
    _number("expired"),
    _number("removed"),
    # What its available amount is compared with: see core.watch.
    _number("told_below", default=None),
    _number("watch_below", default=None),
    _number("watch_above", default=None),
    _number("refill_below", default=None),
    UniqueConstraint("customer_id", "unit"),
    **_ROOM_TO_UPDATE,
)

# Wallets that have left the figures they are watched for, until a worker has looked.
balance_alerts = Table(
    "balance_alerts",
    metadata,
    _id("wallet_id"),
    Column("customer_id", BigInteger, nullable=False),
    Column("unit", Text, nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
)

# Customers who are to get a refill, until it has been made or refused.
refill_requests = Table(
    "refill_requests",
    metadata,
    _id("customer_id"),
    Column("unit", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
)

# Grants of whose expiry their owner has been told, while they are open.
expiry_notices = Table(
    "expiry_notices", metadata, _id("grant_id"), Column("expires_at", BigInteger, nullable=False)
)

accounts = Table(
    "accounts",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("code", Text),
    Column("customer_id", BigInteger),
    Column("category", Text),
    Column("origin", Text),
    Column("priority", SmallInteger),
    Column("effective_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("voided", Boolean, nullable=False, server_default=text("false")),
    Column("is_open", Boolean, nullable=False, server_default=text("false")),
    _number("debits_posted"),
    _number("credits_posted"),
    _number("debits_pending"),
    _number("credits_pending"),
    # The last wall: no code path can commit an overdrawn lot, a debt below zero, or a total that overflowed.
    CheckConstraint(
        "kind NOT IN ('lot', 'cover') OR debits_posted + debits_pending <= credits_posted", name="covered"
    ),
    CheckConstraint("kind <> 'debt' OR debits_posted >= credits_posted", name="debt"),
    CheckConstraint(
        "debits_posted BETWEEN 0 AND 9223372036854775807 AND credits_posted BETWEEN 0 AND 9223372036854775807 "
        "AND debits_pending BETWEEN 0 AND 9223372036854775807 AND credits_pending BETWEEN 0 AND 9223372036854775807",
        name="totals",
    ),
    **_ROOM_TO_UPDATE,
)
Index(
    "ix_accounts_open",
    accounts.c.customer_id,
    sqlite_where=accounts.c.is_open,
    postgresql_where=accounts.c.is_open,
)
# As a text, because `and_` would make `is_open = 1` of it, which the queries do not ask for.
_EXPIRING: Final = text("is_open AND expires_at IS NOT NULL")
Index(
    "ix_accounts_expiring",
    accounts.c.expires_at,
    accounts.c.id,
    sqlite_where=_EXPIRING,
    postgresql_where=_EXPIRING,
)
Index(
    "uq_accounts_system",
    accounts.c.unit,
    accounts.c.code,
    unique=True,
    sqlite_where=accounts.c.code.is_not(None),
    postgresql_where=accounts.c.code.is_not(None),
)

grants = Table(
    "grants",
    metadata,
    _id(),
    Column("customer_id", BigInteger, nullable=False),
    Column("wallet_id", BigInteger, nullable=False),
    Column("transaction_id", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reason", Text),
    Column("reference", Text),
    Column("cost_micros", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("effective_at", BigInteger, nullable=False),
    Column("first_expires_at", BigInteger),  # as it was granted; a thaw moves the account's own
    Column("booked_at", BigInteger),
    Column("voided_at", BigInteger),
    _number("clawed_back"),
)
Index("ix_grants_customer", grants.c.customer_id, grants.c.id)
Index("ix_grants_transaction", grants.c.transaction_id)
Index(
    "ix_grants_scheduled",
    grants.c.customer_id,
    grants.c.effective_at,
    sqlite_where=grants.c.booked_at.is_(None),
    postgresql_where=grants.c.booked_at.is_(None),
)

transactions = Table(
    "transactions",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("customer_id", BigInteger, nullable=False),
    Column("caller", Text),
    Column("agent", Text),
    Column("idempotency", Text),
    Column("idempotency_key", Text),
    Column("request_digest", Text),
    Column("unit", Text),
    Column("amount", BigInteger),
    Column("meter", Text),
    Column("category", Text),
    Column("quantity", BigInteger),
    Column("economy", Text),
    Column("subject_id", BigInteger),
    Column("description", Text),
    Column("metadata", Text),
    Column("result", Text),
    Column("seal", Text, nullable=False),
)
Index(
    "uq_transactions_idempotency",
    transactions.c.idempotency,
    unique=True,
    sqlite_where=transactions.c.idempotency.is_not(None),
    postgresql_where=transactions.c.idempotency.is_not(None),
)
Index(
    "ix_transactions_subject",
    transactions.c.subject_id,
    sqlite_where=transactions.c.subject_id.is_not(None),
    postgresql_where=transactions.c.subject_id.is_not(None),
)

transfers = Table(
    "transfers",
    metadata,
    Column("transaction_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("debit_id", BigInteger, nullable=False),
    Column("credit_id", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("phase", SmallInteger, nullable=False),
    Column("hold_id", BigInteger),
    CheckConstraint("amount > 0", name="positive"),
    sqlite_with_rowid=False,
)

entries = Table(
    "entries",
    metadata,
    Column("transaction_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", SmallInteger, primary_key=True, autoincrement=False),
    Column("wallet_id", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("category", Text),
    Column("meter", Text),
    Column("amount", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
    UniqueConstraint("wallet_id", "sequence"),
    sqlite_with_rowid=False,
)

holds = Table(
    "holds",
    metadata,
    _id(),
    Column("customer_id", BigInteger, nullable=False),
    Column("maker", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("meter", Text),
    Column("category", Text),
    Column("quantity", BigInteger, nullable=False),
    Column("economy", Text),
    Column("amounts", Text, nullable=False),
    Column("spends", Text, nullable=False),
    Column("resolved_at", BigInteger),
    Column("resolved_by", BigInteger),
    CheckConstraint("status IN ('open', 'captured', 'released', 'expired')", name="status"),
)
Index("ix_holds_customer", holds.c.customer_id, holds.c.id)
Index(
    "ix_holds_open",
    holds.c.customer_id,
    holds.c.expires_at,
    sqlite_where=holds.c.status == "open",
    postgresql_where=holds.c.status == "open",
)

memberships = Table(
    "memberships",
    metadata,
    _id("customer_id"),
    Column("plan", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("anchor_at", BigInteger, nullable=False),
    Column("period_start", BigInteger, nullable=False),
    Column("period_end", BigInteger, nullable=False),
    Column("granted", Text, nullable=False),
    Column("paid_by", Text),  # the subscription, by the provider's id; NULL: periods begin by time alone
    Column("paid_from", BigInteger),  # the start of what the newest bill of the period pays
    Column("granted_before", Text, nullable=False, server_default="{}"),  # of earlier periods, for late bills
    Column("seal", Text, nullable=False),
)

budgets = Table(
    "budgets",
    metadata,
    _id(),
    Column("customer_id", BigInteger),
    Column("level", Text, nullable=False),
    Column("key_id", BigInteger),
    Column("agent", Text),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("per", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("by_operator", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("level IN ('customer', 'agent', 'key')", name="level"),
    CheckConstraint("per IN ('day', 'month')", name="per"),
)
Index("ix_budgets_customer", budgets.c.customer_id)
Index("ix_budgets_key", budgets.c.key_id)

budget_counters = Table(
    "budget_counters",
    metadata,
    Column("budget_id", BigInteger, primary_key=True, autoincrement=False),
    Column("period_at", BigInteger, primary_key=True, autoincrement=False),
    _number("spent"),
)

hourly_counters = Table(
    "hourly_counters",
    metadata,
    Column("customer_id", BigInteger, primary_key=True, autoincrement=False),
    Column("meter", Text, primary_key=True),
    Column("window_at", BigInteger, primary_key=True, autoincrement=False),
    _number("used"),
    sqlite_with_rowid=False,
)
Index("ix_hourly_counters_window", hourly_counters.c.window_at)
