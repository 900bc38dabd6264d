"""Holds: reserve the price of a usage or an amount, capture what was used, release the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from tallystick.core import errors
from tallystick.core.amounts import parse_amount, parse_quantity
from tallystick.core.ids import from_text
from tallystick.core.operations import (
    HoldResult,
    PlaceHold,
    Resolve,
    ResolveResult,
)
from tallystick.core.rating import rate
from tallystick.core.sandboxes import MAKER as SANDBOX_MAKER
from tallystick.core.tasks import MAKER
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.pricing import Number, Pricing, Usage
from tallystick.services.requests import idempotency_fields
from tallystick.store import holds, journal

DEFAULT_HOLD_SECONDS: Final = 3600
MAX_REMEMBERED: Final = 10_000


class Holds:
    """Reserve, capture, release."""

    def __init__(self, context: Context, pricing: Pricing) -> None:
        self._context = context
        self._pricing = pricing
        # The terms of holds made here, which never change: whoever makes a hold resolves it soon.
        self._terms: dict[int, journal.HoldTerms] = {}

    def create(
        self,
        caller: Caller,
        usage: Usage,
        *,
        idempotency_key: str | None,
        expires_in: int = DEFAULT_HOLD_SECONDS,
    ) -> Answer[HoldResult]:
        """Reserve the price of a usage."""
        operation = self._pricing.hold(caller, usage, idempotency_key, expires_in)
        answer = self._pricing.finish(operation, self._context.commit.run(operation))
        return self._remembered(operation, answer)

    async def create_async(
        self,
        caller: Caller,
        usage: Usage,
        *,
        idempotency_key: str | None,
        expires_in: int = DEFAULT_HOLD_SECONDS,
    ) -> Answer[HoldResult]:
        """As ``create``, awaited."""
        await self._pricing.customers.look_up(usage.customer)
        operation = self._pricing.hold(caller, usage, idempotency_key, expires_in)
        answer = await self._pricing.finish_async(operation, await self._context.commit.run_async(operation))
        return self._remembered(operation, answer)

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
        operation = await self._resolve_async(
            caller, hold_id, capture=(amount, quantity), key=idempotency_key
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
        operation = await self._resolve_async(caller, hold_id, capture=None, key=idempotency_key)
        return await self._pricing.finish_async(operation, await self._context.commit.run_async(operation))

    def outcome(self, caller: Caller, hold_id: str) -> tuple[str, int | None]:
        """What became of a hold: open, captured, released or expired; and the charge that it became. Raises ``NotFound``."""
        number = from_text("hold", hold_id)
        with self._context.database.read() as connection:
            found = None if number is None else holds.outcome_of(connection, number)
        if found is None or not (caller.is_service or found.customer_id == caller.customer_id):
            raise errors.NotFound("hold", hold_id)
        return found.status, found.resolved_by if found.status == "captured" else None

    def _remembered(self, operation: PlaceHold, answer: Answer[HoldResult]) -> Answer[HoldResult]:
        made = answer.value
        if len(self._terms) >= MAX_REMEMBERED:
            self._terms.clear()
        self._terms[made.id] = journal.HoldTerms(
            made.customer_id,
            operation.maker,
            made.meter,
            operation.agent,
            made.economy,
            made.amounts,
            made.also,
        )
        return answer

    async def _resolve_async(
        self,
        caller: Caller,
        hold_id: str,
        *,
        capture: tuple[Number | None, Number | None] | None,
        key: str | None,
    ) -> Resolve:
        """As ``_resolve``: in a thread only where the database has to be asked."""
        if from_text("hold", hold_id) in self._terms:
            return self._resolve(caller, hold_id, capture=capture, key=key)
        return await asyncio.to_thread(self._resolve, caller, hold_id, capture=capture, key=key)

    def _resolve(
        self,
        caller: Caller,
        hold_id: str,
        *,
        capture: tuple[Number | None, Number | None] | None,
        key: str | None,
    ) -> Resolve:
        number = from_text("hold", hold_id)
        terms = None if number is None else self._terms_of(number)
        visible = terms is not None and (caller.is_service or terms.customer_id == caller.customer_id)
        if number is None or terms is None or not visible:
            raise errors.NotFound("hold", hold_id)
        if terms.maker.startswith(MAKER):
            raise errors.Conflict("the hold of a task ends with the task: complete, fail or cancel that")
        if terms.maker.startswith(SANDBOX_MAKER):
            raise errors.Conflict("the hold of a sandbox ends with the sandbox: stop that")
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

    def _terms_of(self, number: int) -> journal.HoldTerms | None:
        known = self._terms.pop(number, None)  # nobody needs them twice, but for a repeat
        if known is not None:
            return known
        with self._context.database.read() as connection:
            return journal.hold_terms(connection, number)

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
        if terms.also:
            message = "expected nothing: a hold of several meters is captured whole"
            raise errors.ValidationFailed([("quantity", message)])
        if terms.meter is None:
            raise errors.ValidationFailed([("quantity", "expected an amount: this hold has no meter")])
        micros = parse_quantity(quantity)
        economy = (
            self._context.economy() if terms.economy is None else self._pricing.economies.at(terms.economy)
        )
        meter = economy.meter(terms.meter)
        totals: dict[str, int] = {unit: 0 for unit, _ in terms.amounts}
        for rated in rate(meter, micros):
            totals[rated.unit] = totals.get(rated.unit, 0) + rated.amount_micros
        return tuple(totals.items()), micros


def _micros(value: Number | None, *, allow_zero: bool = True) -> int | None:
    return None if value is None else parse_amount(value, allow_zero=allow_zero)
