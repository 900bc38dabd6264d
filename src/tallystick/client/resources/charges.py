"""Charges, batches of them, refunds and quotes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tallystick.client.exact import Number, number
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Repeat, Request, post


@dataclass(frozen=True, kw_only=True)
class Part(Model):
    """What one grant gave or got back."""

    grant: str
    amount: Decimal
    unit: str


@dataclass(frozen=True, kw_only=True)
class LimitState(Model):
    """What an hourly limit allows after a call."""

    remaining: int
    reset_at: datetime


@dataclass(frozen=True, kw_only=True)
class RateLimit(LimitState):
    """An hourly limit, and what it still allows."""

    limit: int


@dataclass(frozen=True, kw_only=True)
class Charge(Model):
    """A charge as it was made. ``amount`` and ``balance`` are in ``unit``; ``amounts`` has every unit."""

    id: str
    meter: str | None
    quantity: Decimal
    amount: Decimal
    unit: str
    amounts: Mapping[str, Decimal]
    balance: Decimal
    available: Decimal
    grants: tuple[Part, ...]
    limit: LimitState | None
    economy_version: str | None


@dataclass(frozen=True, kw_only=True)
class Refund(Model):
    """What went back now, what went back in all, and what is left to refund."""

    id: str
    charge: str
    refunded: Decimal
    unit: str
    amounts: Mapping[str, Decimal]
    refunded_total: Decimal
    refundable: Decimal
    balance: Decimal
    available: Decimal
    grants: tuple[Part, ...]
    reason: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Quote(Model):
    """What a usage would cost now. ``refused_by`` is the code of the refusal that a charge would get."""

    meter: str
    quantity: Decimal
    amount: Decimal
    unit: str
    amounts: Mapping[str, Decimal]
    available: Decimal
    affordable: bool
    refused_by: str | None
    rate_limit: RateLimit | None
    economy_version: str


@dataclass(frozen=True, kw_only=True)
class Also:
    """A further meter of the same usage."""

    meter: str
    quantity: Number = 1


def usage_body(
    *,
    meter: str | None,
    quantity: Number | None,
    also: Iterable[Also],
    customer: str | None,
    agent: str | None,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, object]:
    """A usage as it is sent."""
    parts = [{"meter": each.meter, "quantity": number(each.quantity)} for each in also]
    return {
        "meter": meter,
        "quantity": number(quantity),
        "also": parts or None,
        "customer": customer,
        "agent": agent,
        "description": description,
        "metadata": metadata,
    }


class Charges(Resource[Mode]):
    """Draw credits for what was used."""

    @operation
    def create(
        self,
        *,
        meter: str,
        quantity: Number = 1,
        also: Iterable[Also] = (),
        customer: str | None = None,
        agent: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Request[Charge]:
        """Price a usage and draw the credits now. ``also`` prices further meters in the same charge."""
        body = usage_body(
            meter=meter,
            quantity=quantity,
            also=also,
            customer=customer,
            agent=agent,
            description=description,
            metadata=metadata,
        )
        return post("/charges", Charge, body, key=idempotency_key)

    @operation
    def refund(
        self,
        charge: str,
        *,
        amount: Number | None = None,
        unit: str | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Request[Refund]:
        """Give a charge back, whole or in part, to the grants that paid it. For services and admins."""
        body = {"amount": number(amount), "unit": unit, "reason": reason}
        return post(
            "/charges/{charge_id}/refund", Refund, body, names={"charge_id": charge}, key=idempotency_key
        )


class Quotes(Resource[Mode]):
    """Ask before spending."""

    @operation
    def create(
        self,
        *,
        meter: str,
        quantity: Number = 1,
        also: Iterable[Also] = (),
        customer: str | None = None,
        agent: str | None = None,
    ) -> Request[Quote]:
        """Say what a usage would cost now, and whether it would be refused. Nothing is drawn or counted."""
        body = usage_body(meter=meter, quantity=quantity, also=also, customer=customer, agent=agent)
        # The two texts of a usage are none of a quote's.
        del body["description"], body["metadata"]
        return post("/quotes", Quote, body, repeat=Repeat.READS)
