"""How a call is held, captured and given back, whatever happens twice: plain generators, driven with or without ``await``.

Each yields a ``Step`` and is sent its answer; ``run`` and ``run_async`` do the sending.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar, cast

from tallystick.core import errors
from tallystick.metering.orders import (
    Found,
    GiveBack,
    Held,
    Look,
    Order,
    Place,
    Placed,
    Receipt,
    Refused,
    Take,
    plain,
)
from tallystick.metering.rules import Quantity, Rule
from tallystick.problem_details import document_of, headers_of, members, status_of

REPEATS_FOR_SECONDS: Final = 600
_RESOLVED: Final = frozenset({"HOLD_NOT_OPEN", "IDEMPOTENCY_KEY_REUSED"})

T = TypeVar("T")
Steps = Generator[Any, Any, T]


def hold(order: Order, *, expires_in: int, repeats_for: float | None = REPEATS_FOR_SECONDS) -> Steps[Held]:
    """Hold what a call costs. Raises ``Refused``: then nothing is held.

    A key that was used before gives the same hold while that is open, and its receipt for ten minutes after it was
    captured (for ever, if ``repeats_for`` is None). When it was given back, because that call had come to nothing, the
    next try holds anew.
    """
    key, attempt = order.key, 1
    while True:
        placed: Placed = yield Place(order, key, expires_in)
        held = Held(order=order, id=placed.id)
        if not placed.replayed:
            return held
        found: Found = yield Look(placed.id, order)
        if found.status == "open":
            return held
        if found.receipt is not None:
            if repeats_for is not None and found.age_seconds > repeats_for:
                raise refusal(
                    errors.Conflict,
                    "the call with this idempotency key is done: send a new key with a new call",
                )
            return replace(held, receipt=found.receipt)
        attempt += 1
        key = f"{order.key}:{attempt}"


def capture(
    held: Held, quantity: Quantity | None, *, expires_in: int, repeats_for: float | None = REPEATS_FOR_SECONDS
) -> Steps[Receipt]:
    """Charge for a call, once however often it is repeated; ``quantity`` is what was used, at most what was held.

    What was held may have come back meanwhile, because the call took too long or another with its key failed: then
    it is charged for anew. Where another call with its key was charged first, that one's receipt is given.
    """
    if held.receipt is not None:
        return held.receipt
    if held.id is None:
        held = yield from hold(held.order, expires_in=expires_in, repeats_for=repeats_for)
        return (yield from capture(held, quantity, expires_in=expires_in, repeats_for=repeats_for))
    used = None if quantity is None else min(quantity, held.order.quantity)
    try:
        receipt: Receipt = yield Take(held.id, held.order, used)
    except Refused as refused:
        if refused.code not in _RESOLVED:
            raise
        again = yield from hold(held.order, expires_in=expires_in, repeats_for=repeats_for)
        if again.receipt is None and again.id == held.id:
            raise
        return (yield from capture(again, quantity, expires_in=expires_in, repeats_for=repeats_for))
    return receipt


def give_back(held: Held) -> Steps[None]:
    """Give back what was held for a call that came to nothing."""
    if held.receipt is None and held.id is not None:
        try:
            yield GiveBack(held.id)
        except Refused as refused:
            if refused.code != "HOLD_NOT_OPEN":
                raise


def run(steps: Steps[T], do: Callable[[Any], Any]) -> T:
    """Go through the steps, each answered by ``do``."""
    answer: object = None
    failed: Exception | None = None
    try:
        while True:
            step = steps.send(answer) if failed is None else steps.throw(failed)
            answer = failed = None
            try:
                answer = do(step)
            except Exception as error:  # noqa: BLE001 - the steps decide what becomes of it
                failed = error
    except StopIteration as done:
        return cast("T", done.value)


async def run_async(steps: Steps[T], do: Callable[[Any], Awaitable[Any]]) -> T:
    """As ``run``, awaited."""
    answer: object = None
    failed: Exception | None = None
    try:
        while True:
            step = steps.send(answer) if failed is None else steps.throw(failed)
            answer = failed = None
            try:
                answer = await do(step)
            except Exception as error:  # noqa: BLE001 - as in run
                failed = error
    except StopIteration as done:
        return cast("T", done.value)


def refusal(kind: type[errors.Refusal], detail: str, **facts: object) -> Refused:
    """A refusal of the metering's own, as a problem."""
    status, title = status_of(kind)
    problem = members(status, kind.code.upper(), title, detail, base="", request_id=None)
    return Refused({**problem, **facts})


def refused_as(refused: errors.Refusal) -> Refused:
    """A refusal that was raised here, as a problem with its headers."""
    return Refused(document_of(refused, plain, base=""), headers_of(refused, 0))


def order_of(
    rule: Rule,
    asked: object,
    known: Mapping[str, object],
    *,
    key: str,
    customer: str | None,
    description: str,
    metadata: Mapping[str, object] | None = None,
) -> Order:
    """What a call costs at most, by its rule. Raises ``Refused`` where what was asked does not tell the quantity."""
    try:
        quantity = rule.held_for(asked, **known)
    except errors.ValidationFailed as failed:
        raise refused_as(failed) from failed
    return Order(
        key=key,
        customer=customer,
        meter=rule.meter,
        amount=rule.amount,
        unit=rule.unit,
        quantity=quantity,
        description=description,
        metadata=metadata or {},
    )
