"""Where a charge comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tallystick.client.models import Model
from tallystick.client.resources.parts import RateLimit


@dataclass(frozen=True, kw_only=True)
class PriceLine(Model):
    """One line of the working: a quantity at a price. ``tier`` counts from 1."""

    kind: str
    quantity: Decimal
    per_unit: Decimal
    flat: Decimal
    amount: Decimal
    tier: int | None


@dataclass(frozen=True, kw_only=True)
class PricePart(Model):
    """What one meter cost in one unit, and how that came about."""

    meter: str | None
    category: str | None
    unit: str
    amount: Decimal
    quantity: Decimal | None
    lines: tuple[PriceLine, ...]


@dataclass(frozen=True, kw_only=True)
class Lot(Model):
    """What a grant gave, with its terms, and what went back to it since."""

    grant: str
    unit: str
    amount: Decimal
    refunded: Decimal
    category: str
    origin: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class BudgetSpend(Model):
    """What a budget counted."""

    source: str
    unit: str
    amount: Decimal
    period_at: datetime


@dataclass(frozen=True, kw_only=True)
class BalanceChange(Model):
    """A balance before and after."""

    unit: str
    before: Decimal
    after: Decimal


@dataclass(frozen=True, kw_only=True)
class RefundLine(Model):
    """One refund."""

    id: str
    date: datetime
    amounts: Mapping[str, Decimal]
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class UnitRefund(Model):
    """What went back in one unit, and what still can."""

    unit: str
    refunded: Decimal
    refundable: Decimal


@dataclass(frozen=True, kw_only=True)
class Explanation(Model):
    """Why a charge cost what it did, and who paid. ``seal_ok``: nobody edited it afterwards."""

    economy_version: str | None
    economy: str | None
    prices: tuple[PricePart, ...]
    lots: tuple[Lot, ...]
    limit: RateLimit | None
    budgets: tuple[BudgetSpend, ...]
    balances: tuple[BalanceChange, ...]
    refunds: tuple[RefundLine, ...]
    seal_ok: bool


@dataclass(frozen=True, kw_only=True)
class ChargeDetail(Model):
    """A charge, or the capture of a hold, with all that is behind it. ``refunds`` are of every unit, others of ``unit``."""

    id: str
    customer: str
    hold: str | None
    meter: str | None
    category: str | None
    quantity: Decimal | None
    amount: Decimal
    unit: str
    amounts: Mapping[str, Decimal]
    balance: Decimal
    refunded: Decimal
    refundable: Decimal
    refunds: tuple[UnitRefund, ...]
    agent: str | None
    description: str | None
    metadata: Mapping[str, Any]
    created_at: datetime
    explain: Explanation
