"""Answers that say where a figure comes from: a charge with its working, and wallets as of a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tallystick.api.answers.common import Name, Number, Time
from tallystick.api.answers.spending import RateLimit
from tallystick.api.rendering import identifier, moment, number, number_or_none, numbers, price
from tallystick.core.ids import to_text
from tallystick.core.rating import RatedLine
from tallystick.core.times import format_rfc3339
from tallystick.services.explain import ChargeView, CustomerAsOf, Explanation, LotAsOf, PricePart, WalletAsOf


@dataclass(slots=True)
class PriceLineAnswer:
    """One line of the working: a quantity at a price. ``tier`` counts from 1."""

    kind: str
    quantity: Number
    per_unit: Number
    flat: Number
    amount: Number
    tier: int | None


@dataclass(slots=True)
class PricePartAnswer:
    """What one meter cost in one unit, and how that came about."""

    meter: str | None
    category: str | None
    unit: str
    amount: Number
    quantity: Number | None
    lines: list[PriceLineAnswer]


@dataclass(slots=True)
class LotAnswer:
    """What a grant gave, with its terms, and what went back to it since."""

    grant: Name
    unit: str
    amount: Number
    refunded: Number
    category: str
    origin: str
    priority: int
    effective_at: Time
    expires_at: Time | None
    reason: str | None


@dataclass(slots=True)
class BudgetSpendAnswer:
    """What a budget counted."""

    source: str
    unit: str
    amount: Number
    period_at: Time


@dataclass(slots=True)
class BalanceChangeAnswer:
    """A balance before and after."""

    unit: str
    before: Number
    after: Number


@dataclass(slots=True)
class RefundLineAnswer:
    """One refund."""

    id: Name
    date: Time
    amounts: dict[str, Number]
    reason: str | None


@dataclass(slots=True)
class UnitRefundAnswer:
    """What went back in one unit, and what still can."""

    unit: str
    refunded: Number
    refundable: Number


@dataclass(slots=True)
class ExplanationAnswer:
    """Why a charge cost what it did, and who paid. ``seal_ok``: nobody edited it afterwards."""

    economy_version: str | None
    economy: str | None
    prices: list[PricePartAnswer]
    lots: list[LotAnswer]
    limit: RateLimit | None
    budgets: list[BudgetSpendAnswer]
    balances: list[BalanceChangeAnswer]
    refunds: list[RefundLineAnswer]
    seal_ok: bool


@dataclass(slots=True)
class ChargeDetail:
    """A charge, or the capture of a hold, with all that is behind it. ``refunds`` are of every unit, others of ``unit``."""

    id: Name
    customer: Name
    hold: Name | None
    meter: str | None
    category: str | None
    quantity: Number | None
    amount: Number
    unit: str
    amounts: dict[str, Number]
    balance: Number
    refunded: Number
    refundable: Number
    refunds: list[UnitRefundAnswer]
    agent: str | None
    description: str | None
    metadata: dict[str, Any]
    created_at: Time
    explain: ExplanationAnswer


@dataclass(slots=True)
class LotAsOfAnswer:
    """A grant as of a moment."""

    grant: Name
    category: str
    origin: str
    priority: int
    effective_at: Time
    expires_at: Time | None
    amount: Number
    remaining: Number
    held: Number
    reason: str | None


@dataclass(slots=True)
class WalletAsOfAnswer:
    """A wallet as of a moment, worked out anew from its transfers. ``frozen_at``: since when, if it still is."""

    unit: str
    balance: Number
    available: Number
    held: Number
    debt: Number
    entries: int
    statement_agrees: bool
    frozen_at: Time | None
    grants: list[LotAsOfAnswer]


@dataclass(slots=True)
class CustomerAsOfAnswer:
    """A customer's wallets as of a moment."""

    customer: Name
    at: Time
    wallets: list[WalletAsOfAnswer]


