"""Charges, batches of them, refunds and quotes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tallystick.client.errors import TallyError
from tallystick.client.exact import Number, number
from tallystick.client.inputs import Also, NewCharge, usage_body
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Repeat, Request, get, post
from tallystick.client.resources.explanations import ChargeDetail
from tallystick.client.resources.parts import LimitState, Part, RateLimit


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
class FieldError(Model):
    """What is wrong with a field."""

    field: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Problem(Model):
    """Why a charge of a batch was refused. ``raw`` has the members that its code brings along."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    errors: tuple[FieldError, ...] | None


@dataclass(frozen=True, kw_only=True)
class BatchResult(Model):
    """What became of one charge of a batch: ``charge``, or the ``error`` that it was refused with."""

    status: int
    charge: Charge | None
    error: Problem | None

    def unwrap(self) -> Charge:
        """The charge. Raises ``TallyError`` where it was refused."""
        if self.charge is None:
            problem = self.error.raw if self.error is not None else {}
            code, detail = str(problem.get("code")), str(problem.get("detail"))
            raise TallyError(code, detail, self.status, problem)
        return self.charge


@dataclass(frozen=True, kw_only=True)
class Batch(Model):
    """One result for each charge, in order."""

    results: tuple[BatchResult, ...]


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
    def create_batch(self, charges: Iterable[NewCharge]) -> Request[Batch]:
        """Make up to 1,000 charges, each with its own key and its own outcome, answered in order."""
        body = {"charges": [each.body() for each in charges]}
        return post("/charges/batch", Batch, body, repeat=Repeat.SAME)

    @operation
    def get(self, charge: str) -> Request[ChargeDetail]:
        """A charge or a capture with its working: prices, grants, limits, budgets and balances."""
        return get("/charges/{charge_id}", ChargeDetail, names={"charge_id": charge})

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
