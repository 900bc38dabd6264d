"""Money that goes back: refunds, in parts up to the whole, and disputes from the inquiry to the end."""

from __future__ import annotations

from typing import Final

from tallystick.core.times import DAY, MINUTE
from tallystick.ports import ProviderRefused
from tallystick.ports.payments import DisputeStatus
from tallystick.providers.simulated.books import Books
from tallystick.providers.simulated.documents import DisputeDocument, PaymentDocument, RefundDocument

REFUND_SETTLES_AFTER_MICROS: Final = 10 * MINUTE
EVIDENCE_MICROS: Final = 7 * DAY
_REASON: Final = "fraudulent"


def refund(
    books: Books, payment: PaymentDocument, *, amount_cents: int, reference: str | None
) -> RefundDocument:
    """Give money back. Raises ``ProviderRefused`` when it cannot be so much, or not now."""
    if payment.status != "succeeded":
        raise ProviderRefused("only a payment that succeeded can be refunded", code="payment_not_succeeded")
    if any(each.withdrawn_cents for each in payment.disputes):
        raise ProviderRefused("the payment is disputed: its money was taken back", code="charge_disputed")
    left = payment.amount_cents - payment.refunded_cents
    if left == 0:
        raise ProviderRefused("the payment is refunded already", code="charge_already_refunded")
    if not 0 < amount_cents <= left:
        raise ProviderRefused(
            f"the refund of {amount_cents} cents is not within the {left} cents left of the payment",
            code="amount_too_large" if amount_cents > 0 else "amount_too_small",
        )
    made = RefundDocument(
        id=books.making.token("re"),
        amount_cents=amount_cents,
        reference=reference,
        status="pending" if payment.late else "succeeded",
        settles_at=books.now + REFUND_SETTLES_AFTER_MICROS if payment.late else None,
    )
    payment.refunds.append(made)
    for dispute in payment.disputes:
        if dispute.status == "inquiry":  # who has the money back asks no more
            _close(books, payment, dispute, "closed")
    books.save(payment)
    books.tell("refund.created", "payment", payment.id)
    books.tell("charge.refunded", "payment", payment.id)
    return made


def settle_refunds(books: Books, payment: PaymentDocument) -> None:
    """Those that took their time and have arrived by now."""
    for each in payment.refunds:
        if each.status == "pending" and each.settles_at is not None and each.settles_at <= books.now:
            each.status, each.settles_at = "succeeded", None
            books.tell("refund.updated", "payment", payment.id)
    books.save(payment)


def fail_refund(books: Books, payment: PaymentDocument) -> None:
    """The newest refund could not be paid out: the money is ours again."""
    made = next((each for each in reversed(payment.refunds) if each.status != "failed"), None)
    if made is None:
        raise ProviderRefused("the payment has no refund that could fail", code="resource_missing")
    made.status, made.failure, made.settles_at = "failed", "expired_or_canceled_card", None
    books.save(payment)
    books.tell("refund.updated", "payment", payment.id)
    books.tell("refund.failed", "payment", payment.id)


def open_dispute(books: Books, payment: PaymentDocument, *, inquiry: bool) -> None:
    """The payer's bank wants the money back, or only asks. An inquiry that is open already becomes a dispute."""
    if payment.status != "succeeded":
        raise ProviderRefused("only a payment that succeeded can be disputed", code="payment_not_succeeded")
    if any(each.status == "open" for each in payment.disputes):
        raise ProviderRefused("the payment is disputed already", code="charge_disputed")
    asked = next((each for each in payment.disputes if each.status == "inquiry"), None)
    left = (
        payment.amount_cents - payment.refunded_cents - sum(each.withdrawn_cents for each in payment.disputes)
    )
    if left <= 0 or (asked is not None and inquiry):
        raise ProviderRefused("nothing is left of the payment to dispute", code="charge_disputed")
    if asked is None:
        asked = DisputeDocument(
            id=books.making.token("dp"),
            status="inquiry",
            amount_cents=left,
            withdrawn_cents=0,
            reason=_REASON,
            evidence_due_at=books.now + EVIDENCE_MICROS,
        )
        payment.disputes.append(asked)
        books.tell("charge.dispute.created", "payment", payment.id)
    else:
        books.tell("charge.dispute.updated", "payment", payment.id)
    if not inquiry:
        asked.status, asked.amount_cents, asked.withdrawn_cents = "open", left, left
        books.tell("charge.dispute.funds_withdrawn", "payment", payment.id)
    books.save(payment)


def end_dispute(books: Books, payment: PaymentDocument, *, won: bool) -> None:
    """The bank has decided. An inquiry simply ends, without money: it can only be won or become a dispute."""
    found = next((each for each in payment.disputes if each.status in {"open", "inquiry"}), None)
    if found is None or (found.status == "inquiry" and not won):
        raise ProviderRefused("the payment has no dispute that could end so", code="resource_missing")
    if found.status == "inquiry":
        _close(books, payment, found, "closed")
    elif won:
        found.withdrawn_cents = 0
        _close(books, payment, found, "won")
        books.tell("charge.dispute.funds_reinstated", "payment", payment.id)
    else:
        _close(books, payment, found, "lost")
    books.save(payment)


def _close(books: Books, payment: PaymentDocument, dispute: DisputeDocument, status: DisputeStatus) -> None:
    dispute.status, dispute.evidence_due_at = status, None
    books.tell("charge.dispute.closed", "payment", payment.id)
