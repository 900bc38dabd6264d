"""A price on functions: sync and async ones, generators and async generators.

- The price is held when a function begins, a generator when its first item is asked for. A refusal raises ``Refused``, and
  nothing of the function runs.
- What it raises costs nothing. What it returns is charged before its caller has it, a generator's items at their end.
- A generator that is closed early costs what ``used`` counts of the items that were given, and else the whole price.
- Each call is charged: also one within another, which has a price of its own.
"""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
import threading
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from tallystick.client import TallyClient
from tallystick.core import errors
from tallystick.metering.metering import Metering
from tallystick.metering.orders import Held, Order, Receipt, Refused
from tallystick.metering.rules import Quantity, Rule
from tallystick.metering.steps import order_of, refusal
from tallystick.metering.tool_calls import digest

if TYPE_CHECKING:
    from tallystick.bootstrap import Tally
    from tallystick.client import AsyncTallyClient

    Source = Metering | Tally | TallyClient | AsyncTallyClient

P = ParamSpec("P")
R = TypeVar("R")
Function = Callable[..., Any]

log = logging.getLogger(__name__)
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_receipts: ContextVar[tuple[list[Receipt], ...]] = ContextVar("tallystick_receipts", default=())
_lock: Final = threading.Lock()
_configured: Metering | None = None


def configure(client: Source) -> None:
    """Say once what charges the functions that name no ``client`` of their own."""
    global _configured  # noqa: PLW0603 - one for the whole process is what is wanted
    with _lock:
        _configured = Metering.of(client)


@contextmanager
def receipts() -> Iterator[list[Receipt]]:
    """The receipts of the metered functions that are called within the block, in the order in which they were charged."""
    got: list[Receipt] = []
    mark = _receipts.set((*_receipts.get(), got))
    try:
        yield got
    finally:
        _receipts.reset(mark)


def meter(
    what: str | Rule,
    *,
    quantity: Quantity | Function | None = None,
    used: Function | None = None,
    customer: str | Function | None = None,
    idempotency_key: Function | None = None,
    client: Source | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Charge each call of a function: ``@meter("enrich", quantity=lambda rows: len(rows))``.

    ``what`` is a meter's name, or a ``Rule``, which has its own ``quantity`` and ``used``. ``quantity`` is held: a number
    (1, if absent), or a function of the call's arguments, of which it takes those that it names (``len`` and the like the
    first). ``used`` is charged afterwards, at most what was held: a function of what was returned, or of the list of what
    a generator gave; what was held, if absent.

    ``customer`` pays: a text, a function of the arguments, or None for whoever the client's own key is for.
    ``idempotency_key`` is a function of the arguments: calls with the same key are charged once. ``client`` is a client
    of a billing server, an embedded ``Tally`` or a ``Metering``; if absent, what ``configure`` was given, or else a
    ``TallyClient`` made from the environment at the first call.

    Raises ``ConfigurationError`` for what cannot be; the function raises ``Refused``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = getattr(function, "__qualname__", repr(function))
        if not callable(function):
            raise errors.ConfigurationError(
                f"{name}: expected a function; @meter stands below @classmethod and the like"
            )
        signature = inspect.signature(function)
        try:
            metered = _Metered(
                function=function,
                name=name,
                signature=signature,
                rule=_rule_of(what, _told_by(quantity, "quantity", signature), used),
                customer=_told_by(customer, "customer", signature),
                key=_told_by(idempotency_key, "idempotency_key", signature),
                source=None if client is None else Metering.of(client),
            )
            if metered.source is not None:
                metered.source.check(metered.rule)
        except errors.ConfigurationError as error:
            raise errors.ConfigurationError(f"{name}: {error.detail}") from error
        return cast("Callable[P, R]", functools.wraps(function)(_wrapped(metered)))

    return decorate


