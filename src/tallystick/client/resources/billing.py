"""A customer's own figures: balance, statement, usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from tallystick.client.downloads import file_operation
from tallystick.client.exact import Moment, Number, moment, number
from tallystick.client.models import Model, sent_as
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.pages import Page, page
from tallystick.client.requests import Repeat, Request, csv, get, given, post, write


@dataclass(frozen=True, kw_only=True)
class OpenGrant(Model):
    """A grant that is not used up, in burn order."""

    id: str
    category: str
    origin: str
    amount: Decimal
    remaining: Decimal
    held: Decimal
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Balance(Model):
    """A wallet now: ``balance = available + held - debt``. ``grants`` are the open ones, first drawn first."""

    customer: str
    unit: str
    balance: Decimal
    available: Decimal
    held: Decimal
    debt: Decimal
    granted: Decimal
    purchased: Decimal
    earned: Decimal
    spent: Decimal
    expired: Decimal
    removed: Decimal
    tier: str | None
    unlimited: bool
    auto_refill: bool
    threshold: Decimal | None
    next_grant_at: datetime | None
    frozen_at: datetime | None
    grants: tuple[OpenGrant, ...]


@dataclass(frozen=True, kw_only=True)
class Entry(Model):
    """One line of a statement: signed amount, and the balance after it."""

    id: str
    date: datetime
    type: str
    category: str | None
    meter: str | None
    unit: str
    amount: Decimal
    balance_after: Decimal
    description: str | None
    reference: str | None
    agent: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Transactions(Page[Entry, Mode]):
    """A page of a statement."""

    noun = "transactions"

    transactions: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class UsageDay(Model):
    """One day (UTC)."""

    date: str
    spent: Decimal
    earned: Decimal
    by_meter: Mapping[str, Decimal]


@dataclass(frozen=True, kw_only=True)
class UsageTotals(Model):
    """The sum of the days."""

    spent: Decimal
    earned: Decimal
    by_meter: Mapping[str, Decimal]


@dataclass(frozen=True, kw_only=True)
class Usage(Model):
    """What was spent and earned on each of the last days, oldest first, today included."""

    unit: str
    period: str
    from_: datetime = field(metadata=sent_as("from"))
    to: datetime
    days: tuple[UsageDay, ...]
    totals: UsageTotals


@dataclass(frozen=True, kw_only=True)
class TierChange(Model):
    """A customer's plan from ``effective_date`` on; or ``checkout_url`` alone, where it is paid first.

    ``monthly_credits`` is also None where they are unlimited.
    """

    customer: str | None
    new_tier: str | None
    previous_tier: str | None
    monthly_credits: Decimal | None
    effective_date: datetime | None
    next_period_at: datetime | None
    granted: Mapping[str, Decimal] | None
    checkout_url: str | None


@dataclass(frozen=True, kw_only=True)
class Subscription(Model):
    """How a monthly plan is paid.

    ``status`` is ``none``, ``pending`` (to be paid at ``checkout_url``), ``expired`` (nobody paid), ``incomplete``,
    ``active``, ``past_due``, ``unpaid`` or ``canceled``. ``next_tier`` follows at ``period_end``.
    """

    customer: str
    tier: str | None
    status: str
    period_start: datetime | None
    period_end: datetime | None
    ends_at: datetime | None
    next_tier: str | None
    checkout_url: str | None


@dataclass(frozen=True, kw_only=True)
class Link(Model):
    """Where to go."""

    url: str


@dataclass(frozen=True, kw_only=True)
class Checkout(Model):
    """A page to pay on (``url`` and ``payment_url`` are the same), and what it will add."""

    payment: str
    url: str
    payment_url: str
    session_id: str
    expires_at: datetime
    credits_amount: Decimal
    unit: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, kw_only=True)
class Card(Model):
    """A saved card as people know it."""

    brand: str
    last4: str
    expires: str


@dataclass(frozen=True, kw_only=True)
class AutoRefill(Model):
    """How automatic refills are set. ``next_charge`` is a moment if one is waited for; otherwise the balance decides."""

    customer: str
    enabled: bool
    threshold: Decimal
    unit: str
    amount: Decimal
    credits: Decimal
    next_charge: datetime | None
    paused_reason: str | None
    card: Card | None
    save_card_url: str | None


class Billing(Resource[Mode]):
    """What a customer has, spends and buys."""

    @operation
    def get_balance(self, *, customer: str | None = None, unit: str | None = None) -> Request[Balance]:
        """What a customer has now, and in which grants."""
        return get("/billing/balance", Balance, {"customer": customer, "unit": unit})

    @operation
    def get_transactions(
        self,
        *,
        customer: str | None = None,
        unit: str | None = None,
        type: str | None = None,  # noqa: A002 - the statement's word
        from_: Moment | None = None,
        to: Moment | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[Transactions[Mode]]:
        """The statement, newest first. ``from_`` is included, ``to`` is not."""
        query = {
            "customer": customer,
            "unit": unit,
            "type": type,
            "from": moment(from_),
            "to": moment(to),
            "limit": limit,
            "cursor": cursor,
        }
        return page(self, "/billing/transactions", Transactions[Mode], query)

    @operation
    def get_usage(
        self,
        period: Literal["7d", "30d", "90d"] | None = None,
        *,
        customer: str | None = None,
        unit: str | None = None,
    ) -> Request[Usage]:
        """What was spent and earned on each of the last days (UTC), 30 of them unless another period is named."""
        return get("/billing/usage", Usage, {"period": period, "customer": customer, "unit": unit})

    @operation
    def create_checkout(
        self,
        package: str | None = None,
        *,
        amount: Number | None = None,
        customer: str | None = None,
        idempotency_key: str | None = None,
    ) -> Request[Checkout]:
        """A page (``url``) on which a package, or an amount of US dollars, is paid for credits."""
        body = {"package": package, "amount": number(amount), "customer": customer}
        return post("/billing/checkout", Checkout, body, key=idempotency_key)

    @operation
    def change_tier(
        self, tier: str, *, customer: str | None = None, idempotency_key: str | None = None
    ) -> Request[TierChange]:
        """Put a customer on a plan, or, where it must be paid first, say where (``checkout_url``)."""
        body = {"tier": tier, "customer": customer}
        return post("/billing/tier", TierChange, body, key=idempotency_key)

    @operation
    def get_subscription(self, *, customer: str | None = None) -> Request[Subscription]:
        """How a monthly plan is paid, until when, and what follows."""
        return get("/billing/subscription", Subscription, {"customer": customer})

    @operation
    def cancel_subscription(self, *, customer: str | None = None) -> Request[Subscription]:
        """End a monthly plan with the period that is paid. A repeat changes nothing."""
        request = write("DELETE", "/billing/subscription", Subscription)
        return replace(request, query=given({"customer": customer}))

    @operation
    def open_portal(self, *, customer: str | None = None) -> Request[Link]:
        """The provider's page where a customer sees bills and changes the card."""
        return post("/billing/portal", Link, {"customer": customer}, repeat=Repeat.SAME)

    @operation
    def get_auto_refill(self, *, customer: str | None = None) -> Request[AutoRefill]:
        """How automatic refills are set, and why they are paused if they are."""
        return get("/billing/auto-refill", AutoRefill, {"customer": customer})

    @operation
    def set_auto_refill(
        self,
        *,
        enabled: bool,
        threshold: Number | None = None,
        amount: Number | None = None,
        customer: str | None = None,
    ) -> Request[AutoRefill]:
        """Turn automatic refills on or off. Below ``threshold`` credits, credits for ``amount`` US dollars are bought."""
        body = {
            "enabled": enabled,
            "threshold": number(threshold),
            "amount": number(amount),
            "customer": customer,
        }
        return write("PUT", "/billing/auto-refill", AutoRefill, body)

    @operation
    def save_card(self, *, customer: str | None = None) -> Request[Link]:
        """A page on which a card is saved for automatic refills."""
        return post("/billing/card", Link, {"customer": customer}, repeat=Repeat.SAME)

    @file_operation
    def export_transactions(
        self,
        *,
        customer: str | None = None,
        unit: str | None = None,
        from_: Moment | None = None,
        to: Moment | None = None,
    ) -> Request[bytes]:
        """The whole statement as CSV, oldest first."""
        return csv("/billing/export/transactions", _span(customer, unit, from_, to))

    @file_operation
    def export_usage(
        self,
        *,
        customer: str | None = None,
        unit: str | None = None,
        from_: Moment | None = None,
        to: Moment | None = None,
    ) -> Request[bytes]:
        """What was spent and earned as CSV: a line for each day (UTC) and meter."""
        return csv("/billing/export/usage", _span(customer, unit, from_, to))

    @file_operation
    def export_payments(
        self,
        *,
        customer: str | None = None,
        all: bool | None = None,  # noqa: A002 - the interface's word
        unit: str | None = None,
        from_: Moment | None = None,
        to: Moment | None = None,
    ) -> Request[bytes]:
        """Payments as CSV, oldest first; ``from_`` and ``to`` are about when they were ordered."""
        return csv("/billing/export/payments", {**_span(customer, unit, from_, to), "all": all})

    @file_operation
    def export_payouts(self, *, unit: str | None = None) -> Request[bytes]:
        """What customers have earned with their agents as CSV. For services and admins."""
        return csv("/billing/export/payouts", {"unit": unit})


def _span(
    customer: str | None, unit: str | None, from_: Moment | None, to: Moment | None
) -> dict[str, object]:
    return {"customer": customer, "unit": unit, "from": moment(from_), "to": moment(to)}
