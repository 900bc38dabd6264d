"""Settlements between customers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tallystick.client.exact import Number, number
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Request, post
from tallystick.client.resources.parts import Part


@dataclass(frozen=True, kw_only=True)
class Settlement(Model):
    """What was settled: ``price = fee + payout``. Balances are those of the payer afterwards."""

    id: str
    payer: str
    payee: str
    unit: str
    price: Decimal
    fee: Decimal
    payout: Decimal
    balance: Decimal
    available: Decimal
    grants: tuple[Part, ...]
    economy_version: str | None
    created_at: datetime


class Settlements(Resource[Mode]):
    """Pay one customer's credits to another, less the platform's fee. For services and admins."""

    @operation
    def create(
        self,
        *,
        from_: str,
        to: str,
        price: Number,
        unit: str | None = None,
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> Request[Settlement]:
        """Settle a price at once; a price of 0 settles nothing."""
        body = {
            "from": from_,
            "to": to,
            "price": number(price),
            "unit": unit,
            "description": description,
        }
        return post("/settlements", Settlement, body, key=idempotency_key)
