"""Holding and capturing for a metered call, by the services of this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import anyio.to_thread

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.catalog import Meter
from tallystick.core.ids import to_text
from tallystick.core.times import MINUTE
from tallystick.metering.rules import Quantity
from tallystick.services.context import Caller
from tallystick.services.keys import scope_of_service
from tallystick.services.pricing import Usage

HELD_SECONDS: Final = 3600  # what a killed call held comes back after that
REPEATS_FOR: Final = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a call cost: amounts in micro-units."""

    charged: int
    unit: str
    balance: int
    charge: str
    meter: str


@dataclass(frozen=True, slots=True)
class Held:
    """Credits that wait for the end of a call. With a ``receipt``, the call was charged before under the same key."""

    id: str
    usage: Usage
    key: str
    receipt: Receipt | None = None


class Billing:
    """Charges for calls as a service, which may hold credits of any customer."""

    def __init__(self, tally: Tally, *, name: str = "metering") -> None:
        self._tally = tally
        self._caller = Caller(role="service", scope=scope_of_service(name), name=name)

    @property
    def meters(self) -> Mapping[str, Meter]:
        """The economy's meters by their names."""
        return self._tally.context.economy().meters

    async def hold(self, usage: Usage, *, key: str) -> Held:
        """Hold the price of a call. Raises a ``Refusal``: then nothing is held.

        A key that was used before gives the same hold while that is open, and its receipt for ten minutes after it was
        captured. When it was given back, because that call had come to nothing, the next try holds anew.
        """
        own, attempt = key, 1
        while True:
            answer = await self._tally.holds.create_async(
                self._caller, usage, idempotency_key=own, expires_in=HELD_SECONDS
            )
            held = Held(to_text("hold", answer.value.id), usage, key)
            if not answer.replayed:
                return held
            status, charge_id = await anyio.to_thread.run_sync(
                self._tally.holds.outcome, self._caller, held.id
            )
            if status == "open":
                return held
            if charge_id is not None:
                return await anyio.to_thread.run_sync(self._charged_before, held, charge_id)
            attempt += 1
            own = f"{key}:{attempt}"

    def _charged_before(self, held: Held, charge_id: int) -> Held:
        found = self._tally.explain.charge(self._caller, to_text("chg", charge_id))
        if self._tally.context.now() - found.created_at > REPEATS_FOR:
            raise errors.Conflict(
                "the call with this idempotency key is done: send a new key with a new call"
            )
        receipt = Receipt(
            found.amount, found.unit, found.balance, to_text("chg", charge_id), held.usage.meter
        )
        return replace(held, receipt=receipt)

    async def capture(self, held: Held, *, quantity: Quantity | None) -> Receipt:
        """Charge for a call, once however often it is repeated; ``quantity`` is what was used, at most what was held.

        What was held may have come back meanwhile, because the call took too long or another with its key failed: then
        it is charged for anew.
        """
        if held.receipt is not None:
            return held.receipt
        used = None if quantity is None else min(quantity, held.usage.quantity, key=float)
        try:
            answer = await self._tally.holds.capture_async(
                self._caller, held.id, quantity=used, idempotency_key=f"{held.id}:end"
            )
        except errors.HoldNotOpen:
            again = await self.hold(held.usage, key=held.key)
            if again.id == held.id:
                raise
            return await self.capture(again, quantity=quantity)
        done = answer.value
        return Receipt(done.captured, done.unit, done.balance, to_text("chg", done.id), held.usage.meter)

    async def release(self, held: Held) -> None:
        """Give back what was held for a call that came to nothing."""
        if held.receipt is None:
            await self._tally.holds.release_async(self._caller, held.id, idempotency_key=f"{held.id}:back")
