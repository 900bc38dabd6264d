"""Answers about charges, refunds, quotes and holds. Results are rendered as they are; nothing is worked out here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from tallystick.api.answers.common import Name, Number, Part, Time
from tallystick.api.rendering import identifier, moment, number, numbers
from tallystick.core.adjustments import RefundResult
from tallystick.core.ids import to_text
from tallystick.core.operations import ChargeResult, Draw, HoldResult, Limit, ResolveResult
from tallystick.core.times import format_rfc3339
from tallystick.services.billing import HoldReceipt, HoldView
from tallystick.services.charges import Quote

HoldStatus = Literal["open", "captured", "released", "expired"]


@dataclass(slots=True)
class LimitState:
    """What an hourly limit allows after this call."""

    remaining: int
    reset_at: Time


@dataclass(slots=True)
class RateLimit:
    """An hourly limit, and what it still allows."""

    limit: int
    remaining: int
    reset_at: Time


@dataclass(slots=True)
class ChargeAnswer:
    """A charge as it was made. ``amount`` and ``balance`` are in ``unit``; ``amounts`` has every unit."""

    id: Name
    meter: str | None
    quantity: Number
    amount: Number
    unit: str
    amounts: dict[str, Number]
    balance: Number
    available: Number
    grants: list[Part]
    limit: LimitState | None
    economy_version: str | None


@dataclass(slots=True)
class QuoteAnswer:
    """What a usage would cost now. ``refused_by`` is the code of the refusal that a charge would get."""

    meter: str
    quantity: Number
    amount: Number
    unit: str
    amounts: dict[str, Number]
    available: Number
    affordable: bool
    refused_by: str | None
    rate_limit: RateLimit | None
    economy_version: str


@dataclass(slots=True)
class RefundAnswer:
    """A refund: what went back now, what went back in all, and what is left to refund."""

    id: Name
    charge: Name
    refunded: Number
    unit: str
    amounts: dict[str, Number]
    refunded_total: Number
    refundable: Number
    balance: Number
    available: Number
    grants: list[Part]
    reason: str | None
    created_at: Time


@dataclass(slots=True)
class HoldAnswer:
    """A hold as it was made."""

    id: Name
    status: HoldStatus
    meter: str | None
    quantity: Number | None
    amount: Number
    unit: str
    amounts: dict[str, Number]
    expires_at: Time
    balance: Number
    available: Number
    grants: list[Part]
    limit: LimitState | None
    economy_version: str | None
    created_at: Time


@dataclass(slots=True)
class ResolveAnswer:
    """What became of a hold. ``charge`` is the id to refund or explain what was captured by."""

    id: Name
    status: HoldStatus
    charge: Name | None
    captured: Number
    released: Number
    unit: str
    amounts: dict[str, Number]
    balance: Number
    available: Number
    grants: list[Part]
    economy_version: str | None
    resolved_at: Time


@dataclass(slots=True)
class HoldLine:
    """A hold in a list."""

    id: Name
    customer: Name
    status: HoldStatus
    meter: str | None
    quantity: Number | None
    amount: Number
    unit: str
    amounts: dict[str, Number]
    captured: Number | None
    charge: Name | None
    agent: str | None
    description: str | None
    metadata: dict[str, Any]
    expires_at: Time
    created_at: Time
    resolved_at: Time | None
    economy_version: str | None


@dataclass(slots=True)
class HoldReceiptAnswer:
    """The charge that a hold became. ``balance`` is the one after it."""

    charge: Name
    amount: Number
    unit: str
    balance: Number
    created_at: Time


@dataclass(slots=True)
class HoldDetail(HoldLine):
    """A hold, with the receipt of its charge once it was captured."""

    receipt: HoldReceiptAnswer | None


def _parts(draws: tuple[Draw, ...]) -> list[Part]:
    return [Part(to_text("grant", grant), number(amount), unit) for grant, unit, amount in draws]


def _limit(limit: Limit | None) -> LimitState | None:
    return None if limit is None else LimitState(max(limit.remaining, 0), format_rfc3339(limit.reset_at))


def charge(result: ChargeResult) -> ChargeAnswer:
    """A charge."""
    return ChargeAnswer(
        to_text("chg", result.id),
        result.meter,
        number(result.quantity),
        number(result.amount),
        result.unit,
        numbers(result.amounts),
        number(result.balance),
        number(result.available),
        _parts(result.draws),
        _limit(result.limit),
        result.economy,
    )


def quote(result: Quote) -> QuoteAnswer:
    """A quote."""
    limit = result.limit
    return QuoteAnswer(
        meter=result.meter,
        quantity=number(result.quantity),
        amount=number(result.amount),
        unit=result.unit,
        amounts=numbers(result.amounts),
        available=number(result.available),
        affordable=result.affordable,
        refused_by=None if result.refused_by is None else result.refused_by.upper(),
        rate_limit=None
        if limit is None
        else RateLimit(limit.limit, max(limit.remaining, 0), format_rfc3339(limit.reset_at)),
        economy_version=result.economy,
    )


def refund(result: RefundResult) -> RefundAnswer:
    """A refund."""
    return RefundAnswer(
        id=to_text("txn", result.id),
        charge=to_text("chg", result.charge_id),
        refunded=number(result.amount),
        unit=result.unit,
        amounts=numbers(result.amounts),
        refunded_total=number(result.refunded),
        refundable=number(result.refundable),
        balance=number(result.balance),
        available=number(result.available),
        grants=_parts(result.draws),
        reason=result.reason,
        created_at=format_rfc3339(result.created_at),
    )


def hold(result: HoldResult) -> HoldAnswer:
    """A new hold."""
    return HoldAnswer(
        id=to_text("hold", result.id),
        status="open",
        meter=result.meter,
        quantity=number(result.quantity) if result.meter is not None else None,
        amount=number(result.amount),
        unit=result.unit,
        amounts=numbers(result.amounts),
        expires_at=format_rfc3339(result.expires_at),
        balance=number(result.balance),
        available=number(result.available),
        grants=_parts(result.draws),
        limit=_limit(result.limit),
        economy_version=result.economy,
        created_at=format_rfc3339(result.created_at),
    )


def resolved(result: ResolveResult) -> ResolveAnswer:
    """A captured or released hold."""
    status: HoldStatus = "captured" if result.status == "captured" else "released"
    return ResolveAnswer(
        id=to_text("hold", result.hold_id),
        status=status,
        charge=to_text("chg", result.id) if status == "captured" else None,
        captured=number(result.captured),
        released=number(result.released),
        unit=result.unit,
        amounts=numbers(result.amounts),
        balance=number(result.balance),
        available=number(result.available),
        grants=_parts(result.draws),
        economy_version=result.economy,
        resolved_at=format_rfc3339(result.created_at),
    )


def hold_line(view: HoldView) -> HoldLine:
    """A hold in a list."""
    return HoldLine(
        id=to_text("hold", view.id),
        customer=to_text("cust", view.customer_id),
        status=view.status,  # type: ignore[arg-type] # the table allows no other
        meter=view.meter,
        quantity=number(view.quantity) if view.meter is not None else None,
        amount=number(view.amount),
        unit=view.unit,
        amounts=numbers(view.amounts),
        captured=None if view.captured is None else number(view.captured),
        charge=identifier("chg", view.charge_id),
        agent=view.agent,
        description=view.description,
        metadata=dict(view.metadata),
        expires_at=format_rfc3339(view.expires_at),
        created_at=format_rfc3339(view.created_at),
        resolved_at=moment(view.resolved_at),
        economy_version=view.economy,
    )


def hold_detail(found: tuple[HoldView, HoldReceipt | None]) -> HoldDetail:
    """One hold."""
    view, receipt = found
    line = hold_line(view)
    return HoldDetail(
        **{each.name: getattr(line, each.name) for each in fields(line)},
        receipt=None
        if receipt is None
        else HoldReceiptAnswer(
            charge=to_text("chg", receipt.charge_id),
            amount=number(receipt.amount),
            unit=receipt.unit,
            balance=number(receipt.balance),
            created_at=format_rfc3339(receipt.created_at),
        ),
    )
