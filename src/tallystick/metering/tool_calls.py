"""Charging for the calls of MCP tools, whichever library serves them: an adapter says how its results are read and made."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Generic, Protocol, TypeVar

import anyio

from tallystick.core import errors
from tallystick.metering.metering import Metering
from tallystick.metering.orders import Held, Order, Receipt, Refused, plain
from tallystick.metering.rules import Rule, rule_in
from tallystick.metering.steps import REPEATS_FOR_SECONDS, order_of, refusal
from tallystick.plain_json import RECEIPT

FIRST_MODERN: Final = "2026-07-28"  # of the protocol: without sessions, and a server asks nothing by itself
_MOST_KEPT: Final = 256
_NO_PRICE: Final = "the price of this tool cannot be read: tell its operator"
_NOT_FACTS: Final = frozenset({"type", "title", "status", "request_id", "code", "detail"})

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Within:
    """A metered call, and whether it still runs: what it left running pays for itself afterwards."""

    runs: bool = True


# A tool that calls another, and a server that is mounted in another, run the middleware again within one call.
_inside: ContextVar[_Within | None] = ContextVar("tallystick_metered", default=None)
_OPERATORS: Final = frozenset({"UNKNOWN_METER", "UNKNOWN_UNIT"})  # nothing that a caller can do about

R = TypeVar("R")
Customer = Callable[[], str | None] | str | None
Rules = Mapping[str, Rule] | Callable[[str], Rule | None]
Later = Callable[[], Awaitable[R | None]]  # gives a task's result, or None where it came to nothing


class Form(Protocol[R]):
    """How a library's tool results are read and made."""

    def refused(self, error: Mapping[str, Any]) -> R:
        """An error result that says ``{"error": …}``, as structured content and as text."""

    def is_final(self, result: R) -> bool:
        """Whether this is the end of a call, and no question back. A task that nobody can follow is an end."""

    def later(self, result: R) -> Later[R] | None:
        """Where a task has begun whose end can be seen: what waits for it; None for everything else."""

    def is_error(self, result: R) -> bool:
        """Whether the tool answered with an error."""

    def content(self, result: R) -> object:
        """What a path finds under ``result``: the structured content, else the text."""

    def with_meta(self, result: R, name: str, value: Mapping[str, Any]) -> R:
        """The result with one more entry in its ``_meta``."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as it came: ``key`` is the client's idempotency key."""

    name: str
    arguments: Mapping[str, Any]
    key: str | None


