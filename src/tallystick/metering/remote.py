"""Metering by a billing server elsewhere: one round trip before a call and one after it, over connections that are kept."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from tallystick.client import (
    AsyncTallyClient,
    OutcomeUnknown,
    Retries,
    ServerUnreachable,
    TallyClient,
    TallyError,
    Timeouts,
    UnexpectedAnswer,
)
from tallystick.client.requests import Request
from tallystick.client.resources.holds import HoldDetail, HoldEnd, Holds, NewHold
from tallystick.client.resources.prices import Meter, RateCard
from tallystick.core import errors
from tallystick.metering.orders import (
    Answered,
    Away,
    Found,
    GiveBack,
    Look,
    Order,
    Place,
    Placed,
    Prices,
    Receipt,
    Refused,
    Step,
    Take,
    plain,
)
from tallystick.metering.steps import refusal
from tallystick.problem_details import policy_name, rate_limit_headers

# A call waits no longer than this for a server that is away. A client that was made with limits of its own keeps them.
_TIMEOUTS: Final = Timeouts(total_seconds=10, connect_seconds=2)
_RETRIES: Final = Retries(tries=2, first_pause_seconds=0.05)
_PRICES_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 1.0
_SERVER_ERROR: Final = 500
# What is wrong with this server's own key is nothing that its callers did: the server is as good as away.
_OWN_KEY: Final = frozenset({"NOT_AUTHENTICATED", "NOT_ALLOWED"})

log = logging.getLogger(__name__)


class Remote:
    """A billing server, by clients of its own with the settings of the one that is given."""

    is_remote = True

    def __init__(self, client: TallyClient | AsyncTallyClient) -> None:
        given = client.settings
        self._settings = replace(
            given,
            timeouts=_TIMEOUTS if given.timeouts == Timeouts() else given.timeouts,
            retries=_RETRIES if given.retries == Retries() else given.retries,
        )
        self._client = TallyClient.from_settings(self._settings)
        # A client's connections belong to the event loop that it is used in.
        self._clients: dict[
            asyncio.AbstractEventLoop, tuple[AsyncTallyClient, AsyncGenerator[AsyncTallyClient, None]]
        ] = {}
        self._prices: Prices | None = None
        self._prices_due_at = 0.0
        self._prices_refused: Refused | None = None
        self._refreshing = threading.Lock()

    def do(self, step: Step) -> Answered:
        """Answer a step by one request."""
        try:
            answer = self._client.perform(self._request(step))
        except TallyError as error:
            raise _refused(error) from error
        return _answered(step, answer)

    async def do_async(self, step: Step) -> Answered:
        """As ``do``, awaited."""
        client = await self._of_this_loop()
        try:
            answer = await client.perform(self._request(step))
        except TallyError as error:
            raise _refused(error) from error
        return _answered(step, answer)

    async def _of_this_loop(self) -> AsyncTallyClient:
        """The client of the running event loop, which hangs up when the loop ends."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            living = self._living(loop)
            self._clients[loop] = (await anext(living), living)
        return self._clients[loop][0]

    async def _living(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[AsyncTallyClient, None]:
        # A loop that ends lets every generator that was begun in it come to its own end.
        async with AsyncTallyClient.from_settings(self._settings) as client:
            try:
                yield client
            finally:
                del self._clients[loop]

    def _request(self, step: Step) -> Request[Any]:
        holds = self._client.holds
        match step:
            case Place(order=order, key=key, expires_in=seconds):
                return Holds.create.describe(holds, **_asked(order), expires_in=seconds, idempotency_key=key)
            case Look(id=hold):
                return Holds.get.describe(holds, hold)
            case Take(id=hold):
                return Holds.capture.describe(holds, hold, **step.content, idempotency_key=step.key)
            case GiveBack(id=hold, key=key):
                return Holds.release.describe(holds, hold, idempotency_key=key)

    # ------------------------------------------------------------------------------------------------------- the prices

    def prices(self) -> Prices:
        """Those that the server named within the last minute; older ones while they are asked for anew in the background."""
        known = self._known_prices()
        return self._refreshed() if known is None else known

    async def prices_async(self) -> Prices:
        """As ``prices``, awaited."""
        known = self._known_prices()
        return await asyncio.to_thread(self._refreshed) if known is None else known

    def _known_prices(self) -> Prices | None:
        due, known = time.monotonic() >= self._prices_due_at, self._prices
        if known is None:
            if self._prices_refused is not None and not due:
                raise self._prices_refused
            return None
        if due and self._refreshing.acquire(blocking=False):
            threading.Thread(target=self._refresh, name="tallystick-prices", daemon=True).start()
        return known

    def _refresh(self) -> None:
        try:
            self._refreshed()
        except Refused as refused:
            log.warning("the prices could not be asked for anew: %s", refused.detail)
        finally:
            self._refreshing.release()

    def _refreshed(self) -> Prices:
        try:
            card: RateCard = self._client.prices.get()
        except TallyError as error:
            self._prices_refused = _refused(error)
            self._prices_due_at = time.monotonic() + _PAUSE_SECONDS
            raise self._prices_refused from error
        self._prices = {meter.meter: _shown(meter) for meter in card.meters}
        self._prices_due_at = time.monotonic() + _PRICES_SECONDS
        return self._prices

    def close(self) -> None:
        """Hang up; the connections of an event loop end with it."""
        self._client.close()


def _asked(order: Order) -> dict[str, Any]:
    """An order as a hold's arguments."""
    priced: dict[str, Any] = {"meter": order.meter, "quantity": order.quantity}
    if order.meter is None:
        priced = {"amount": order.cost(order.quantity), "unit": order.unit}
    return {
        **priced,
        "customer": order.customer,
        "description": order.description,
        "metadata": dict(order.metadata),
    }


def _answered(step: Step, answer: object) -> Answered:
    match answer:
        case NewHold():
            return Placed(answer.id, answer.replayed)
        case HoldDetail(receipt=None):
            return Found(answer.status)
        case HoldDetail(receipt=made) if made is not None:
            assert isinstance(step, Look)
            receipt = Receipt(
                meter=step.order.meter,
                charged=made.amount,
                unit=made.unit,
                balance=made.balance,
                charge=made.charge,
            )
            return Found(answer.status, receipt, seconds_since(made.created_at))
        case HoldEnd() if isinstance(step, Take):
            return Receipt(
                meter=step.order.meter,
                charged=answer.captured,
                unit=answer.unit,
                balance=answer.balance,
                charge=answer.charge,
            )
    return None


def _shown(meter: Meter) -> Mapping[str, Any]:
    prices = [
        {
            "unit": each.unit,
            "kind": each.kind,
            "flat": plain(each.flat),
            "per_unit": plain(each.per_unit),
        }
        for each in meter.prices
    ]
    return {"meter": meter.meter, "prices": prices, "hourly_limit": meter.hourly_limit}


def _refused(error: TallyError) -> Refused:
    """What the server said, or that it said nothing."""
    own_key = error.code in _OWN_KEY
    if own_key:
        log.error("the billing server refuses the key of this server: %s", error.detail)
    silent = isinstance(error, ServerUnreachable | OutcomeUnknown | UnexpectedAnswer)
    if silent or own_key or (error.status or 0) >= _SERVER_ERROR:
        said = refusal(
            errors.ServiceUnavailable, "the billing server is away: try again", retry_after_seconds=1
        )
        sent = not (own_key or isinstance(error, ServerUnreachable))
        log.warning("the billing server is away: %s", error)
        return Away(said.problem, {"Retry-After": "1"}, was_sent=sent)
    return Refused(error.fields, _headers(error))


def _headers(error: TallyError) -> dict[str, str]:
    """What a refusal's status asks for beside the body, made anew from its facts."""
    facts, wait = error.fields, error.retry_after_seconds
    if error.code == "RATE_LIMITED" and wait is not None:
        name = policy_name(str(facts.get("limit_source")))
        limit, window, remaining = (int(facts[each]) for each in ("limit", "window_seconds", "remaining"))
        return {"Retry-After": str(wait), **rate_limit_headers(name, limit, window, remaining, wait)}
    if error.code == "INSUFFICIENT_CREDITS" and error.reset_at is not None:
        return {"Retry-After": str(max(1, int(-seconds_since(error.reset_at)) + 1))}
    return {}


def seconds_since(moment: datetime) -> float:
    """By the clock of this machine, which is taken to agree with the server's."""
    return (datetime.now(UTC) - moment).total_seconds()
