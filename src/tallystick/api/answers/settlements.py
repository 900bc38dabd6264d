"""The answer to a settlement."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.api.answers.common import Name, Number, Part, Time
from tallystick.api.rendering import number
from tallystick.core.ids import to_text
from tallystick.core.settlement import SettlementResult
from tallystick.core.times import format_rfc3339


@dataclass(slots=True)
class SettlementAnswer:
    """What was settled: ``price = fee + payout``. Balances are those of the payer afterwards."""

    id: Name
    payer: Name
    payee: Name
    unit: str
    price: Number
    fee: Number
    payout: Number
    balance: Number
    available: Number
    grants: list[Part]
    economy_version: str | None
    created_at: Time


def settlement(result: SettlementResult) -> SettlementAnswer:
    """A settlement."""
    return SettlementAnswer(
        id=to_text("txn", result.id),
        payer=to_text("cust", result.payer_id),
        payee=to_text("cust", result.payee_id),
        unit=result.unit,
        price=number(result.price),
        fee=number(result.fee),
        payout=number(result.payout),
        balance=number(result.balance),
        available=number(result.available),
        grants=[Part(to_text("grant", grant), number(amount), unit) for grant, unit, amount in result.draws],
        economy_version=result.economy,
        created_at=format_rfc3339(result.created_at),
    )