@dataclass(slots=True)
class _Turn:
    """Whose turn it is among the calls with one key."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    waiting: int = 0


class ToolCharges(Generic[R]):
    """The rules of a server's tools, and the charging of their calls."""

    def __init__(self, metering: Metering, form: Form[R], *, rules: Rules | None, customer: Customer) -> None:
        self._metering, self._form, self._customer = metering, form, customer
        self._rule_of = rules if callable(rules) else None
        self._rules = {} if rules is None or callable(rules) else dict(rules)
        self._kept: OrderedDict[str, tuple[float, R]] = OrderedDict()
        self._following: set[asyncio.Task[None]] = set()
        self._turns: dict[str, _Turn] = {}
        for name, rule in self._rules.items():
            self._check(rule, name)

    def _check(self, rule: Rule, name: str) -> Rule:
        if rule.charges_statuses:
            raise errors.ConfigurationError(f"{name}: expected charge_on of a tool to be success or always")
        self._metering.check(rule)
        return rule

    async def price(self, name: str, meta: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """What a tool costs, as shown in the list; None where that is nothing, or not known now."""
        try:
            rule = await self._rule(name, meta)
            if rule is None:
                return None
            if rule.meter is not None:
                shown = dict((await self._metering.prices_async())[rule.meter])
                fixed = None if callable(rule.quantity) or isinstance(rule.quantity, str) else rule.quantity
                return shown if fixed in {None, 1} else {**shown, "quantity": plain(fixed)}
            return {"meter": None, "prices": [_line(rule)], "hourly_limit": None}
        except (Refused, errors.ConfigurationError, KeyError):
            return None

    async def call(
        self,
        call: ToolCall,
        meta: Callable[[], Awaitable[Mapping[str, Any] | None]],
        work: Callable[[], Awaitable[R]],
    ) -> R:
        """Make a call and charge for it, or refuse before anything was done. ``meta`` gives the tool's own."""
        around = _inside.get()
        if around is not None and around.runs:
            return await work()
        try:
            known = self._rule_of is not None or call.name in self._rules
            rule = await self._rule(call.name, None if known else await meta())
            order = None if rule is None else self._order(call, rule)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was done
            return self._not_made(call, error)
        if rule is None or order is None:
            return await work()
        if call.key is None:
            return await self._charged(call, rule, order, work)
        async with self._turn(order.key):
            return await self._charged(call, rule, order, work)

    async def _charged(self, call: ToolCall, rule: Rule, order: Order, work: Callable[[], Awaitable[R]]) -> R:
        try:
            held = await self._metering.begin_async(rule, order)
        except Exception as error:  # noqa: BLE001 - as above
            return self._not_made(call, error)
        if held is not None and held.receipt is not None and (kept := self._kept_for(order)) is not None:
            return kept
        within = _Within()
        mark = _inside.set(within)
        try:
            return await (work() if held is None else self._run(call, rule, held, work))
        finally:
            within.runs = False
            _inside.reset(mark)

    def _not_made(self, call: ToolCall, error: Exception) -> R:
        if isinstance(error, Refused) and error.code in _OPERATORS:
            log.error("%s is not served: %s", call.name, error.detail)
            error = refusal(errors.ConfigurationError, _NO_PRICE)
        if isinstance(error, Refused):
            return self._form.refused(error_of(error))
        # What it says may be nobody's business, and some clients would be told.
        log.error("%s is not served: its charge failed", call.name, exc_info=error)
        detail = "this call could not be charged, and was not made"
        return self._form.refused({"code": "internal_error", "detail": detail})

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[None]:
        """One call with a key at a time: a repeat waits for the first, and gets what that one got."""
        turn = self._turns.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(key, None)

    async def _rule(self, name: str, meta: Mapping[str, Any] | None) -> Rule | None:
        try:
            if self._rule_of is not None:
                rule = self._rule_of(name)
                return None if rule is None else self._check(rule, name)
            rule = self._rules.get(name)
            if rule is None and (rule := rule_in(meta)) is not None:
                self._check(rule, name)
        except errors.ConfigurationError as error:
            log.error("%s is not served: its price cannot be read: %s", name, error.detail)  # noqa: TRY400
            raise refusal(errors.ConfigurationError, _NO_PRICE) from error
        if rule is None and name in await self._metering.prices_async():
            rule = Rule(meter=name)
        return rule

    def _order(self, call: ToolCall, rule: Rule) -> Order:
        customer = self._customer() if callable(self._customer) else self._customer
        if customer is None and self._customer is not None:
            message = "this tool has a price, and nobody is there to pay: send an access token"
            raise refusal(errors.NotAuthenticated, message)
        return order_of(
            rule,
            call.arguments,
            {"arguments": call.arguments},
            # Digested, so that no name of a customer and no key of a client can stand for another's.
            key=f"mcp:{digest([customer, call.key or secrets.token_urlsafe()])}",
            customer=customer,
            description=call.name,
            # So that a key is only ever good for the same call.
            metadata={"arguments": digest(call.arguments)},
        )

    async def _run(self, call: ToolCall, rule: Rule, held: Held, work: Callable[[], Awaitable[R]]) -> R:
        """Whatever ends the call, what was held is captured or given back before anybody hears of it."""
        settled = False
        try:
            result = await work()
            later = self._form.later(result)
            if later is not None:
                settled = True
                self._follow(call, rule, held, later)
                return result
            settled, result = await self._settle(call, rule, held, result)
            return result
        finally:
            if not settled:
                await self._metering.give_back_async(held)

    async def _settle(self, call: ToolCall, rule: Rule, held: Held, result: R) -> tuple[bool, R]:
        """Charge for a result, if it costs anything; gives whether it did, and what the client gets."""
        if not self._form.is_final(result):
            return False, result
        if rule.charge_on != "always" and self._form.is_error(result):
            return False, result
        quantity = rule.used_for(
            call.arguments, result, arguments=call.arguments, result=self._form.content(result)
        )
        if quantity is not None and quantity <= 0:
            return False, result
        try:
            receipt = await self._metering.end_async(held, quantity)
        except Refused as refused:
            # The result is not given away: whoever repeats the call with its key gets it, and pays once.
            log.warning("a call of %s could not be charged: %s", call.name, refused.detail)
            return False, self._form.refused(error_of(refused))
        result = self._form.with_meta(result, RECEIPT, shown(receipt))
        if call.key is not None:
            self._keep(held.order, result)
        return True, result

    def _follow(self, call: ToolCall, rule: Rule, held: Held, later: Later[R]) -> None:
        """Charge for a task when it is done, beside everything else."""
        following = asyncio.create_task(self._settle_later(call, rule, held, later))
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    async def _settle_later(self, call: ToolCall, rule: Rule, held: Held, later: Later[R]) -> None:
        settled = False
        try:
            result = await later()
            if result is not None:
                settled, _ = await self._settle(call, rule, held, result)
        except Exception:
            log.exception("what became of a task of %s cannot be told: it is not charged", call.name)
        finally:
            if not settled:
                await self._metering.give_back_async(held)

    def _keep(self, order: Order, result: R) -> None:
        """A repeat gets the same result, for as long as it gets the receipt."""
        self._kept[order.key] = (time.monotonic(), result)
        self._kept.move_to_end(order.key)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _kept_for(self, order: Order) -> R | None:
        kept_at, result = self._kept.get(order.key, (0.0, None))
        return result if time.monotonic() - kept_at <= REPEATS_FOR_SECONDS else None


def content_of(structured: Mapping[str, Any] | None, texts: Iterable[str]) -> object:
    """What a tool answered: its structured content, less the wrapping of a lone value; else its text, or the JSON in it."""
    if structured is not None:
        return structured["result"] if set(structured) == {"result"} else structured
    text = "\n".join(texts)
    try:
        return json.loads(text)
    except ValueError:
        return text


def error_of(refused: Refused) -> dict[str, Any]:
    """A refusal as MCP says it: its code in lower case, its sentence, and its facts."""
    facts = {name: plain(value) for name, value in refused.problem.items() if name not in _NOT_FACTS}
    if "hold_status" in facts:
        facts["status"] = facts.pop("hold_status")
    return {"code": refused.code.lower(), "detail": refused.detail, **facts}


def shown(receipt: Receipt) -> dict[str, Any]:
    """A receipt as clients see it. A pending one says so, and has no figures yet."""
    said = {
        "charged": plain(receipt.charged),
        "unit": receipt.unit,
        "balance": plain(receipt.balance),
        "charge": receipt.charge,
        "meter": receipt.meter,
    }
    return {**said, "pending": True, "quantity": plain(receipt.quantity)} if receipt.pending else said


def digest(value: object) -> str:
    """A digest of a JSON value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _line(rule: Rule) -> dict[str, Any]:
    """The price of an amount's rule, in the form of a meter's."""
    assert rule.amount is not None
    fixed = not callable(rule.quantity) and not isinstance(rule.quantity, str) and rule.used is None
    if fixed:
        cost = Decimal(rule.amount) * Decimal(rule.quantity)  # type: ignore[arg-type]
        return {"unit": rule.unit, "kind": "flat", "flat": plain(cost), "per_unit": 0}
    return {"unit": rule.unit, "kind": "per_unit", "flat": 0, "per_unit": plain(Decimal(rule.amount))}
