"""Answers about payments: pages to pay on, payments, refunds, automatic refills, reconciliation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.api.answers.common import Name, Number, Time
from tallystick.api.rendering import cents, identifier, moment, number
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.services.checkouts import CheckoutView, status_of
from tallystick.services.payment_refunds import RefundView
from tallystick.services.reconciler import Reconciliation
from tallystick.services.refills import RefillView
from tallystick.store.payments import DisputeRow, PaymentRow, RefundRow


@dataclass(slots=True)
class CheckoutAnswer:
    """A page to pay on (``url`` and ``payment_url`` are the same), and what it will add."""

    payment: Name
    url: str
    payment_url: str
    session_id: str
    expires_at: Time
    credits_amount: Number
    unit: str
    amount: Number
    currency: str


@dataclass(slots=True)
class PaymentLine:
    """A payment: ``grant`` is what it became, ``refunded`` how much of its money went back."""

    id: Name
    date: Time
    customer: Name
    title: str
    amount: Number
    currency: str
    unit: str
    credits: Number
    status: str
    refunded: Number
    credits_taken_back: Number
    grant: Name | None
    invoice_url: str | None
    reason: str | None


@dataclass(slots=True)
class PaymentPage:
    """A page of payments."""

    payments: list[PaymentLine]
    has_more: bool
    next_cursor: str | None


@dataclass(slots=True)
class RefundLine:
    """Money that was given back, or will be."""

    id: Name
    date: Time
    amount: Number
    status: str
    reason: str | None


@dataclass(slots=True)
class DisputeLine:
    """A dispute: what the payer's bank wants back, and what was withdrawn for it."""

    id: str
    payment: Name
    customer: Name
    status: str
    reason: str
    amount: Number
    withdrawn: Number
    evidence_due_at: Time | None
    opened_at: Time
    closed_at: Time | None


@dataclass(slots=True)
class PaymentDetail:
    """A payment with its refunds and disputes, and the provider's own ids."""

    payment: PaymentLine
    refunds: list[RefundLine]
    disputes: list[DisputeLine]
    provider: str
    session_id: str | None
    provider_reference: str | None
    receipt_url: str | None
    paid_at: Time | None
    expires_at: Time | None


@dataclass(slots=True)
class PaymentRefundAnswer:
    """A refund, and the payment as it stands after it."""

    id: Name
    payment: Name
    amount: Number
    status: str
    refunded: Number
    credits_taken_back: Number
    reason: str | None
    created_at: Time


@dataclass(slots=True)
class CardAnswer:
    """A saved card as people know it."""

    brand: str
    last4: str
    expires: str


@dataclass(slots=True)
class AutoRefillAnswer:
    """How automatic refills are set. ``next_charge`` is a moment if one is waited for; otherwise the balance decides."""

    customer: Name
    enabled: bool
    threshold: Number
    unit: str
    amount: Number
    credits: Number
    next_charge: Time | None
    paused_reason: str | None
    card: CardAnswer | None
    save_card_url: str | None


@dataclass(slots=True)
class UrlAnswer:
    """Where to go."""

    url: str


@dataclass(slots=True)
class ReceivedAnswer:
    """What came of an event."""

    received: bool
    outcome: str


@dataclass(slots=True)
class DifferenceLine:
    """One thing in which our books and the provider's differ."""

    subject: str
    what: str
    ours: str
    theirs: str


@dataclass(slots=True)
class ReconciliationAnswer:
    """What was looked at, what was caught up, and what differs still."""

    since: Time
    payments: int
    events: int
    caught_up: int
    differences: list[DifferenceLine]


@dataclass(slots=True)
class DisputeList:
    """Open disputes, those that must be answered soonest first."""

    disputes: list[DisputeLine]


def checkout(view: CheckoutView) -> CheckoutAnswer:
    """A page to pay on."""
    return CheckoutAnswer(
        to_text("pay", view.payment_id),
        view.url,
        view.url,
        view.session_id,
        format_rfc3339(view.expires_at),
        number(view.credits),
        view.unit,
        cents(view.amount_cents),
        view.currency,
    )


def payment(row: PaymentRow) -> PaymentLine:
    """A payment in a list."""
    return PaymentLine(
        to_text("pay", row.id),
        format_rfc3339(row.created_at),
        to_text("cust", row.customer_id),
        row.title,
        cents(row.amount_cents),
        row.currency,
        row.unit,
        number(row.credits),
        status_of(row),
        cents(row.refunded_cents),
        number(row.clawed_back),
        identifier("grant", row.grant_id),
        row.invoice_url or row.receipt_url,
        row.failure_text or row.failure,
    )


def payment_detail(
    row: PaymentRow, refunds: Sequence[RefundRow], disputes: Sequence[DisputeRow]
) -> PaymentDetail:
    """A payment with all that became of it."""
    return PaymentDetail(
        payment(row),
        [
            RefundLine(
                to_text("ref", each.id),
                format_rfc3339(each.created_at),
                cents(each.amount_cents),
                each.status,
                each.reason or each.failure,
            )
            for each in refunds
        ],
        [dispute(each) for each in disputes],
        row.provider,
        row.checkout,
        row.reference,
        row.receipt_url,
        moment(row.paid_at),
        moment(row.expires_at),
    )


def dispute(row: DisputeRow) -> DisputeLine:
    """A dispute."""
    return DisputeLine(
        row.id,
        to_text("pay", row.payment_id),
        to_text("cust", row.customer_id),
        row.status,
        row.reason,
        cents(row.amount_cents),
        cents(row.withdrawn_cents),
        moment(row.evidence_due_at),
        format_rfc3339(row.opened_at),
        moment(row.closed_at),
    )


def payment_refund(view: RefundView) -> PaymentRefundAnswer:
    """A refund."""
    refund, row = view.refund, view.payment
    return PaymentRefundAnswer(
        to_text("ref", refund.id),
        to_text("pay", row.id),
        cents(refund.amount_cents),
        refund.status,
        cents(row.refunded_cents),
        number(row.clawed_back),
        refund.reason,
        format_rfc3339(refund.created_at),
    )


def auto_refill(view: RefillView) -> AutoRefillAnswer:
    """A setting."""
    card = view.card
    return AutoRefillAnswer(
        to_text("cust", view.customer_id),
        view.enabled,
        number(view.threshold),
        view.unit,
        cents(view.amount_cents),
        number(view.credits),
        moment(view.next_charge),
        view.paused_reason,
        None
        if card is None
        else CardAnswer(card.brand, card.last4, f"{card.exp_year:04d}-{card.exp_month:02d}"),
        view.save_card_url,
    )


def reconciliation(found: Reconciliation) -> ReconciliationAnswer:
    """A report."""
    return ReconciliationAnswer(
        format_rfc3339(found.since),
        found.payments,
        found.events,
        found.caught_up,
        [DifferenceLine(each.subject, each.what, each.ours, each.theirs) for each in found.differences],
    )
