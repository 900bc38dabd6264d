"""Charges: draw the price of a usage now, alone or in batches; refund; quote."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.core import errors
from tallystick.core.adjustments import Refund, RefundResult
from tallystick.core.amounts import parse_amount
from tallystick.core.ids import from_text
from tallystick.core.operations import (
    Charge,
    ChargeResult,
    Limit,
    Operation,
)
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.operator_outcomes import refunded
from tallystick.services.operator_record import Deed, commit
from tallystick.services.pricing import Number, Pricing, Usage, also_of, require_service
from tallystick.services.requests import check_reason, check_text, idempotency_fields
from tallystick.store import journal

MAX_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Quote:
    """What a usage would cost now, and whether it could be paid. Amounts in micro-units."""

    meter: str
    quantity: int
    unit: str
    amount: int
    amounts: tuple[tuple[str, int], ...]
    available: int
    affordable: bool
    refused_by: str | None
    limit: Limit | None
    economy: str


class Charges:
    """Charge now, in batches too; refund; quote."""

    def __init__(self, context: Context, pricing: Pricing, customers: Customers) -> None:
        self._context = context
        self._pricing = pricing
        self._customers = customers

    def create(self, caller: Caller, usage: Usage, *, idempotency_key: str | None) -> Answer[ChargeResult]:
        """Price the usage and draw the credits."""
        operation = self._pricing.charge(caller, usage, idempotency_key)
        return self._pricing.finish(operation, self._context.commit.run(operation))

    async def create_async(
        self, caller: Caller, usage: Usage, *, idempotency_key: str | None
    ) -> Answer[ChargeResult]:
        """As ``create``, awaited: the way in of the doors."""
        await self._customers.look_up(usage.customer)
        operation = self._pricing.charge(caller, usage, idempotency_key)
        return await self._pricing.finish_async(operation, await self._context.commit.run_async(operation))

    async def create_batch(
        self, caller: Caller, usages: Sequence[tuple[Usage, str | None] | errors.Refusal]
    ) -> list[Answer[ChargeResult] | errors.Refusal]:
        """Charge up to 1,000 usages, each with its own key and its own outcome, in order.

        A usage that could not even be read stands as the refusal that it gets.
        """
        if not 1 <= len(usages) <= MAX_BATCH:
            raise errors.ValidationFailed([("charges", f"expected 1 to {MAX_BATCH} charges")])
        # Pricing a thousand usages takes a while: meanwhile the loop serves others.
        read = await asyncio.to_thread(lambda: [self._read(caller, item) for item in usages])
        answers: list[Answer[ChargeResult] | errors.Refusal | None] = [
            each if isinstance(each, errors.Refusal) else None for each in read
        ]
        places = [index for index, each in enumerate(read) if not isinstance(each, errors.Refusal)]
        operations: list[Operation] = [each for each in read if not isinstance(each, errors.Refusal)]
        outcomes = await self._context.commit.run_all_async(operations)
        for index, operation, outcome in zip(places, operations, outcomes, strict=True):
            try:
                answers[index] = await self._pricing.finish_async(operation, outcome)
            except errors.Refusal as refusal:
                answers[index] = refusal
        return [answer for answer in answers if answer is not None]

    def _read(
        self, caller: Caller, item: tuple[Usage, str | None] | errors.Refusal
    ) -> Operation | errors.Refusal:
        if isinstance(item, errors.Refusal):
            return item
        try:
            return self._pricing.charge(caller, *item)
        except errors.Refusal as refusal:
            return refusal

    def refund(
        self,
        caller: Caller,
        charge_id: str,
        *,
        amount: Number | None = None,
        unit: str | None = None,
        reason: str | None = None,
        idempotency_key: str | None,
    ) -> Answer[RefundResult]:
        """Give a charge back, whole or in part. For services and admins."""
        operation = self.refund_order(
            caller, charge_id, amount=amount, unit=unit, reason=reason, idempotency_key=idempotency_key
        )
        deed = Deed(
            action="refund_charge",
            customer_id=operation.customer_id,
            subject=charge_id,
            terms={"amount": None if amount is None else str(amount), "unit": unit},
            reason=reason,
            tell=refunded,
        )
        return self._pricing.finish(operation, commit(self._context, caller, operation, deed))

    def refund_order(
        self,
        caller: Caller,
        charge_id: str,
        *,
        amount: Number | None = None,
        unit: str | None = None,
        reason: str | None = None,
        idempotency_key: str | None,
    ) -> Refund:
        """The operation that ``refund`` posts, for whoever posts it with rows of its own."""
        require_service(caller)
        number = from_text("chg", charge_id)
        with self._context.database.read() as connection:
            owner = (
                None if number is None else journal.owner_of(connection, number, kinds=("charge", "capture"))
            )
        if number is None or owner is None:
            raise errors.NotFound("charge", charge_id)
        if unit is not None:
            self._context.economy().unit(unit)
        micros = None if amount is None else parse_amount(amount)
        return Refund(
            customer_id=owner,
            caller=caller.name,
            charge_id=number,
            amount=micros,
            unit=unit,
            description=check_reason(reason),
            **idempotency_fields(caller, idempotency_key, "refund", (charge_id, micros, unit, reason)),
        )

    def quote(self, caller: Caller, usage: Usage) -> Quote:
        """What the usage would cost, and whether it would be refused now. Nothing is drawn or counted."""
        economy, meter, quantity, parts, hourly = self._pricing.price(usage)
        customer_id = self._customers.address(caller, usage.customer)
        operation = Charge(
            customer_id=customer_id,
            caller=caller.name,
            key_id=caller.key_id,
            key_has_budget=caller.key_has_budget,
            agent=check_text(usage.agent, field="agent", most=200),
            economy=economy.version,
            parts=parts,
            meter=meter.name,
            quantity=quantity,
            also=also_of(usage),
            hourly=hourly,
        )
        trial = self._context.database.transact(
            lambda connection: self._context.ledger.try_out(connection, operation, now=self._context.now())
        )
        totals: dict[str, int] = {}
        for part in parts:
            totals[part.unit] = totals.get(part.unit, 0) + part.amount
        return Quote(
            meter=meter.name,
            quantity=quantity,
            unit=parts[0].unit,
            amount=totals[parts[0].unit],
            amounts=tuple(totals.items()),
            available=trial.available,
            affordable=trial.refusal is None,
            refused_by=None if trial.refusal is None else trial.refusal.code,
            limit=trial.limit,
            economy=economy.version,
        )
