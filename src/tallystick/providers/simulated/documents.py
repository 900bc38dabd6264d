"""What the simulated provider writes down, one document for each thing, as it is kept in the store.

Money is whole cents, times are microseconds since the epoch. ``due_at`` is when the clock alone changes the thing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from tallystick.ports.payments import (
    ChargeStatus,
    CheckoutMode,
    CheckoutStatus,
    Decline,
    DisputeStatus,
    InvoiceReason,
    RefundStatus,
    SubscriptionStatus,
)

Settles: TypeAlias = Literal["succeed", "fail", "by_hand"]


@dataclass(slots=True, kw_only=True)
class Document:
    """What all of them have: an id, whose it is, and our own id for it."""

    kind: ClassVar[str]
    prefix: ClassVar[str]

    id: str = ""
    created_at: int
    payer: str | None = None
    reference: str | None = None

    @property
    def due_at(self) -> int | None:
        """When the clock changes it next; None for never."""
        return None


@dataclass(slots=True, kw_only=True)
class HeldCard:
    """A test card that a payer has saved."""

    id: str
    number: str
    exp_month: int
    exp_year: int


@dataclass(slots=True, kw_only=True)
class PayerDocument(Document):
    """Somebody who pays. ``cards`` in the order of saving; ``credit_cents`` is what earlier changes left over."""

    kind: ClassVar[str] = "payer"
    prefix: ClassVar[str] = "cus"

    email: str | None = None
    cards: list[HeldCard] = field(default_factory=list)
    default: str | None = None
    credit_cents: dict[str, int] = field(default_factory=dict)

    def card(self, card_id: str | None = None) -> HeldCard | None:
        """The card with an id; without one, the default, or the one that was saved last."""
        wanted = card_id or self.default
        found = next((card for card in self.cards if card.id == wanted), None)
        return found if card_id or found else (self.cards[-1] if self.cards else None)


@dataclass(slots=True, kw_only=True)
class PageDocument(Document):
    """A checkout page. ``problem`` is why the last try to pay on it failed."""

    kind: ClassVar[str] = "checkout"
    prefix: ClassVar[str] = "cs"

    mode: CheckoutMode
    title: str
    amount_cents: int
    currency: str
    plan: str | None
    save_card: bool
    success_url: str
    cancel_url: str
    expires_at: int
    status: CheckoutStatus = "open"
    payment: str | None = None
    subscription: str | None = None
    invoice: str | None = None
    card: str | None = None
    problem: str | None = None

    @property
    def due_at(self) -> int | None:
        """An open page expires."""
        return self.expires_at if self.status == "open" else None


@dataclass(slots=True, kw_only=True)
class RefundDocument:
    """Money on its way back. Of a late payment it takes its time, too."""

    id: str
    amount_cents: int
    reference: str | None
    status: RefundStatus
    failure: str | None = None
    settles_at: int | None = None


@dataclass(slots=True, kw_only=True)
class DisputeDocument:
    """A payment that the payer's bank wants back."""

    id: str
    status: DisputeStatus
    amount_cents: int
    withdrawn_cents: int
    reason: str
    evidence_due_at: int | None


@dataclass(slots=True, kw_only=True)
class PaymentDocument(Document):
    """A payment. ``page`` and ``invoice`` are what it was made for; ``settles`` is how one that pays later ends."""

    kind: ClassVar[str] = "payment"
    prefix: ClassVar[str] = "pi"

    amount_cents: int
    currency: str
    description: str
    status: ChargeStatus = "failed"
    card: str | None = None
    number: str | None = None
    page: str | None = None
    invoice: str | None = None
    late: bool = False
    settles: Settles | None = None
    settles_at: int | None = None
    decline: Decline | None = None
    failure: str | None = None
    failure_text: str | None = None
    refunds: list[RefundDocument] = field(default_factory=list)
    disputes: list[DisputeDocument] = field(default_factory=list)

    @property
    def due_at(self) -> int | None:
        """A late payment settles by itself, and so do its refunds."""
        waiting = [refund.settles_at for refund in self.refunds if refund.status == "pending"]
        if self.status == "processing":
            waiting.append(self.settles_at)
        return min((moment for moment in waiting if moment is not None), default=None)

    @property
    def refunded_cents(self) -> int:
        """All that went back or may still go back."""
        return sum(refund.amount_cents for refund in self.refunds if refund.status != "failed")


@dataclass(slots=True, kw_only=True)
class SubscriptionDocument(Document):
    """A plan that is paid monthly. Periods are counted from ``anchor_at``, ``months`` of them until ``period_end``.

    ``owed`` is the bill that could not be paid, ``retries`` counts the tries, and ``retry_at`` is when the next one is.
    """

    kind: ClassVar[str] = "subscription"
    prefix: ClassVar[str] = "sub"

    plan: str | None
    title: str
    amount_cents: int
    currency: str
    anchor_at: int
    months: int
    period_start: int
    period_end: int
    status: SubscriptionStatus = "active"
    ends_with_period: bool = False
    canceled_at: int | None = None
    latest_invoice: str | None = None
    owed: str | None = None
    retries: int = 0
    retry_at: int | None = None

    @property
    def due_at(self) -> int | None:
        """It is renewed or ends with its period; what is owed is tried again before."""
        if self.status in {"canceled", "incomplete"}:
            return None
        return self.period_end if self.retry_at is None else min(self.retry_at, self.period_end)


@dataclass(slots=True, kw_only=True)
class InvoiceDocument(Document):
    """A bill: ``amount_cents`` is what is left to pay after ``credit_cents`` of earlier changes."""

    kind: ClassVar[str] = "invoice"
    prefix: ClassVar[str] = "in"

    reason: InvoiceReason
    title: str
    plan: str | None
    subscription: str | None
    amount_cents: int
    currency: str
    period_start: int
    period_end: int
    credit_cents: int = 0
    paid: bool = False
    payment: str | None = None
    failure_text: str | None = None


@dataclass(slots=True, kw_only=True)
class PortalDocument(Document):
    """A way into a payer's own pages, for a while."""

    kind: ClassVar[str] = "portal"
    prefix: ClassVar[str] = "bps"

    return_url: str
    expires_at: int