def charge(view: ChargeView) -> ChargeDetail:
    """A charge, explained."""
    return ChargeDetail(
        id=to_text("chg", view.id),
        customer=to_text("cust", view.customer_id),
        hold=identifier("hold", view.hold_id),
        meter=view.meter,
        category=view.category,
        quantity=number_or_none(view.quantity),
        amount=number(view.amount),
        unit=view.unit,
        amounts=numbers(view.amounts),
        balance=number(view.balance),
        refunded=number(view.refunded),
        refundable=number(view.refundable),
        refunds=[
            UnitRefundAnswer(each.unit, number(each.refunded), number(each.refundable))
            for each in view.refunds
        ],
        agent=view.agent,
        description=view.description,
        metadata=dict(view.metadata),
        created_at=format_rfc3339(view.created_at),
        explain=_explanation(view.explain),
    )


def _explanation(found: Explanation) -> ExplanationAnswer:
    limit = found.limit
    return ExplanationAnswer(
        economy_version=found.economy,
        economy=found.economy_name,
        prices=[_price_part(part) for part in found.prices],
        lots=[
            LotAnswer(
                grant=to_text("grant", lot.grant_id),
                unit=lot.unit,
                amount=number(lot.amount),
                refunded=number(lot.refunded),
                category=lot.category,
                origin=lot.origin,
                priority=lot.priority,
                effective_at=format_rfc3339(lot.effective_at),
                expires_at=moment(lot.expires_at),
                reason=lot.reason,
            )
            for lot in found.lots
        ],
        limit=None
        if limit is None
        else RateLimit(limit.limit, limit.remaining, format_rfc3339(limit.reset_at)),
        budgets=[
            BudgetSpendAnswer(each.source, each.unit, number(each.amount), format_rfc3339(each.period_at))
            for each in found.budgets
        ],
        balances=[
            BalanceChangeAnswer(each.unit, number(each.before), number(each.after)) for each in found.balances
        ],
        refunds=[
            RefundLineAnswer(
                to_text("txn", each.id), format_rfc3339(each.date), numbers(each.amounts), each.reason
            )
            for each in found.refunds
        ],
        seal_ok=found.seal_ok,
    )


def _price_part(part: PricePart) -> PricePartAnswer:
    return PricePartAnswer(
        meter=part.meter,
        category=part.category,
        unit=part.unit,
        amount=number(part.amount),
        quantity=number_or_none(part.quantity),
        lines=[_price_line(line) for line in part.lines],
    )


def _price_line(line: RatedLine) -> PriceLineAnswer:
    return PriceLineAnswer(
        kind=line.kind,
        quantity=number(line.quantity_micros),
        per_unit=price(line.per_unit_picos),
        flat=number(line.flat_micros),
        amount=number(line.amount_micros),
        tier=None if line.tier_index is None else line.tier_index + 1,
    )


def customer(found: CustomerAsOf) -> CustomerAsOfAnswer:
    """A customer as of a moment."""
    return CustomerAsOfAnswer(
        customer=to_text("cust", found.customer_id),
        at=format_rfc3339(found.at),
        wallets=[_wallet(wallet) for wallet in found.wallets],
    )


def _wallet(wallet: WalletAsOf) -> WalletAsOfAnswer:
    return WalletAsOfAnswer(
        unit=wallet.unit,
        balance=number(wallet.balance),
        available=number(wallet.available),
        held=number(wallet.held),
        debt=number(wallet.debt),
        entries=wallet.entries,
        statement_agrees=wallet.statement_agrees,
        frozen_at=moment(wallet.frozen_at),
        grants=[_lot(lot) for lot in wallet.lots],
    )


def _lot(lot: LotAsOf) -> LotAsOfAnswer:
    return LotAsOfAnswer(
        grant=to_text("grant", lot.grant_id),
        category=lot.category,
        origin=lot.origin,
        priority=lot.priority,
        effective_at=format_rfc3339(lot.effective_at),
        expires_at=moment(lot.expires_at),
        amount=number(lot.amount),
        remaining=number(lot.remaining),
        held=number(lot.held),
        reason=lot.reason,
    )
