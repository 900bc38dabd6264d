"""Metering: what every adapter puts around a call. Hold before it, capture after it, give back what came to nothing.

- A call whose credits could not be held does not run, unless its rule says what to do while the server is away.
- A call that ran is charged, once. If the server went away meanwhile, its customer has the result at once, what was
  held for it stays held, and the charge is settled in the background as soon as the server is back.
- Whatever ends in the middle leaves a hold at most, which is undone in the background, or ends by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from tallystick.client import AsyncTallyClient, TallyClient
from tallystick.core import errors
from tallystick.metering import steps
from tallystick.metering.orders import Away, Backend, Held, Order, Prices, Receipt, Refused, Step
from tallystick.metering.remote import Remote
from tallystick.metering.rules import Lease, Quantity, Rule
from tallystick.metering.settling import Settler
from tallystick.metering.steps import Steps, refusal
from tallystick.metering.unsettled import Unsettled

if TYPE_CHECKING:
    from tallystick.bootstrap import Tally

HOLD_SECONDS: Final = 3600  # what a killed call held comes back after that
_PAUSE_SECONDS: Final = 1.0  # a server that is away is not asked again by each call

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Write:
    """A step of our own: something that waits for a disk."""

    work: Callable[[], Any]


class Metering:
    """Charges for calls. Share one among adapters that are in front of the same server.

    ``source`` is a client of a billing server, as a service for calls of any customer, or an embedded ``Tally``.
    ``unsettled_file`` keeps what could not be told to the server while it was away, beyond the end of this process; it is
    needed where a rule lends. ``hold_seconds`` is how long a call may take.
    """

    def __init__(
        self,
        source: Tally | TallyClient | AsyncTallyClient,
        *,
        unsettled_file: Path | str | None = None,
        hold_seconds: int = HOLD_SECONDS,
    ) -> None:
        self._backend = _backend_of(source)
        self._seconds = hold_seconds
        self._unsettled = Unsettled(unsettled_file)
        self.lends = unsettled_file is not None
        self._settler = Settler(self._unsettled, self._backend.do, hold_seconds=hold_seconds)
        self._contact_at: float | None = None
        self._paused_until = 0.0
        self._settler.wake()

    @classmethod
    def of(cls, source: Metering | Tally | TallyClient | AsyncTallyClient) -> Metering:
        """The same, or a new one in front of a client or an embedded Tally."""
        return source if isinstance(source, Metering) else cls(source)

    def check(self, rule: Rule) -> None:
        """Raise ``ConfigurationError`` for a rule that lends where nothing can be written down."""
        if isinstance(rule.when_away, Lease) and not self.lends:
            raise errors.ConfigurationError(
                "expected Metering(…, unsettled_file=…) for a rule that lends while the server is away"
            )

    # ------------------------------------------------------------------------------------------ before and after a call

    def begin(self, rule: Rule, order: Order) -> Held | None:
        """Hold what a call costs; None where it runs for nothing. Raises ``Refused``: then it must not run."""
        try:
            return steps.run(self._begin(rule, order), self._do)
        except Exception:
            raise
        except BaseException:
            self._undo(order)
            raise

    async def begin_async(self, rule: Rule, order: Order) -> Held | None:
        """As ``begin``, awaited."""
        try:
            return await steps.run_async(self._begin(rule, order), self._do_async)
        except Exception:
            raise
        except BaseException:
            # Cancelled in the middle: a hold may be there that nobody waits for.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._undo, order)
            raise

    def end(self, held: Held, quantity: Quantity | None = None) -> Receipt:
        """Charge for a call that is done: what was held, or the ``quantity`` that was used. Raises ``Refused``."""
        return steps.run(self._end(held, quantity), self._do)

    async def end_async(self, held: Held, quantity: Quantity | None = None) -> Receipt:
        """As ``end``, awaited, and not to be cancelled."""
        with anyio.CancelScope(shield=True):
            receipt = await steps.run_async(self._end(held, quantity), self._do_async)
        return receipt  # noqa: RET504 - the scope ends first

    def give_back(self, held: Held) -> None:
        """Give back what was held for a call that came to nothing."""
        steps.run(self._give_back(held), self._do)

    async def give_back_async(self, held: Held) -> None:
        """As ``give_back``, awaited, and not to be cancelled."""
        with anyio.CancelScope(shield=True):
            await steps.run_async(self._give_back(held), self._do_async)

    def _begin(self, rule: Rule, order: Order) -> Steps[Held | None]:
        if order.is_free:
            return None
        try:
            if time.monotonic() < self._paused_until:
                raise _away()
            return (yield from steps.hold(order, expires_in=self._seconds))
        except Away as away:
            if away.was_sent:
                yield _Write(lambda: self._undo(order))
            if isinstance(rule.when_away, Lease):
                lease = rule.when_away
                held: Held = yield _Write(lambda: self._lend(order, lease))
                return held
            if rule.when_away == "closed":
                raise
            log.warning("a call runs uncharged, because the billing server is away: %s", order.description)
            return None

    def _end(self, held: Held, quantity: Quantity | None) -> Steps[Receipt]:
        if held.receipt is not None:
            return held.receipt
        if held.loan is None:
            try:
                return (yield from steps.capture(held, quantity, expires_in=self._seconds))
            except Away:
                log.warning("a charge is settled later, because the billing server is away: hold %s", held.id)
        yield _Write(lambda: self._owe(held, quantity))
        used = held.order.quantity if quantity is None else min(quantity, held.order.quantity)
        return Receipt(meter=held.order.meter, quantity=used, pending=True)

    def _give_back(self, held: Held) -> Steps[None]:
        if held.loan is not None:
            loan = held.loan
            yield _Write(lambda: self._give_back_loan(loan))
            return
        try:
            yield from steps.give_back(held)
        except Away:
            yield _Write(lambda: self._undo(held.order))
        except Refused as refused:
            # It comes back by itself when the hold expires.
            log.warning("hold %s could not be given back: %s", held.id, refused.detail)

    def _lend(self, order: Order, lease: Lease) -> Held:
        return self._unsettled.lend(order, lease, contact_at=self._contact_at, running_seconds=self._seconds)

    def _give_back_loan(self, loan: int) -> None:
        self._unsettled.give_back(loan)
        self._settler.wake()

    def _owe(self, held: Held, quantity: Quantity | None) -> None:
        self._unsettled.owe(held, quantity)
        self._settler.wake()

    def _undo(self, order: Order) -> None:
        self._unsettled.undo(order)
        self._settler.wake()

    # ---------------------------------------------------------------------------------------------- prices, and the end

    def prices(self) -> Prices:
        """The meters' prices by their names. Raises ``Away``."""
        return self._backend.prices()

    async def prices_async(self) -> Prices:
        """As ``prices``, awaited."""
        return await self._backend.prices_async()

    def settle(self) -> dict[str, int]:
        """Tell the server now what it was away for; gives how much still waits, by state (``owed``, ``refused``, …)."""
        self._settler.settle(everything=True)
        return self._unsettled.counts()

    def close(self) -> None:
        """Settle what can be settled, and let go. The client or Tally stays open."""
        self._settler.close()
        self._backend.close()
        self._unsettled.close()

    # -------------------------------------------------------------------------------------------------------- the steps

    def _do(self, step: Step | _Write) -> object:
        if isinstance(step, _Write):
            return step.work()
        try:
            answer = self._backend.do(step)
        except Away:
            self._pause()
            raise
        self._contact_at = time.time()
        return answer

    async def _do_async(self, step: Step | _Write) -> object:
        if isinstance(step, _Write):
            return await anyio.to_thread.run_sync(step.work)
        try:
            answer = await self._backend.do_async(step)
        except Away:
            self._pause()
            raise
        self._contact_at = time.time()
        return answer

    def _pause(self) -> None:
        if self._backend.is_remote:
            self._paused_until = time.monotonic() + _PAUSE_SECONDS


def _away() -> Away:
    said = refusal(errors.ServiceUnavailable, "the billing server is away: try again", retry_after_seconds=1)
    return Away(said.problem, {"Retry-After": "1"}, was_sent=False)


def _backend_of(source: Tally | TallyClient | AsyncTallyClient) -> Backend:
    """The way to the server. What a client's process need not have is imported last."""
    if isinstance(source, TallyClient | AsyncTallyClient):
        return Remote(source)
    from tallystick.bootstrap import Tally  # noqa: PLC0415
    from tallystick.metering.embedded import Embedded  # noqa: PLC0415

    if not isinstance(source, Tally):
        raise errors.ConfigurationError(
            f"expected a TallyClient, an AsyncTallyClient or a Tally, found {source!r}"
        )
    return Embedded(source)
