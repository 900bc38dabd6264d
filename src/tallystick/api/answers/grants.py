"""Answers about grants, frozen wallets and plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tallystick.api.answers.common import Name, Number, Time
from tallystick.api.rendering import moment, number
from tallystick.core.adjustments import ClawbackResult, FreezeResult, GrantResult
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.services.grants import GrantView
from tallystick.services.rewards import Referred


@dataclass(slots=True)
class GrantAnswer:
    """A grant as it was made, or what was taken back of it; ``balance`` and ``available`` are those afterwards."""

    id: Name
    customer: Name
    amount: Number
    unit: str
    category: str
    origin: str
    priority: int
    effective_at: Time
    expires_at: Time | None
    reason: str | None
    transaction: Name
    balance: Number
    available: Number
    created_at: Time


@dataclass(slots=True)
class GrantLine:
    """A grant in a list. ``remaining`` includes what is ``held``."""

    id: Name
    customer: Name
    status: Literal["scheduled", "active", "used", "expired", "voided"]
    category: str
    origin: str
    unit: str
    amount: Number
    remaining: Number
    held: Number
    priority: int
    effective_at: Time
    expires_at: Time | None
    reason: str | None
    reference: str | None
    created_at: Time


@dataclass(slots=True)
class ClawbackAnswer:
    """What was taken back of a grant: ``removed`` from what was left of it, ``owed`` as new debt."""

    id: Name
    grant: Name
    customer: Name
    amount: Number
    unit: str
    removed: Number
    owed: Number
    debt: Number
    balance: Number
    available: Number
    created_at: Time


@dataclass(slots=True)
class FreezeAnswer:
    """Since when a wallet is frozen, if it is."""

    customer: Name
    unit: str
    frozen: bool
    frozen_at: Time | None


@dataclass(slots=True)
class ReferralAnswer:
    """What both sides of a referral got, as grants; null for a side that gets nothing."""

    referrer: GrantAnswer | None
    referred: GrantAnswer | None


def referral(found: Referred) -> ReferralAnswer:
    """A referral."""
    return ReferralAnswer(
        referrer=None if found.referrer is None else grant(found.referrer.value),
        referred=None if found.referred is None else grant(found.referred.value),
    )


def grant(result: GrantResult) -> GrantAnswer:
    """A grant that was made or voided."""
    return GrantAnswer(
        id=to_text("grant", result.id),
        customer=to_text("cust", result.customer_id),
        amount=number(result.amount),
        unit=result.unit,
        category=result.category,
        origin=result.origin,
        priority=result.priority,
        effective_at=format_rfc3339(result.effective_at),
        expires_at=moment(result.expires_at),
        reason=result.reason,
        transaction=to_text("txn", result.transaction_id),
        balance=number(result.balance),
        available=number(result.available),
        created_at=format_rfc3339(result.created_at),
    )


def grant_line(view: GrantView) -> GrantLine:
    """A grant in a list."""
    return GrantLine(
        id=to_text("grant", view.id),
        customer=to_text("cust", view.customer_id),
        status=view.status,
        category=view.category,
        origin=view.origin,
        unit=view.unit,
        amount=number(view.amount),
        remaining=number(view.remaining),
        held=number(view.held),
        priority=view.priority,
        effective_at=format_rfc3339(view.effective_at),
        expires_at=moment(view.expires_at),
        reason=view.reason,
        reference=view.reference,
        created_at=format_rfc3339(view.created_at),
    )


def clawback(result: ClawbackResult) -> ClawbackAnswer:
    """A clawback."""
    return ClawbackAnswer(
        id=to_text("txn", result.id),
        grant=to_text("grant", result.grant_id),
        customer=to_text("cust", result.customer_id),
        amount=number(result.amount),
        unit=result.unit,
        removed=number(result.removed),
        owed=number(result.owed),
        debt=number(result.debt),
        balance=number(result.balance),
        available=number(result.available),
        created_at=format_rfc3339(result.created_at),
    )


def freeze(result: FreezeResult) -> FreezeAnswer:
    """A wallet that was frozen or thawed."""
    return FreezeAnswer(
        customer=to_text("cust", result.customer_id),
        unit=result.unit,
        frozen=result.frozen_at is not None,
        frozen_at=moment(result.frozen_at),
    )
