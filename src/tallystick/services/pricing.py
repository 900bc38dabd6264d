"""Charges, holds and quotes: price a usage by the active economy, then have the ledger draw or reserve it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from tallystick.core import errors
from tallystick.core.adjustments import Refund, RefundResult
from tallystick.core.amounts import MICROS, parse_amount, parse_quantity
from tallystick.core.catalog import Economy, Meter
from tallystick.core.ids import from_text
from tallystick.core.operations import (
    Charge,
    ChargeResult,
    HoldResult,
    Limit,
    Operation,
    Part,
    PlaceHold,
    Resolve,
    ResolveResult,
)
from tallystick.core.rating import rate
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.economies import Economies
from tallystick.services.requests import check_metadata, check_text, idempotency_fields
from tallystick.store import journal, memberships, wallets
from tallystick.store.results import Outcome

Number = Decimal | int | str
Limits = tuple[tuple[str, int, int], ...]  # (meter, limit per hour, calls)
Priced = tuple[Economy, Meter, int, tuple[Part, ...], Limits]

MAX_BATCH: Final = 1000
MAX_PARTS: Final = 20
MAX_PRICES: Final = 10_000
DEFAULT_QUANTITY: Final = 1
DEFAULT_HOLD_SECONDS: Final = 3600
MAX_HOLD_SECONDS: Final = 30 * 86_400


@dataclass(slots=True)
class Usage:
    """What is asked to be priced. ``also`` are further meters, charged in the same transaction or not at all."""

    meter: str
    quantity: Number = 1
    also: Sequence[tuple[str, Number]] = ()
    customer: str | None = None
    agent: str | None = None
    description: str | None = None
    metadata: Mapping[str, Any] | None = None


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


class Pricing:
    """Turns usages into priced operations."""

    def __init__(self, context: Context, customers: Customers, economies: Economies) -> None:
        self._context = context
        self.customers = customers
        self.economies = economies
        self._prices: dict[tuple[str, str, int], Priced] = {}

    def price(self, usage: Usage) -> Priced:
        """The economy and meter, the quantity, the parts to pay, and the hourly limits that count this call."""
        economy = self._context.economy()
        quantity = MICROS if usage.quantity is DEFAULT_QUANTITY else parse_quantity(usage.quantity)
        if not usage.also:
            return self._price_one(economy, usage.meter, quantity)
        meter = economy.meter(usage.meter)
        parts = [
            Part(meter.name, meter.category, rated.unit, rated.amount_micros) for rated in rate(meter, quantity)
        ]
        limits = [] if meter.hourly_limit is None else [(meter.name, meter.hourly_limit, 1)]
        if len(usage.also) > MAX_PARTS:
            raise errors.ValidationFailed([("also", f"expected at most {MAX_PARTS} further meters")])
        for index, (name, further) in enumerate(usage.also):
            other = economy.meter(name)
            amount = parse_quantity(further, field=f"also.{index}.quantity")
            parts += [Part(other.name, other.category, rated.unit, rated.amount_micros) for rated in rate(other, amount)]
            if other.hourly_limit is not None:
                limits.append((other.name, other.hourly_limit, 1))
        return economy, meter, quantity, tuple(parts), _merge_limits(limits)

    def _price_one(self, economy: Economy, name: str, quantity: int) -> Priced:
        """The price of one meter; the prices asked for most are remembered."""
        asked = (economy.version, name, quantity)
        priced = self._prices.get(asked)
        if priced is None:
            meter = economy.meter(name)
            parts = tuple(
                Part(meter.name, meter.category, rated.unit, rated.amount_micros) for rated in rate(meter, quantity)
            )
            limits = () if meter.hourly_limit is None else ((meter.name, meter.hourly_limit, 1),)
            priced = (economy, meter, quantity, parts, limits)
            if len(self._prices) >= MAX_PRICES:
                self._prices.clear()
            self._prices[asked] = priced
        return priced

    def charge(self, caller: Caller, usage: Usage, key: str | None) -> Charge:
        """The operation that charges a usage."""
        economy, meter, quantity, parts, hourly = self.price(usage)
        content = _content(usage, quantity)
        return Charge(
            customer_id=self.customers.resolve(caller, usage.customer),
            caller=caller.name,
            key_id=caller.key_id,
            key_has_budget=caller.key_has_budget,
            agent=check_text(usage.agent, field="agent", most=200),
            description=check_text(usage.description, field="description"),
            metadata=check_metadata(usage.metadata),
            economy=economy.version,
            parts=parts,
            meter=meter.name,
            quantity=quantity,
            hourly=hourly,
            **idempotency_fields(caller, key, "charge", content),
        )

    def hold(self, caller: Caller, usage: Usage, key: str | None, expires_in: int) -> PlaceHold:
        """The operation that reserves the price of a usage."""
        economy, meter, quantity, parts, hourly = self.price(usage)
        return PlaceHold(
            customer_id=self.customers.resolve(caller, usage.customer),
            caller=caller.name,
            key_id=caller.key_id,
            key_has_budget=caller.key_has_budget,
            agent=check_text(usage.agent, field="agent", most=200),
            description=check_text(usage.description, field="description"),
            metadata=check_metadata(usage.metadata),
            economy=economy.version,
            parts=parts,
            meter=meter.name,
            quantity=quantity,
            hourly=hourly,
            maker=caller.scope,
            expires_at=self._expires_at(expires_in),
            **idempotency_fields(caller, key, "hold", (*_content(usage, quantity), expires_in)),
        )

    def hold_amount(  # noqa: PLR0913 - each is a field of the request
        self,
        caller: Caller,
        *,
        customer: str | None,
        amount: Number,
        unit: str | None,
        agent: str | None,
        description: str | None,
        metadata: Mapping[str, Any] | None,
        key: str | None,
        expires_in: int,
    ) -> PlaceHold:
        """The operation that reserves an amount named by the caller."""
        economy = self._context.economy()
        name = economy.unit(unit).name if unit is not None else economy.primary_unit
        micros = parse_amount(amount)
        content = (customer, micros, name, agent, description, metadata, expires_in)
        return PlaceHold(
            customer_id=self.customers.resolve(caller, customer),
            caller=caller.name,
            key_id=caller.key_id,
            key_has_budget=caller.key_has_budget,
            agent=check_text(agent, field="agent", most=200),
            description=check_text(description, field="description"),
            metadata=check_metadata(metadata),
            economy=economy.version,
            parts=(Part("", "hold", name, micros),),
            maker=caller.scope,
            expires_at=self._expires_at(expires_in),
            **idempotency_fields(caller, key, "hold", content),
        )

    def _expires_at(self, expires_in: object) -> int:
        if isinstance(expires_in, bool) or not isinstance(expires_in, int) or not 1 <= expires_in <= MAX_HOLD_SECONDS:
            raise errors.ValidationFailed([("expires_in", f"expected whole seconds from 1 to {MAX_HOLD_SECONDS}")])
        return self._context.now() + expires_in * MICROS

    def refine(self, refusal: errors.Refusal, customer_id: int) -> errors.Refusal:
        """Tell a refused caller where to add credits, and when the next allowance comes if it will be enough."""
        if isinstance(refusal, errors.InsufficientCredits):
            refusal.fields["topup_url"] = f"{self._context.public_url}/billing"
            reset_at = self._enough_at(customer_id, str(refusal.fields["unit"]), refusal.fields["required"])
            refusal.fields["reset_at"], refusal.fields["retryable"] = reset_at, reset_at is not None
        return refusal

    def _enough_at(self, customer_id: int, unit: str, required: object) -> int | None:
        """When the next allowance comes, if ``required`` could be drawn then with what will not have expired."""
        assert isinstance(required, int)
        with self._context.database.read() as connection:
            found = memberships.get(connection, customer_id)
            plan = None if found is None else self._context.economy().plans.get(found.plan)
            allowance = None if plan is None else plan.allowance(unit)
            wallet = wallets.of_customer(connection, customer_id).get(unit)
            if found is None or wallet is None or allowance is None or not allowance.amount_micros:
                return None
            wallets.load_lots(connection, wallet)
        then = wallet.available(found.period_end) + allowance.amount_micros - wallet.debt
        return found.period_end if then >= required else None

    def finish(self, operation: Operation, outcome: Outcome) -> Answer[Any]:
        """The answer, or the refusal with what helps the caller."""
        if outcome.refusal is not None:
            raise self.refine(outcome.refusal, operation.customer_id)
        return Answer(outcome.result, outcome.replayed)

    async def finish_async(self, operation: Operation, outcome: Outcome) -> Answer[Any]:
        """As ``finish``, without blocking the loop."""
        if outcome.refusal is not None:
            raise await asyncio.to_thread(self.refine, outcome.refusal, operation.customer_id)
        return Answer(outcome.result, outcome.replayed)


def _merge_limits(limits: list[tuple[str, int, int]]) -> tuple[tuple[str, int, int], ...]:
    merged: dict[str, tuple[int, int]] = {}
    for meter, limit, count in limits:
        merged[meter] = (limit, merged.get(meter, (limit, 0))[1] + count)
    return tuple((meter, limit, count) for meter, (limit, count) in merged.items())


def _content(usage: Usage, quantity: int) -> tuple[object, ...]:
    """What was asked, in a fixed order; numbers that are equal are the same request, however they were written."""
    also = [(meter, parse_quantity(further)) for meter, further in usage.also] if usage.also else ()
    return (usage.customer, usage.meter, quantity, also, usage.agent, usage.description, usage.metadata)


def _micros(value: Number | None, *, allow_zero: bool = True) -> int | None:
    return None if value is None else parse_amount(value, allow_zero=allow_zero)


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

    async def create_async(self, caller: Caller, usage: Usage, *, idempotency_key: str | None) -> Answer[ChargeResult]:
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
        require_service(caller)
        number = from_text("chg", charge_id)
        with self._context.database.read() as connection:
            owner = None if number is None else journal.owner_of(connection, number, kinds=("charge", "capture"))
        if number is None or owner is None:
            raise errors.NotFound("charge", charge_id)
        if unit is not None:
            self._context.economy().unit(unit)
        micros = None if amount is None else parse_amount(amount)
        operation = Refund(
            customer_id=owner,
            caller=caller.name,
            charge_id=number,
            amount=micros,
            unit=unit,
            description=check_text(reason, field="reason"),
            **idempotency_fields(caller, idempotency_key, "refund", (charge_id, micros, unit, reason)),
        )
        return self._pricing.finish(operation, self._context.commit.run(operation))

    def quote(self, caller: Caller, usage: Usage) -> Quote:
        """What the usage would cost, and whether it would be refused now. Nothing is drawn or counted."""
        economy, meter, quantity, parts, hourly = self._pricing.price(usage)
        customer_id = self._customers.resolve(caller, usage.customer)
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


class Holds:
    """Reserve, capture, release."""

    def __init__(self, context: Context, pricing: Pricing) -> None:
        self._context = context
        self._pricing = pricing

    def create(
        self, caller: Caller, usage: Usage, *, idempotency_key: str | None, expires_in: int = DEFAULT_HOLD_SECONDS
    ) -> Answer[HoldResult]:
        """Reserve the price of a usage."""
        operation = self._pricing.hold(caller, usage, idempotency_key, expires_in)
        return self._pricing.finish(operation, self._context.commit.run(operation))

    async def create_async(
        self, caller: Caller, usage: Usage, *, idempotency_key: str | None, expires_in: int = DEFAULT_HOLD_SECONDS
    ) -> Answer[HoldResult]:
        """As ``create``, awaited."""
        await self._pricing.customers.look_up(usage.customer)
        operation = self._pricing.hold(caller, usage, idempotency_key, expires_in)
        return await self._pricing.finish_async(operation, await self._context.commit.run_async(operation))

    def create_amount(
        self,
        caller: Caller,
        *,
        amount: Number,
        unit: str | None = None,
        customer: str | None = None,
        agent: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None,
        expires_in: int = DEFAULT_HOLD_SECONDS,
    ) -> Answer[HoldResult]:
        """Reserve an amount."""
        operation = self._pricing.hold_amount(
            caller,
            customer=customer,
            amount=amount,
            unit=unit,
            agent=agent,
            description=description,
            metadata=metadata,
            key=idempotency_key,
            expires_in=expires_in,
        )
        return self._pricing.finish(operation, self._context.commit.run(operation))

    def capture(
        self,
        caller: Caller,
        hold_id: str,
        *,
        amount: Number | None = None,
        quantity: Number | None = None,
        idempotency_key: str | None,
    ) -> Answer[ResolveResult]:
        """Take what was used: an amount, the price of a quantity, or, with neither, all that was held."""
        operation = self._resolve(caller, hold_id, capture=(amount, quantity), key=idempotency_key)
        return self._pricing.finish(operation, self._context.commit.run(operation))

    async def capture_async(
        self,
        caller: Caller,
        hold_id: str,
        *,
        amount: Number | None = None,
        quantity: Number | None = None,
        idempotency_key: str | None,
    ) -> Answer[ResolveResult]:
        """As ``capture``, awaited."""
        capture = (amount, quantity)
        operation = await asyncio.to_thread(
            self._resolve, caller, hold_id, capture=capture, key=idempotency_key
        )
        return await self._pricing.finish_async(operation, await self._context.commit.run_async(operation))

    def release(self, caller: Caller, hold_id: str, *, idempotency_key: str | None) -> Answer[ResolveResult]:
        """Give everything back."""
        operation = self._resolve(caller, hold_id, capture=None, key=idempotency_key)
        return self._pricing.finish(operation, self._context.commit.run(operation))

    async def release_async(
        self, caller: Caller, hold_id: str, *, idempotency_key: str | None
    ) -> Answer[ResolveResult]:
        """As ``release``, awaited."""
        operation = await asyncio.to_thread(self._resolve, caller, hold_id, capture=None, key=idempotency_key)
        return await self._pricing.finish_async(operation, await self._context.commit.run_async(operation))

    def _resolve(
        self, caller: Caller, hold_id: str, *, capture: tuple[Number | None, Number | None] | None, key: str | None
    ) -> Resolve:
        number = from_text("hold", hold_id)
        with self._context.database.read() as connection:
            terms = None if number is None else journal.hold_terms(connection, number)
        visible = terms is not None and (caller.is_service or terms.customer_id == caller.customer_id)
        if number is None or terms is None or not visible:
            raise errors.NotFound("hold", hold_id)
        if terms.maker != caller.scope and not caller.is_admin:
            raise errors.NotAllowed("a hold is captured or released by whoever made it, or by an admin")
        amounts, quantity = (None, None) if capture is None else self._captured(terms, *capture)
        kind = "release" if capture is None else "capture"
        content = (hold_id, None if capture is None else [_micros(each) for each in capture])
        return Resolve(
            customer_id=terms.customer_id,
            caller=caller.name,
            key_id=caller.key_id,
            key_has_budget=caller.key_has_budget,
            agent=terms.agent,
            hold_id=number,
            maker=caller.scope,
            is_admin=caller.is_admin,
            amounts=amounts,
            quantity=quantity,
            **idempotency_fields(caller, key, kind, content),
        )

    def _captured(
        self, terms: journal.HoldTerms, amount: Number | None, quantity: Number | None
    ) -> tuple[tuple[tuple[str, int], ...], int | None]:
        if amount is not None and quantity is not None:
            raise errors.ValidationFailed([("quantity", "expected either an amount or a quantity, not both")])
        if amount is not None:
            if len(terms.amounts) > 1:
                message = "expected a quantity: this hold is in several units"
                raise errors.ValidationFailed([("amount", message)])
            return ((terms.amounts[0][0], parse_amount(amount, allow_zero=True)),), None
        if quantity is None:
            return terms.amounts, None
        if terms.meter is None:
            raise errors.ValidationFailed([("quantity", "expected an amount: this hold has no meter")])
        micros = parse_quantity(quantity)
        economy = self._context.economy() if terms.economy is None else self._pricing.economies.at(terms.economy)
        meter = economy.meter(terms.meter)
        totals: dict[str, int] = {unit: 0 for unit, _ in terms.amounts}
        for rated in rate(meter, micros):
            totals[rated.unit] = totals.get(rated.unit, 0) + rated.amount_micros
        return tuple(totals.items()), micros


def require_service(caller: Caller) -> None:
    """Only services and admins go on."""
    if not caller.is_service:
        raise errors.NotAllowed("this is for services and admins")


__all__ = ["Charges", "Holds", "Pricing", "Quote", "Usage", "require_service"]
