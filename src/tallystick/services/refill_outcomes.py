"""What becomes of a customer's automatic refills when one of them has ended."""

from __future__ import annotations

from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core.catalog import AutoRefill
from tallystick.core.payments import wait_after_decline
from tallystick.core.times import add
from tallystick.ports.payments import Decline, Payment
from tallystick.services import payment_notices
from tallystick.services.context import Context
from tallystick.store import refills
from tallystick.store.payments import PaymentRow

NO_CARD: Final = "no card is saved: refills begin as soon as one is (POST /billing/card)"
GONE: Final = "automatic refills are not offered any more"
_HARD: Final = "the card was declined for good: save another, then enable automatic refills again"
_ODD: Final = "what the last refill was charged is not what was ordered: ask the operator"
_ASKED: Final = (
    "the bank wants the card's owner to confirm: pay once yourself, then enable automatic refills again"
)


def note_refill(connection: Connection, context: Context, row: PaymentRow, payment: Payment | None) -> None:
    """In the transaction that books a refill's end: rest after a success, wait or pause after a decline."""
    setting = refills.get(connection, row.customer_id, lock=True)
    if setting is None:
        return
    now = context.now()
    terms = context.economy().auto_refill
    if row.status == "paid":
        again_at = None if terms is None else add(now, terms.cooldown)
        refills.change(connection, row.customer_id, failures=0, next_try_at=again_at)
    elif row.status == "failed":
        decline = "soft" if payment is None else payment.decline or "soft"
        note_decline(connection, context, setting, row, decline, terms)
    elif row.status == "mismatch":
        pause(connection, context, setting, _ODD)


def note_decline(
    connection: Connection,
    context: Context,
    setting: refills.RefillRow,
    row: PaymentRow,
    decline: Decline,
    terms: AutoRefill | None,
) -> None:
    """A decline that may pass is tried again later, and not for ever; one that will not pass pauses at once."""
    failures = setting.failures + 1
    most = 1 if terms is None else terms.pause_after_failures
    if decline == "hard":
        pause(connection, context, setting, NO_CARD if row.failure == "no_card" else _HARD)
    elif decline == "authentication":
        pause(connection, context, setting, _ASKED)
    elif failures >= most:
        why = row.failure_text or row.failure or "declined"
        pause(connection, context, setting, f"declined {failures} times in a row, at last: {why}")
    else:
        at = context.now() + wait_after_decline(row.failure, failures)
        refills.change(connection, setting.customer_id, next_try_at=at)
        payment_notices.tell_refill_failed(connection, context, row, again_at=at)
    refills.change(connection, setting.customer_id, failures=failures)


def pause(connection: Connection, context: Context, setting: refills.RefillRow, reason: str) -> None:
    """Refill no more until the customer says so again."""
    refills.change(
        connection,
        setting.customer_id,
        paused_at=context.now(),
        paused_reason=reason[:500],
        next_try_at=None,
    )
    payment_notices.tell_refill_paused(connection, context, setting, reason)
