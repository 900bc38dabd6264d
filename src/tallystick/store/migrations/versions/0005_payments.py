"""Payments: payers, payments, refunds, disputes, the provider's events, refills and subscriptions."""

from alembic import op

from tallystick.store import schema_payments
from tallystick.store.schema import metadata

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables; the first migration has made them already where the database is new."""
    tables = (
        schema_payments.payers,
        schema_payments.payments,
        schema_payments.payment_refunds,
        schema_payments.payment_disputes,
        schema_payments.stripe_events,
        schema_payments.auto_refills,
        schema_payments.subscriptions,
        schema_payments.plan_requests,
    )
    metadata.create_all(op.get_bind(), tables=tables)
