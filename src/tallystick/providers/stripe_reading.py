"""What Stripe shows, in the shapes of the port. Nothing here asks anything; what is needed was expanded before.

Stripe's times are whole seconds. Its ids stand where whole objects stand when they are expanded: ``id_of`` reads both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import stripe

from tallystick.core.times import SECOND
from tallystick.ports.payments import (
    Card,
    ChargeStatus,
    Checkout,
    CheckoutMode,
    CheckoutStatus,
    Dispute,
    DisputeStatus,
    Invoice,
    InvoiceReason,
    Paid,
    Payment,
    Refund,
    RefundStatus,
    Subscription,
    SubscriptionStatus,
)
from tallystick.providers.stripe_declines import decline_of, word_of
from tallystick.providers.stripe_orders import PLAN, REFERENCE

_MODES: Final[Mapping[str, CheckoutMode]] = {
    "payment": "payment",
    "subscription": "subscription",
    "setup": "setup",
}
_CHECKOUTS: Final[Mapping[str, CheckoutStatus]] = {
    "open": "open",
    "complete": "complete",
    "expired": "expired",
}
_PAID: Final[Mapping[str, Paid]] = {
    "paid": "paid",
    "unpaid": "unpaid",
    "no_payment_required": "nothing_due",
}
_DISPUTES: Final[Mapping[str, DisputeStatus]] = {
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "warning_closed": "closed",
    "prevented": "closed",
    "needs_response": "open",
    "under_review": "open",
    "appeal_needs_response": "open",
    "appeal_under_review": "open",
    "won": "won",
    "lost": "lost",
}
_REFUNDS: Final[Mapping[str, RefundStatus]] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "failed",
}
_SUBSCRIPTIONS: Final[Mapping[str, SubscriptionStatus]] = {
    "trialing": "active",
    "active": "active",
    "past_due": "past_due",
    "unpaid": "unpaid",
    "paused": "unpaid",
    "incomplete": "incomplete",
    "incomplete_expired": "canceled",
    "canceled": "canceled",
}
_REASONS: Final[Mapping[str, InvoiceReason]] = {
    "subscription_create": "create",
    "subscription_cycle": "cycle",
    "subscription_update": "update",
}


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


def id_of(value: str | _Identified | None) -> str | None:
    """The id of an object that may be expanded."""
    return value if value is None or isinstance(value, str) else value.id


def named(metadata: stripe.StripeObject | None, name: str) -> str | None:
    """One of the texts that were attached to an object."""
    found: str | None = None if metadata is None else metadata.to_dict().get(name)
    return found


def read_checkout(session: stripe.checkout.Session) -> Checkout:
    """A hosted page, with the intent that it made expanded where a card may have been saved."""
    return Checkout(
        id=session.id,
        mode=_MODES[session.mode],
        status=_CHECKOUTS[session.status or "open"],
        paid=_PAID[session.payment_status],
        reference=session.client_reference_id,
        payer=id_of(session.customer),
        amount_cents=session.amount_total,
        currency=session.currency,
        url=session.url,
        live=session.livemode,
        expires_at=session.expires_at * SECOND,
        payment=id_of(session.payment_intent),
        subscription=id_of(session.subscription),
        invoice=id_of(session.invoice),
        card=_saved_card(session),
    )


def _saved_card(session: stripe.checkout.Session) -> str | None:
    setup, intent, subscription = session.setup_intent, session.payment_intent, session.subscription
    if session.status != "complete":
        return None
    if isinstance(setup, stripe.SetupIntent):
        return id_of(setup.payment_method)
    if isinstance(subscription, stripe.Subscription):
        return id_of(subscription.default_payment_method)
    if isinstance(intent, stripe.PaymentIntent) and intent.setup_future_usage:
        return id_of(intent.payment_method)
    return None


def read_card(method: stripe.PaymentMethod | None) -> Card | None:
    """A card; None for ways to pay that are none."""
    if method is None or method.type != "card" or method.card is None:
        return None
    card = method.card
    return Card(
        id=method.id, brand=card.brand, last4=card.last4, exp_month=card.exp_month, exp_year=card.exp_year
    )


def read_payment(
    intent: stripe.PaymentIntent,
    *,
    refunds: Iterable[stripe.Refund] = (),
    disputes: Iterable[stripe.Dispute] = (),
    invoice: stripe.Invoice | str | None = None,
    error: Mapping[str, Any] | None = None,
) -> Payment:
    """A payment with all that followed. ``error`` is how Stripe refused it just now, when it did."""
    charge = intent.latest_charge
    last = intent.last_payment_error
    wrong = error or (None if last is None else last.to_dict())
    status = "failed" if error else _charge_status(intent)
    failed = wrong if status == "failed" else None
    return Payment(
        id=intent.id,
        status=status,
        reference=named(intent.metadata, REFERENCE),
        payer=id_of(intent.customer),
        amount_cents=intent.amount_received if status == "succeeded" else intent.amount,
        currency=intent.currency,
        live=intent.livemode,
        created_at=intent.created * SECOND,
        refunded_cents=sum(each.amount for each in refunds if _refund_status(each) != "failed"),
        disputes=tuple(read_dispute(each) for each in disputes),
        decline=decline_of(failed) if failed else None,
        failure=word_of(failed) if failed else None,
        failure_text=failed.get("message") if failed else None,
        receipt_url=charge.receipt_url if isinstance(charge, stripe.Charge) else None,
        invoice=id_of(invoice),
        invoice_url=invoice.hosted_invoice_url if isinstance(invoice, stripe.Invoice) else None,
    )


def _charge_status(intent: stripe.PaymentIntent) -> ChargeStatus:
    """A refused intent waits for another card: to us that is failed. What waits for anything else may still succeed."""
    match intent.status:
        case "succeeded":
            return "succeeded"
        case "canceled":
            return "canceled"
        case "requires_payment_method" if intent.last_payment_error is not None:
            return "failed"
        case _:
            return "processing"


def _refund_status(refund: stripe.Refund) -> RefundStatus:
    return _REFUNDS.get(refund.status or "", "pending")


def read_refund(refund: stripe.Refund, *, payment: str) -> Refund:
    """A refund of a payment."""
    return Refund(
        id=refund.id,
        payment=id_of(refund.payment_intent) or payment,
        status=_refund_status(refund),
        amount_cents=refund.amount,
        reference=named(refund.metadata, REFERENCE),
        failure=refund.to_dict().get("failure_reason"),  # left out where there is none
    )


def read_dispute(dispute: stripe.Dispute) -> Dispute:
    """A dispute. What Stripe charges for it is between Stripe and us, and not counted as withdrawn."""
    due_by = dispute.evidence_details.due_by
    return Dispute(
        id=dispute.id,
        status=_DISPUTES.get(dispute.status, "open"),
        amount_cents=dispute.amount,
        withdrawn_cents=_withdrawn(dispute),
        reason=dispute.reason,
        evidence_due_at=None if due_by is None else due_by * SECOND,
    )


def _withdrawn(dispute: stripe.Dispute) -> int:
    """What was taken less what was given back, in the payment's currency.

    Where our balance is in another currency, its amounts only tell that it was taken, or that it was given back too.
    """
    moved = dispute.balance_transactions
    if all(each.currency == dispute.currency for each in moved):
        return max(0, -sum(each.amount for each in moved))
    given_back = any(each.amount > 0 for each in moved)
    return 0 if given_back else dispute.amount


def read_subscription(subscription: stripe.Subscription) -> Subscription:
    """A subscription; its period is that of its items."""
    items = subscription.items.data
    period_end = max(each.current_period_end for each in items)
    ends_at = period_end if subscription.cancel_at_period_end else subscription.cancel_at
    ended_at = subscription.ended_at  # Stripe's canceled_at is when somebody asked for the end
    return Subscription(
        id=subscription.id,
        status=_SUBSCRIPTIONS[subscription.status],
        payer=id_of(subscription.customer) or "",
        plan=named(subscription.metadata, PLAN),
        reference=named(subscription.metadata, REFERENCE),
        amount_cents=sum((each.price.unit_amount or 0) * (each.quantity or 1) for each in items),
        currency=subscription.currency,
        period_start=min(each.current_period_start for each in items) * SECOND,
        period_end=period_end * SECOND,
        live=subscription.livemode,
        ends_at=None if ends_at is None else ends_at * SECOND,
        canceled_at=None if ended_at is None else ended_at * SECOND,
        latest_invoice=id_of(subscription.latest_invoice),
    )


def read_invoice(invoice: stripe.Invoice) -> Invoice:
    """A bill, with its payments expanded. Its amount is what was paid, or what is due until then."""
    details = None if invoice.parent is None else invoice.parent.subscription_details
    paid = invoice.status == "paid"
    start, end = _period(invoice)
    payment, failure = _payment(invoice)
    return Invoice(
        id=invoice.id,
        paid=paid,
        reason=_REASONS.get(invoice.billing_reason or "", "other"),
        payer=id_of(invoice.customer),
        subscription=None if details is None else id_of(details.subscription),
        plan=None if details is None else named(details.metadata, PLAN),
        period_start=start * SECOND,
        period_end=end * SECOND,
        amount_cents=invoice.amount_paid if paid else invoice.amount_due,
        currency=invoice.currency,
        live=invoice.livemode,
        url=invoice.hosted_invoice_url,
        payment=payment,
        failure_text=None if paid else failure,
    )


def _period(invoice: stripe.Invoice) -> tuple[int, int]:
    """What is billed for: the period of the subscription's line, and only else that of the invoice.

    The invoice's own period is when things were added to it: of a new period's bill, that is the period before. Of
    several lines those that are no proration count, and of those the latest.
    """
    lines = invoice.lines.data
    whole = [each for each in lines if not _is_proration(each)] or lines
    if not whole:
        return invoice.period_start, invoice.period_end
    latest = max(whole, key=lambda line: (line.period.end, line.period.start))
    return latest.period.start, latest.period.end


def _is_proration(line: stripe.InvoiceLineItem) -> bool:
    details = None if line.parent is None else line.parent.subscription_item_details
    added = None if line.parent is None else line.parent.invoice_item_details
    return bool((details and details.proration) or (added and added.proration))


def _payment(invoice: stripe.Invoice) -> tuple[str | None, str | None]:
    """The payment that paid an invoice, or was to; and why it did not."""
    payments = [] if invoice.payments is None else invoice.payments.data
    intents = [
        (each.status == "paid", each.is_default, each.payment.payment_intent)
        for each in payments
        if each.payment.type == "payment_intent"
    ]
    if not intents:
        return None, None
    intent = max(intents, key=lambda row: row[:2])[2]
    error = intent.last_payment_error if isinstance(intent, stripe.PaymentIntent) else None
    return id_of(intent), None if error is None else error.to_dict().get("message")
