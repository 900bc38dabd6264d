"""What customers and operators are told about payments, written in the transaction of its cause."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Connection

from tallystick.core.amounts import MICROS_PER_CENT
from tallystick.core.decimals import to_decimal
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.services.context import Context
from tallystick.store import notifications
from tallystick.store.payments import DisputeRow, PaymentRow
from tallystick.store.refills import RefillRow


def tell(connection: Connection, context: Context, *, before: PaymentRow, after: PaymentRow) -> None:
    """Tell what changed in a payment, if it is anybody's business."""
    if after.status != before.status and after.status == "paid":
        _emit(connection, context, after.customer_id, "payment.succeeded", _facts(after))
        if after.kind == "refill":
            _emit(connection, context, after.customer_id, "auto_refill.succeeded", _facts(after))
    elif after.status != before.status and after.status == "failed" and after.kind != "refill":
        failure = {"reason": after.failure, "text": after.failure_text}
        _emit(connection, context, after.customer_id, "payment.failed", {**_facts(after), **failure})
    if after.refunded_cents > before.refunded_cents:
        facts = {
            **_facts(after),
            "refunded": _money(after.refunded_cents),
            "credits_taken_back": to_decimal(after.clawed_back),
        }
        _emit(connection, context, after.customer_id, "payment.refunded", facts)


def tell_dispute(
    connection: Connection,
    context: Context,
    row: PaymentRow,
    *,
    before: DisputeRow | None,
    after: DisputeRow,
) -> None:
    """Tell of a dispute that is new, and of its end."""
    facts = {
        **_facts(row),
        "dispute": after.id,
        "dispute_status": after.status,
        "dispute_reason": after.reason,
        "dispute_amount": _money(after.amount_cents),
        "evidence_due_at": None if after.evidence_due_at is None else format_rfc3339(after.evidence_due_at),
    }
    if before is None:
        _emit(connection, context, row.customer_id, "payment.disputed", facts)
    if after.closed_at is not None and (before is None or before.closed_at is None):
        _emit(connection, context, row.customer_id, "dispute.closed", facts)


def tell_refill_failed(connection: Connection, context: Context, row: PaymentRow, *, again_at: int) -> None:
    """A refill was declined, and will be tried again."""
    facts = {
        **_facts(row),
        "reason": row.failure,
        "text": row.failure_text,
        "next_try_at": format_rfc3339(again_at),
    }
    _emit(connection, context, row.customer_id, "auto_refill.failed", facts)


def tell_refill_refused(
    connection: Connection, context: Context, setting: RefillRow, reason: str, *, again_at: int
) -> None:
    """A cap does not let a refill through."""
    facts = {"reason": reason, "unit": setting.unit, "next_try_at": format_rfc3339(again_at)}
    _emit(connection, context, setting.customer_id, "auto_refill.failed", facts)


def tell_refill_paused(connection: Connection, context: Context, setting: RefillRow, reason: str) -> None:
    """Refills are paused until the customer does something."""
    facts = {"reason": reason, "unit": setting.unit, "update_url": f"{context.public_url}/billing"}
    _emit(connection, context, setting.customer_id, "auto_refill.paused", facts)


def _facts(row: PaymentRow) -> dict[str, Any]:
    return {
        "payment": to_text("pay", row.id),
        "title": row.title,
        "amount": _money(row.amount_cents),
        "currency": row.currency,
        "unit": row.unit,
        "credits": to_decimal(row.credits),
        "invoice_url": row.invoice_url or row.receipt_url,
    }


def _money(cents: int) -> Decimal:
    """Cents as dollars."""
    return to_decimal(cents * MICROS_PER_CENT)


def _emit(
    connection: Connection, context: Context, customer_id: int, name: str, facts: dict[str, Any]
) -> None:
    notifications.emit(
        connection, new_id=context.new_id, now=context.now(), customer_id=customer_id, type=name, data=facts
    )
