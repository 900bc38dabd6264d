"""What was paid, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from tallystick.client.exact import Moment, Number, moment, number
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.pages import Page, page
from tallystick.client.requests import Repeat, Request, get, post


@dataclass(frozen=True, kw_only=True)
class Payment(Model):
    """A payment: ``grant`` is what it became, ``refunded`` how much of its money went back."""

    id: str
    date: datetime
    customer: str
    title: str
    amount: Decimal
    currency: str
    unit: str
    credits: Decimal
    status: str
    refunded: Decimal
    credits_taken_back: Decimal
    grant: str | None
    invoice_url: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class PaymentPage(Page[Payment, Mode]):
    """A page of payments."""

    noun = "payments"

    payments: tuple[Payment, ...]


@dataclass(frozen=True, kw_only=True)
class MoneyBack(Model):
    """Money that was given back, or will be."""

    id: str
    date: datetime
    amount: Decimal
    status: str
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Dispute(Model):
    """A dispute: what the payer's bank wants back, and what was withdrawn for it."""

    id: str
    payment: str
    customer: str
    status: str
    reason: str
    amount: Decimal
    withdrawn: Decimal
    evidence_due_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DisputeList(Model):
    """Open disputes, those that must be answered soonest first."""

    disputes: tuple[Dispute, ...]


@dataclass(frozen=True, kw_only=True)
class PaymentDetail(Model):
    """A payment with its refunds and disputes, and the provider's own ids."""

    payment: Payment
    refunds: tuple[MoneyBack, ...]
    disputes: tuple[Dispute, ...]
    provider: str
    session_id: str | None
    provider_reference: str | None
    receipt_url: str | None
    paid_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class PaymentRefund(Model):
    """A refund, and the payment as it stands after it."""

    id: str
    payment: str
    amount: Decimal
    status: str
    refunded: Decimal
    credits_taken_back: Decimal
    reason: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Difference(Model):
    """One thing in which our books and the provider's differ."""

    subject: str
    what: str
    ours: str
    theirs: str


@dataclass(frozen=True, kw_only=True)
class Reconciliation(Model):
    """What was looked at, what was caught up, and what differs still."""

    since: datetime
    payments: int
    events: int
    caught_up: int
    differences: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class Received(Model):
    """What came of an event."""

    received: bool
    outcome: str


class Payments(Resource[Mode]):
    """Payments, refunds and disputes. What is for everybody's payments is for services and admins."""

    @operation
    def list(
        self,
        *,
        customer: str | None = None,
        all: bool | None = None,  # noqa: A002 - the interface's word
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[PaymentPage[Mode]]:
        """What was paid, newest first, with what became of it; with ``all``, by every customer."""
        query = {"customer": customer, "all": all, "limit": limit, "cursor": cursor}
        return page(self, "/billing/payments", PaymentPage[Mode], query)

    @operation
    def get(self, payment: str) -> Request[PaymentDetail]:
        """One payment with its refunds, its disputes and the provider's own ids."""
        return get("/billing/payments/{payment_id}", PaymentDetail, names={"payment_id": payment})

    @operation
    def refund(
        self,
        payment: str,
        *,
        amount: Number | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Request[PaymentRefund]:
        """Give money back, and take its credits pro rata; what was spent of them is owed. For admins."""
        names, body = {"payment_id": payment}, {"amount": number(amount), "reason": reason}
        path = "/billing/payments/{payment_id}/refund"
        return post(path, PaymentRefund, body, names=names, key=idempotency_key)

    @operation
    def list_disputes(self) -> Request[DisputeList]:
        """Open disputes, those that must be answered soonest first. For admins."""
        return get("/billing/disputes", DisputeList)

    @operation
    def reconcile(self, *, since: Moment | None = None) -> Request[Reconciliation]:
        """Catch up on events that never came, and say in what our books and the provider's differ. For admins."""
        return post("/billing/reconcile", Reconciliation, {"since": moment(since)}, repeat=Repeat.SAME)

    @operation
    def receive_event(self, payload: bytes, *, signature: str) -> Request[Received]:
        """Pass on an event that the payment provider sent and signed (``Stripe-Signature``), byte for byte."""
        request = post("/billing/webhook", Received, repeat=Repeat.SAME)
        return replace(request, content=payload, headers={"Stripe-Signature": signature})
