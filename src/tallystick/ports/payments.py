"""What the product asks of a payment provider. Two real implementations exist: Stripe, and the simulation of one.

Whatever an event says is a hint and no more: the services ask for the state of the thing that it is about, and act on
that. So it does not matter in which order events come, how often, or whether they come at all.

Money is whole minor units (cents) of a currency in lower case; times are microseconds since the epoch; ids that are the
provider's are texts. ``reference`` is always an id of ours, such as ``pay_…``: what the provider is given, and gives back.
No call here is made inside a database transaction. Each one that makes something takes a ``key``: a repeat with the same
key makes nothing new, so that an outcome that never arrived can be asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

CheckoutMode: TypeAlias = Literal["payment", "subscription", "setup"]
CheckoutStatus: TypeAlias = Literal["open", "complete", "expired"]
Paid: TypeAlias = Literal["unpaid", "paid", "nothing_due"]
ChargeStatus: TypeAlias = Literal["succeeded", "processing", "failed", "canceled"]
Decline: TypeAlias = Literal["soft", "hard", "authentication"]
DisputeStatus: TypeAlias = Literal["inquiry", "open", "won", "lost", "closed"]
RefundStatus: TypeAlias = Literal["pending", "succeeded", "failed"]
SubscriptionStatus: TypeAlias = Literal["active", "past_due", "unpaid", "incomplete", "canceled"]
InvoiceReason: TypeAlias = Literal["create", "cycle", "update", "other"]
Subject: TypeAlias = Literal[
    "checkout", "payment", "invoice", "subscription", "payer", "other"
]  # what an event is about


class SignatureInvalid(Exception):  # noqa: N818 - as ProviderRefused
    """The event was not signed with any of our secrets, or too long ago, or it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutOrder:
    """A hosted page to be made, on which somebody pays, subscribes, or saves a card.

    ``price`` is a price that the operator made at the provider; without it, ``amount_cents`` and ``title`` are sent. A
    subscription is monthly, and ``plan`` comes back with it. With ``save_card``, a payment leaves its card for later ones.
    """

    reference: str
    mode: CheckoutMode
    payer: str
    title: str
    success_url: str
    cancel_url: str
    expires_at: int
    amount_cents: int = 0
    currency: str = "usd"
    price: str | None = None
    plan: str | None = None
    save_card: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A hosted page as it stands. ``payment`` is what it made, ``card`` what it saved, where it did."""

    id: str
    mode: CheckoutMode
    status: CheckoutStatus
    paid: Paid
    reference: str | None
    payer: str | None
    amount_cents: int | None
    currency: str | None
    url: str | None
    live: bool
    expires_at: int
    payment: str | None = None
    subscription: str | None = None
    invoice: str | None = None
    card: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card that is kept for later payments: what people call it is brand, last digits, and when it expires."""

    id: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CardOrder:
    """A payment with a saved card while nobody is there to be asked anything. ``card`` None: the payer's default."""

    reference: str
    payer: str
    amount_cents: int
    description: str
    currency: str = "usd"
    card: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A payment that its payer's bank wants back.

    ``withdrawn_cents`` is what the provider has taken from us for it and not given back: 0 for an inquiry, and again once
    the funds are reinstated. ``evidence_due_at`` is by when to answer.
    """

    id: str
    status: DisputeStatus
    amount_cents: int
    withdrawn_cents: int
    reason: str
    evidence_due_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What became of one payment, refunds and disputes included: everything that decides how many credits stand.

    ``decline`` says of a failed one whether a later try may help (``soft``), only another card (``hard``), or only its
    owner (``authentication``); ``failure`` is the provider's code and ``failure_text`` its sentence. ``refunded_cents``
    counts all refunds that succeeded or may still succeed.
    """

    id: str
    status: ChargeStatus
    reference: str | None
    payer: str | None
    amount_cents: int
    currency: str
    live: bool
    created_at: int
    refunded_cents: int = 0
    disputes: tuple[Dispute, ...] = ()
    decline: Decline | None = None
    failure: str | None = None
    failure_text: str | None = None
    receipt_url: str | None = None
    invoice: str | None = None
    invoice_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Money on its way back to the payer."""

    id: str
    payment: str
    status: RefundStatus
    amount_cents: int
    reference: str | None
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A plan that is paid monthly. ``ends_at`` is when it was told to end, ``canceled_at`` when it has ended."""

    id: str
    status: SubscriptionStatus
    payer: str
    plan: str | None
    reference: str | None
    amount_cents: int
    currency: str
    period_start: int
    period_end: int
    live: bool
    ends_at: int | None = None
    canceled_at: int | None = None
    latest_invoice: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """A bill. ``reason`` tells a new period (``create``, ``cycle``) from a change inside one (``update``)."""

    id: str
    paid: bool
    reason: InvoiceReason
    payer: str | None
    subscription: str | None
    plan: str | None
    period_start: int
    period_end: int
    amount_cents: int
    currency: str
    live: bool
    url: str | None = None
    payment: str | None = None
    failure_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened at the provider: ``subject`` and ``subject_id`` say what to ask for.

    For ``payment`` the id is the payment's, whichever of its charge, refunds or disputes the event is about; for
    ``payer`` it is the payer's. ``other`` is of no interest to us.
    """

    id: str
    type: str
    created_at: int
    subject: Subject
    subject_id: str
    live: bool
    facts: Mapping[str, str] = field(default_factory=dict)


class PaymentProvider(Protocol):
    """A payment provider. Every method may raise ``OutcomeUnknown``, and those that make something ``ProviderRefused``.

    Looking up what does not exist gives None.
    """

    @property
    def name(self) -> str:
        """What payments are filed under: ``stripe`` or ``simulated``."""
        ...

    @property
    def live(self) -> bool:
        """Whether real money moves."""
        ...

    # --- payers and their cards ------------------------------------------------------------------------------------

    def create_payer(self, *, reference: str, email: str | None, key: str) -> str:
        """Make our customer known to the provider; gives its id there."""
        ...

    def default_card(self, payer: str) -> Card | None:
        """The card that is charged when nobody is there: the payer's default, or the one that was saved last."""
        ...

    def portal(self, payer: str, *, return_url: str) -> str:
        """The address of a page where the payer sees invoices and changes the card."""
        ...

    # --- one-time payments -----------------------------------------------------------------------------------------

    def create_checkout(self, order: CheckoutOrder, *, key: str) -> Checkout:
        """Make a hosted page."""
        ...

    def checkout(self, checkout_id: str) -> Checkout | None:
        """A hosted page as it stands now."""
        ...

    def expire_checkout(self, checkout_id: str) -> None:
        """Let nobody pay on it any more. One that is paid or expired already stays as it is."""
        ...

    def charge_card(self, order: CardOrder, *, key: str) -> Payment:
        """Take a payment with a saved card now; a declined one is an answer with the status ``failed``."""
        ...

    def payment(self, payment_id: str) -> Payment | None:
        """What became of a payment."""
        ...

    def find_payment(self, *, payer: str, reference: str, since: int) -> Payment | None:
        """The newest payment of a payer with this reference, made at ``since`` or later."""
        ...

    def refund(self, payment_id: str, *, amount_cents: int, reference: str, key: str) -> Refund:
        """Give money back. Raises ``ProviderRefused`` when it is more than is left of the payment."""
        ...

    def refunds(self, payment_id: str) -> list[Refund]:
        """All refunds of a payment, newest first."""
        ...

    # --- monthly plans ---------------------------------------------------------------------------------------------

    def subscription(self, subscription_id: str) -> Subscription | None:
        """A subscription as it stands now."""
        ...

    def change_subscription(
        self, subscription_id: str, *, plan: str, title: str, amount_cents: int, price: str | None, key: str
    ) -> Subscription:
        """Change the plan now; the difference for the rest of the period is billed at once. ``ends_at`` is taken back."""
        ...

    def cancel_subscription(self, subscription_id: str, *, at_period_end: bool, key: str) -> Subscription:
        """End it with the period that is paid, or at once."""
        ...

    def invoice(self, invoice_id: str) -> Invoice | None:
        """A bill as it stands now."""
        ...

    # --- what happened ---------------------------------------------------------------------------------------------

    def read_event(self, body: bytes, signature: str | None) -> Event:
        """An event as it was sent to us. Raises ``SignatureInvalid``."""
        ...

    def events(self, *, since: int) -> Iterator[Event]:
        """All events that we subscribe to, made at ``since`` or later, newest first."""
        ...
