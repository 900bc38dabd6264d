"""Answers about plans, and how they are paid."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.api.answers.common import Name, Number, Time
from tallystick.api.rendering import moment, number_or_none, numbers
from tallystick.core.catalog import Economy
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.services.subscriptions import SubscriptionView, TierView


@dataclass(slots=True)
class TierAnswer:
    """A customer's plan from ``effective_date`` on. ``monthly_credits`` null: unlimited."""

    customer: Name
    new_tier: str
    previous_tier: str | None
    monthly_credits: Number | None
    effective_date: Time
    next_period_at: Time
    granted: dict[str, Number]


@dataclass(slots=True)
class PaidFirstAnswer:
    """Where a plan is paid before it begins."""

    checkout_url: str


@dataclass(slots=True)
class SubscriptionAnswer:
    """How a monthly plan is paid.

    ``status`` is ``none``, ``pending`` (to be paid at ``checkout_url``), ``expired`` (nobody paid), ``incomplete``,
    ``active``, ``past_due``, ``unpaid`` or ``canceled``. ``next_tier`` follows at ``period_end``.
    """

    customer: Name
    tier: str | None
    status: str
    period_start: Time | None
    period_end: Time | None
    ends_at: Time | None
    next_tier: str | None
    checkout_url: str | None


@dataclass(slots=True)
class PortalAnswer:
    """A page of the payment provider's; the address is good for a short time only."""

    url: str


def tier(view: TierView, economy: Economy) -> TierAnswer | PaidFirstAnswer:
    """A plan that was asked for, with its allowance in the primary unit."""
    if view.checkout_url is not None:
        return PaidFirstAnswer(view.checkout_url)
    return TierAnswer(
        customer=to_text("cust", view.customer_id),
        new_tier=view.tier,
        previous_tier=view.previous,
        monthly_credits=number_or_none(economy.monthly_micros(view.tier)),
        effective_date=format_rfc3339(view.effective_at),
        next_period_at=format_rfc3339(view.period_end),
        granted=numbers(view.granted),
    )


def subscription(view: SubscriptionView) -> SubscriptionAnswer:
    """A subscription as it stands."""
    return SubscriptionAnswer(
        customer=to_text("cust", view.customer_id),
        tier=view.plan,
        status=view.status,
        period_start=moment(view.period_start),
        period_end=moment(view.period_end),
        ends_at=moment(view.ends_at),
        next_tier=view.next_plan,
        checkout_url=view.checkout_url,
    )
