"""Pricing: a usage becomes an operation of the ledger, priced by the active economy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from tallystick.core import errors
from tallystick.core.amounts import MICROS, parse_amount, parse_quantity
from tallystick.core.catalog import Economy, Meter
from tallystick.core.operations import (
    Charge,
    Operation,
    Part,
    PlaceHold,
)
from tallystick.core.rating import rate
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.economies import Economies
from tallystick.services.requests import check_metadata, check_text, idempotency_fields
from tallystick.store import memberships, wallets
from tallystick.store.results import Outcome

Number = Decimal | int | str
Limits = tuple[tuple[str, int, int], ...]  # (meter, limit per hour, calls)
Priced = tuple[Economy, Meter, int, tuple[Part, ...], Limits]

MAX_PARTS: Final = 20
MAX_PRICES: Final = 10_000
DEFAULT_QUANTITY: Final = 1
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
            Part(meter.name, meter.category, rated.unit, rated.amount_micros)
            for rated in rate(meter, quantity)
        ]
        limits = [] if meter.hourly_limit is None else [(meter.name, meter.hourly_limit, 1)]
        if len(usage.also) > MAX_PARTS:
            raise errors.ValidationFailed([("also", f"expected at most {MAX_PARTS} further meters")])
        for index, (name, further) in enumerate(usage.also):
            other = economy.meter(name)
            amount = parse_quantity(further, field=f"also.{index}.quantity")
            parts += [
                Part(other.name, other.category, rated.unit, rated.amount_micros)
                for rated in rate(other, amount)
            ]
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
                Part(meter.name, meter.category, rated.unit, rated.amount_micros)
                for rated in rate(meter, quantity)
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
            customer_id=self.customers.address(caller, usage.customer),
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
            also=also_of(usage),
            hourly=hourly,
            **idempotency_fields(caller, key, "charge", content),
        )

    def hold(self, caller: Caller, usage: Usage, key: str | None, expires_in: int) -> PlaceHold:
        """The operation that reserves the price of a usage."""
        economy, meter, quantity, parts, hourly = self.price(usage)
        return PlaceHold(
            customer_id=self.customers.address(caller, usage.customer),
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
            also=also_of(usage),
            hourly=hourly,
            maker=caller.scope,
            expires_at=self._expires_at(expires_in),
            **idempotency_fields(caller, key, "hold", (*_content(usage, quantity), expires_in)),
        )

    def hold_amount(
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
            customer_id=self.customers.address(caller, customer),
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
        if (
            isinstance(expires_in, bool)
            or not isinstance(expires_in, int)
            or not 1 <= expires_in <= MAX_HOLD_SECONDS
        ):
            raise errors.ValidationFailed(
                [("expires_in", f"expected whole seconds from 1 to {MAX_HOLD_SECONDS}")]
            )
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


def also_of(usage: Usage) -> tuple[tuple[str, int], ...]:
    """The further meters of a usage, with their quantities."""
    return tuple([(meter, parse_quantity(further)) for meter, further in usage.also]) if usage.also else ()


def _content(usage: Usage, quantity: int) -> tuple[object, ...]:
    """What was asked, in a fixed order; numbers that are equal are the same request, however they were written."""
    return (
        usage.customer,
        usage.meter,
        quantity,
        also_of(usage),
        usage.agent,
        usage.description,
        usage.metadata,
    )


def require_service(caller: Caller) -> None:
    """Only services and admins go on."""
    if not caller.is_service:
        raise errors.NotAllowed("this is for services and admins")
