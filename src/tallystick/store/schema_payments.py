"""The tables of payments: who pays, what was bought, what went back, and what the provider told us.

Money is whole minor units (cents) of its currency; credits are micro-units; times are microseconds since the epoch.
``stripe_events`` holds the events of whichever provider is in use, by its own ids.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, Table, Text, text

from tallystick.store.schema import metadata


def _number(name: str, *, nullable: bool = True) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _id(name: str = "id") -> Column[int]:
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)


payers = Table(
    "payers",
    metadata,
    _id("customer_id"),
    Column("provider", Text, primary_key=True),
    Column("reference", Text, nullable=False),
    _number("created_at", nullable=False),
    _number("gone_at"),  # when the provider said that it knows the payer no more
)
Index("uq_payers_reference", payers.c.provider, payers.c.reference, unique=True)

payments = Table(
    "payments",
    metadata,
    _id(),
    _number("customer_id", nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("unit", Text, nullable=False),
    _number("credits", nullable=False),
    _number("amount_cents", nullable=False),
    Column("currency", Text, nullable=False),
    Column("item", Text),  # the pack, or the plan of an invoice
    Column("title", Text, nullable=False),
    Column("economy", Text, nullable=False),
    Column("payer", Text),
    Column("checkout", Text),
    Column("reference", Text),  # the provider's id of the payment, once there is one
    Column("invoice", Text),
    Column("url", Text),
    Column("invoice_url", Text),
    Column("receipt_url", Text),
    _number("grant_id"),
    Column("failure", Text),
    Column("failure_text", Text),
    _count("refunded_cents"),
    _count("disputed_cents"),
    _count("clawed_back"),
    Column("dispute_status", Text),
    _count("version"),  # counts changes, so that an older answer never overwrites a newer one
    _number("created_at", nullable=False),
    _number("expires_at"),
    _number("paid_at"),
    _number("look_at"),  # when to ask the provider again; NULL: there is nothing to wait for
    _count("looks"),
    Column("token", Text, nullable=False),  # what its page shows, so that nobody else can look
    Column("idempotency", Text),
    Column("request_digest", Text),
    CheckConstraint("kind IN ('pack', 'amount', 'refill', 'invoice')", name="kind"),
    CheckConstraint(
        "status IN ('new', 'open', 'processing', 'paid', 'failed', 'expired', 'unknown', 'mismatch')",
        name="status",
    ),
    CheckConstraint(
        "credits >= 0 AND amount_cents >= 0 AND refunded_cents >= 0 AND disputed_cents >= 0 "
        "AND clawed_back >= 0 AND clawed_back <= credits",
        name="amounts",
    ),
)
Index("ix_payments_customer", payments.c.customer_id, payments.c.id)
for _name in ("checkout", "reference", "invoice", "idempotency"):
    _column = payments.c[_name]
    Index(
        f"uq_payments_{_name}",
        _column,
        unique=True,
        sqlite_where=_column.is_not(None),
        postgresql_where=_column.is_not(None),
    )
Index(
    "ix_payments_look",
    payments.c.look_at,
    sqlite_where=payments.c.look_at.is_not(None),
    postgresql_where=payments.c.look_at.is_not(None),
)
# One refill at a time for each customer, whatever many processes think at once.
_UNDER_WAY = "kind = 'refill' AND status IN ('new', 'processing', 'unknown')"
Index(
    "uq_payments_refill",
    payments.c.customer_id,
    unique=True,
    sqlite_where=text(_UNDER_WAY),
    postgresql_where=text(_UNDER_WAY),
)

payment_refunds = Table(
    "payment_refunds",
    metadata,
    _id(),
    _number("payment_id", nullable=False),
    _number("amount_cents", nullable=False),
    Column("status", Text, nullable=False),
    Column("reference", Text),
    Column("reason", Text),
    Column("caller", Text, nullable=False),
    Column("failure", Text),
    _number("created_at", nullable=False),
    _number("look_at"),
    Column("idempotency", Text, unique=True),
    Column("request_digest", Text),
    CheckConstraint("status IN ('new', 'pending', 'succeeded', 'failed')", name="status"),
    CheckConstraint("amount_cents > 0", name="amount"),
)
Index("ix_payment_refunds_payment", payment_refunds.c.payment_id, payment_refunds.c.id)
Index(
    "ix_payment_refunds_look",
    payment_refunds.c.look_at,
    sqlite_where=payment_refunds.c.look_at.is_not(None),
    postgresql_where=payment_refunds.c.look_at.is_not(None),
)

payment_disputes = Table(
    "payment_disputes",
    metadata,
    Column("id", Text, primary_key=True),  # the provider's
    _number("payment_id", nullable=False),
    _number("customer_id", nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _number("amount_cents", nullable=False),
    _number("withdrawn_cents", nullable=False),
    _number("evidence_due_at"),
    _number("opened_at", nullable=False),
    _number("closed_at"),
    Column("froze", Boolean, nullable=False, server_default=text("false")),
)
Index("ix_payment_disputes_payment", payment_disputes.c.payment_id)

stripe_events = Table(
    "stripe_events",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    _number("created_at", nullable=False),
    _number("handled_at", nullable=False),
    Column("outcome", Text, nullable=False),
)

auto_refills = Table(
    "auto_refills",
    metadata,
    _id("customer_id"),
    Column("enabled", Boolean, nullable=False),
    Column("unit", Text, nullable=False),
    _number("threshold", nullable=False),
    _number("amount_cents", nullable=False),
    _count("failures"),
    _number("wanted_at"),
    _number("next_try_at"),
    _number("paused_at"),
    Column("paused_reason", Text),
    _number("updated_at", nullable=False),
    CheckConstraint("threshold >= 0 AND amount_cents > 0", name="amounts"),
)
Index(
    "ix_auto_refills_try",
    auto_refills.c.next_try_at,
    sqlite_where=auto_refills.c.next_try_at.is_not(None),
    postgresql_where=auto_refills.c.next_try_at.is_not(None),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    _id("customer_id"),
    Column("provider", Text, nullable=False),
    _number("number", nullable=False),  # our id of what was ordered last: its page comes back with it
    Column("plan", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reference", Text),  # the provider's id, once there is one
    Column("checkout", Text),
    Column("checkout_url", Text),
    _number("expires_at"),
    Column("wanted", Text),  # the plan that the provider was asked to change to, until its answer is known
    _number("wanted_number"),
    Column("next_plan", Text),  # what is to follow when the period that is paid ends
    _number("period_start"),
    _number("period_end"),
    _number("ends_at"),
    _count("version"),  # counts changes, so that an older answer never overwrites a newer one
    _number("created_at", nullable=False),
    _number("look_at"),
    _count("looks"),
    CheckConstraint(
        "status IN ('new', 'open', 'expired', 'incomplete', 'active', 'past_due', 'unpaid', 'canceled')",
        name="status",
    ),
)
Index(
    "uq_subscriptions_reference",
    subscriptions.c.provider,
    subscriptions.c.reference,
    unique=True,
    sqlite_where=subscriptions.c.reference.is_not(None),
    postgresql_where=subscriptions.c.reference.is_not(None),
)
Index(
    "ix_subscriptions_look",
    subscriptions.c.look_at,
    sqlite_where=subscriptions.c.look_at.is_not(None),
    postgresql_where=subscriptions.c.look_at.is_not(None),
)

plan_requests = Table(
    "plan_requests",
    metadata,
    Column("idempotency", Text, primary_key=True),
    Column("request_digest", Text, nullable=False),
    Column("answer", Text, nullable=False),
    _number("created_at", nullable=False),
)
