"""Answers about balances, statements and usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from tallystick.api.answers.common import Name, Number, Time
from tallystick.api.rendering import moment, number, number_or_none, numbers
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.services.billing import Balance, EntryView, Usage
from tallystick.services.grants import GrantView


@dataclass(slots=True)
class OpenGrant:
    """A grant with something left, in burn order."""

    id: Name
    category: str
    origin: str
    amount: Number
    remaining: Number
    held: Number
    priority: int
    effective_at: Time
    expires_at: Time | None
    reason: str | None


@dataclass(slots=True)
class BalanceAnswer:
    """A wallet now: ``balance = available + held - debt``."""

    customer: Name
    unit: str
    balance: Number
    available: Number
    held: Number
    debt: Number
    granted: Number
    purchased: Number
    earned: Number
    spent: Number
    expired: Number
    removed: Number
    tier: str | None
    unlimited: bool
    auto_refill: bool
    threshold: Number | None
    next_grant_at: Time | None
    frozen_at: Time | None
    grants: list[OpenGrant]


@dataclass(slots=True)
class EntryLine:
    """One line of a statement. ``reference`` is what it belongs to: a charge, a hold or a grant."""

    id: Name
    date: Time
    type: str
    category: str | None
    meter: str | None
    unit: str
    amount: Number
    balance_after: Number
    description: str | None
    reference: Name | None
    agent: str | None
    metadata: dict[str, Any]


class DayLine(BaseModel):
    """One day (UTC)."""

    date: str
    spent: Number
    earned: Number
    by_meter: dict[str, Number]


class UsageTotals(BaseModel):
    """The sum of the days."""

    spent: Number
    earned: Number
    by_meter: dict[str, Number]


class UsageAnswer(BaseModel):
    """What was spent and earned on each of the last days, oldest first, today included."""

    unit: str
    period: str
    start: Time = Field(alias="from")
    to: Time
    days: list[DayLine]
    totals: UsageTotals


def balance(found: Balance) -> BalanceAnswer:
    """A balance."""
    return BalanceAnswer(
        customer=to_text("cust", found.customer_id),
        unit=found.unit,
        balance=number(found.balance),
        available=number(found.available),
        held=number(found.held),
        debt=number(found.debt),
        granted=number(found.granted),
        purchased=number(found.purchased),
        earned=number(found.earned),
        spent=number(found.spent),
        expired=number(found.expired),
        removed=number(found.removed),
        tier=found.tier,
        unlimited=found.unlimited,
        auto_refill=found.auto_refill,
        threshold=number_or_none(found.threshold),
        next_grant_at=moment(found.next_grant_at),
        frozen_at=moment(found.frozen_at),
        grants=[_open_grant(view) for view in found.grants],
    )


def _open_grant(view: GrantView) -> OpenGrant:
    return OpenGrant(
        id=to_text("grant", view.id),
        category=view.category,
        origin=view.origin,
        amount=number(view.amount),
        remaining=number(view.remaining),
        held=number(view.held),
        priority=view.priority,
        effective_at=format_rfc3339(view.effective_at),
        expires_at=moment(view.expires_at),
        reason=view.reason,
    )


def entry(view: EntryView) -> EntryLine:
    """A line of a statement."""
    return EntryLine(
        id=to_text("txn", view.id),
        date=format_rfc3339(view.date),
        type=view.type,
        category=view.category,
        meter=view.meter,
        unit=view.unit,
        amount=number(view.amount),
        balance_after=number(view.balance_after),
        description=view.description,
        reference=view.reference,
        agent=view.agent,
        metadata=dict(view.metadata),
    )


def usage(found: Usage) -> dict[str, Any]:
    """Usage by day, as ``UsageAnswer``: ``from`` is no name for a field in Python."""
    return {
        "unit": found.unit,
        "period": found.period,
        "from": format_rfc3339(found.start),
        "to": format_rfc3339(found.end),
        "days": [{"date": day.date, **_spent(day.spent, day.earned, day.by_meter)} for day in found.days],
        "totals": _spent(found.totals.spent, found.totals.earned, found.totals.by_meter),
    }


def _spent(
    spent: int, earned: int, by_meter: Mapping[str, int]
) -> dict[str, msgspec.Raw | dict[str, msgspec.Raw]]:
    return {"spent": number(spent), "earned": number(earned), "by_meter": numbers(dict(by_meter))}