@dataclass(frozen=True, slots=True)
class _Metered:
    """A function that has a price."""

    function: Function
    name: str
    signature: inspect.Signature
    rule: Rule
    customer: str | Function | None
    key: Function | None
    source: Metering | None

    def call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> _Call:
        """A call of it. Raises ``TypeError`` for arguments that it does not take, and ``Refused``."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = bound.arguments
        customer = self.customer
        if callable(customer):
            customer = customer(arguments)
            if not customer:
                raise refusal(errors.NotAuthenticated, f"{self.name} has a price, and nobody is there to pay")
        key = None if self.key is None else self.key(arguments)
        order = order_of(
            self.rule,
            arguments,
            {"arguments": arguments},
            key=f"call:{digest([self.name, customer, secrets.token_urlsafe() if key is None else key])}",
            customer=customer,
            description=self.name,
        )
        return _Call(self.source or _default(), self.rule, order, arguments)


@dataclass(slots=True)
class _Call:
    """A call that has a price: begin it, then end it or give back."""

    metering: Metering
    rule: Rule
    order: Order
    arguments: dict[str, Any]
    held: Held | None = None
    has_given: bool = False  # something, of a generator

    def begin(self) -> None:
        self.held = self.metering.begin(self.rule, self.order)

    async def begin_async(self) -> None:
        self.held = await self.metering.begin_async(self.rule, self.order)

    def end(self, result: object) -> None:
        quantity = self._used(result)
        if self.held is not None and (quantity is None or quantity > 0):
            self._done(self.metering.end(self.held, quantity))

    async def end_async(self, result: object) -> None:
        quantity = self._used(result)
        if self.held is not None and (quantity is None or quantity > 0):
            self._done(await self.metering.end_async(self.held, quantity))

    def note(self, items: list[Any], item: object) -> None:
        """Keep what was given, if that is what it is charged by: a stream may be endless."""
        self.has_given = True
        if self.held is not None and self.rule.used is not None:
            items.append(item)

    def end_early(self, items: object) -> None:
        try:
            self.end(items)
        except Refused as refused:
            log.warning("what %s gave could not be charged: %s", self.order.description, refused.detail)

    async def end_early_async(self, items: object) -> None:
        try:
            await self.end_async(items)
        except Refused as refused:
            log.warning("what %s gave could not be charged: %s", self.order.description, refused.detail)

    def give_back(self) -> None:
        if self.held is not None:
            self.metering.give_back(self.held)

    async def give_back_async(self) -> None:
        if self.held is not None:
            await self.metering.give_back_async(self.held)

    def handed_on(self) -> _Call:
        """A call with nothing to give back, in place of this one, which somebody else ends."""
        return replace(self, held=None)

    def _used(self, result: object) -> Quantity | None:
        if self.held is None:
            return None
        return self.rule.used_for(self.arguments, result, arguments=self.arguments, result=result)

    def _done(self, receipt: Receipt) -> None:
        self.held = None
        for got in _receipts.get():
            got.append(receipt)


def _wrapped(metered: _Metered) -> Function:
    """The function with its price around it, of the same kind."""
    if inspect.isasyncgenfunction(metered.function):
        return _async_generator(metered)
    if inspect.isgeneratorfunction(metered.function):
        return _generator(metered)
    if inspect.iscoroutinefunction(metered.function):
        return _coroutine(metered)

    def run(*args: object, **kwargs: object) -> object:
        call = metered.call(args, kwargs)
        call.begin()
        try:
            result = metered.function(*args, **kwargs)
            if inspect.isawaitable(result):
                # What it returns is not done yet: it is charged when it is.
                call, begun = call.handed_on(), call
                return _awaited(begun, result)
            call.end(result)
        finally:
            call.give_back()
        return result

    return run


async def _awaited(call: _Call, result: Awaitable[object]) -> object:
    try:
        found = await result
        await call.end_async(found)
    finally:
        await call.give_back_async()
    return found


def _coroutine(metered: _Metered) -> Function:
    async def run(*args: object, **kwargs: object) -> object:
        call = metered.call(args, kwargs)
        await call.begin_async()
        try:
            result = await metered.function(*args, **kwargs)
            await call.end_async(result)
        finally:
            await call.give_back_async()
        return result

    return run


def _generator(metered: _Metered) -> Function:
    def run(*args: object, **kwargs: object) -> Generator[Any, Any, Any]:
        call = metered.call(args, kwargs)
        call.begin()
        items: list[Any] = []
        try:
            inner: Generator[Any, Any, Any] = metered.function(*args, **kwargs)
            step: Function = inner.__next__
            while True:
                try:
                    item = step()
                except StopIteration as done:
                    call.end(items)
                    return done.value
                call.note(items, item)
                try:
                    step = partial(inner.send, (yield item))
                except GeneratorExit:
                    inner.close()
                    call.end_early(items)
                    raise
                except BaseException as error:  # noqa: BLE001 - the generator is to deal with it
                    step = partial(inner.throw, error)
        finally:
            call.give_back()

    return run


def _async_generator(metered: _Metered) -> Function:
    async def run(*args: object, **kwargs: object) -> AsyncGenerator[Any, Any]:
        call = metered.call(args, kwargs)
        await call.begin_async()
        items: list[Any] = []
        try:
            inner: AsyncGenerator[Any, Any] = metered.function(*args, **kwargs)
            step: Function = inner.__anext__
            while True:
                try:
                    item = await step()
                except StopAsyncIteration:
                    await call.end_async(items)
                    return
                except CancelledError:
                    # Whoever asks for no more may leave while the next item is being made.
                    if call.has_given:
                        await call.end_early_async(items)
                    raise
                call.note(items, item)
                try:
                    step = partial(inner.asend, (yield item))
                except GeneratorExit:
                    await inner.aclose()
                    await call.end_early_async(items)
                    raise
                except BaseException as error:  # noqa: BLE001 - the generator is to deal with it
                    step = partial(inner.athrow, error)
        finally:
            await call.give_back_async()

    return run


def _rule_of(what: str | Rule, quantity: Any, used: Function | None) -> Rule:  # noqa: ANN401 - Rule checks it
    if not isinstance(what, Rule):
        charged = None if used is None else lambda _arguments, result: used(result)
        return Rule(meter=what, quantity=1 if quantity is None else quantity, used=charged)
    if quantity is not None or used is not None:
        raise errors.ConfigurationError("expected quantity and used in the Rule, if there is one")
    if what.charges_statuses:
        raise errors.ConfigurationError("expected charge_on of a function to be success or always")
    for path in (what.quantity, what.used):
        if isinstance(path, str) and path.partition(".")[0] not in {"arguments", "result"}:
            raise errors.ConfigurationError(f"expected paths into arguments and result, found {path}")
    return what


def _told_by(tell: Any, field: str, signature: inspect.Signature) -> Any:  # noqa: ANN401 - as it is, or a function
    """A function of the arguments that it names, or of the first one, as one of all of them; anything else as it is."""
    if not callable(tell):
        return tell
    try:
        parameters = list(inspect.signature(tell).parameters.values())
    except ValueError:  # a built-in one that does not say
        return lambda arguments: tell(next(iter(arguments.values())))
    wanted = {each.name: each.default is each.empty for each in parameters if each.kind in _BY_NAME}
    known = signature.parameters
    if unknown := [each for each, is_needed in wanted.items() if is_needed and each not in known]:
        raise errors.ConfigurationError(
            f"expected {field} to name parameters of the function, found {', '.join(unknown)}"
        )
    if any(each.kind is each.POSITIONAL_ONLY for each in parameters):
        return lambda arguments: tell(next(iter(arguments.values())))
    names = [each for each in wanted if each in known]
    return lambda arguments: tell(**{each: arguments[each] for each in names})


def _default() -> Metering:
    """What was configured, or a client made from the environment."""
    global _configured  # noqa: PLW0603 - as in configure
    with _lock:
        if _configured is None:
            _configured = Metering(TallyClient())
        return _configured
