"""A price on functions of every kind: on both databases, and by a billing server."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, TypeVar, assert_type, cast

import pytest

from tallystick.core.errors import ConfigurationError
from tallystick.metering import Refused, Rule, configure, decorator, meter, receipts
from tallystick.services.context import SYSTEM
from tests.metering.till import Till

F = TypeVar("F", bound=Callable[..., Any])


def metered(till: Till, what: str | Rule = "rows", **more: Any) -> Callable[[F], F]:
    """Ann pays, unless somebody else is named."""
    made: Any = meter(what, client=till.metering, **{"customer": "ann", **more})
    return cast("Callable[[F], F]", made)


def test_a_call_is_charged_and_returns_what_it_did(till: Till) -> None:
    """By the arguments that the price names, however they are given."""

    @meter("rows", quantity=lambda rows, times: len(rows) * times / 2, customer="ann", client=till.metering)
    def enrich(rows: list[int], *, times: int = 2) -> list[int]:
        """Enrich."""
        return [row * times for row in rows]

    with receipts() as got:
        assert [4, 4] == assert_type(enrich([1, 1], times=4), list[int])
        assert [2, 2, 2] == enrich(rows=[1, 1, 1])
    assert [("rows", Decimal(2)), ("rows", Decimal("1.5"))] == [(each.meter, each.charged) for each in got]
    enrich([1])
    assert ((96, 0), 2) == (till.figures(), len(got))
    assert ("enrich", "Enrich.") == (enrich.__name__, enrich.__doc__)
    assert ["rows", "times"] == list(inspect.signature(enrich).parameters)


def test_a_refusal_runs_nothing(till: Till) -> None:
    """It says what is missing, in words for programs."""
    ran: list[int] = []

    @metered(till, quantity=lambda n: n)
    def rows(n: int) -> None:
        ran.append(n)

    with pytest.raises(Refused) as refused:
        rows(1000)
    told = refused.value
    assert ("INSUFFICIENT_CREDITS", 402) == (told.code, told.status)
    assert (Decimal(500), Decimal(100)) == (told.required, told.available)
    with pytest.raises(Refused) as refused:
        rows(None)  # type: ignore[arg-type]
    assert ("VALIDATION_FAILED", None) == (refused.value.code, refused.value.required)
    with pytest.raises(TypeError, match="missing a required"):
        rows(m=1)  # type: ignore[call-arg]
    assert ([], (100, 0)) == (ran, till.figures())


def test_a_function_that_names_nothing_takes_the_first_argument(till: Till) -> None:
    """As `len` does."""

    @metered(till, quantity=len, customer=str, idempotency_key=lambda rows, other="k": f"{other}{len(rows)}")
    def enrich(rows: str, times: int) -> int:
        return len(rows) * times

    assert 6 == enrich("ann", 2) == enrich("ann", 2)
    with pytest.raises(Refused, match="nobody"):
        enrich("nobody", 1)
    assert "98.5" == str(till.tally.billing.balance(SYSTEM, customer="ann").balance / 10**6)


def test_what_was_used_is_charged(till: Till) -> None:
    """At most what was held; nothing where nothing was used, or where the function raises."""

    @metered(till, quantity=20, used=len)
    def rows(found: int) -> list[int]:
        assert (20, 10) == (till.figures()[1] * 2, till.figures()[1])
        return list(range(10 // found))

    for found, balance in ((1, 95), (100, 95)):
        rows(found)
        assert (balance, 0) == till.figures()
    with pytest.raises(ZeroDivisionError):
        rows(0)
    assert (95, 0) == till.figures()


def test_a_coroutine_function(till: Till) -> None:
    """It stays one, and cancelling a call of it gives back what was held."""
    begun = asyncio.Event()

    @metered(till, quantity=lambda n: n)
    async def rows(n: int) -> int:
        begun.set()
        if n == 4:
            await asyncio.sleep(10)
        return n

    async def work() -> None:
        assert 2 == await rows(2)
        begun.clear()
        task = asyncio.create_task(rows(4))
        await begun.wait()
        assert (99, 2) == till.figures()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(Refused):
            await rows(1000)

    assert inspect.iscoroutinefunction(rows)
    till.run(work())
    assert (99, 0) == till.figures()


def test_what_gives_something_to_await_is_charged_when_that_is_done(till: Till) -> None:
    """An object that is called like a coroutine function is no other thing; what it raises costs nothing."""

    class Caller:
        async def __call__(self, n: int) -> int:
            if n == 3:
                raise ValueError(n)
            return n

    rows = metered(till, quantity=lambda n: n)(Caller())

    async def work() -> None:
        assert 2 == await rows(2)
        with pytest.raises(ValueError, match="3"):
            await rows(3)

    till.run(work())
    assert (99, 0) == till.figures()
    with pytest.raises(ConfigurationError, match="@classmethod"):
        metered(till)(cast("Callable[[], int]", classmethod(lambda _: 1)))


def test_a_generator(till: Till) -> None:
    """Held when its first item is asked for, charged at its end by what it gave; all that one can do with it still works."""

    @metered(till, quantity=20, used=len)
    def rows(n: int) -> Generator[int, int | None, str]:
        for number in range(n):
            try:
                got = yield number
            except KeyError:
                got = yield -1
            if got is not None:
                yield got
        return "done"

    assert inspect.isgeneratorfunction(rows)
    waiting = rows(2)
    assert (100, 0) == till.figures()
    assert 0 == next(waiting)
    assert (100, 10) == till.figures()
    assert 7 == waiting.send(7)
    assert 1 == next(waiting)
    assert -1 == waiting.throw(KeyError())
    with pytest.raises(StopIteration) as done:
        next(waiting)
    assert ("done", (98, 0)) == (done.value.value, till.figures())


def test_a_generator_that_is_closed_early(till: Till) -> None:
    """It costs what it gave, as far as the price counts that, and else the whole; a fault of its own costs nothing."""
    ended: list[str] = []

    def rows(n: int) -> Generator[int]:
        try:
            yield from range(n)
            raise RuntimeError
        finally:
            ended.append("ended")

    counted, fixed = metered(till, quantity=20, used=len)(rows), metered(till, "search")(rows)
    for made, balance in ((counted, 98), (fixed, 96)):
        items = made(10)
        assert [0, 1, 2, 3] == [next(items) for _ in range(4)]
        items.close()
        assert (balance, 0) == till.figures()
        with pytest.raises(RuntimeError):
            list(made(3))
        made(3).close()  # never begun
        assert (balance, 0) == till.figures()
    assert ["ended"] * 4 == ended


def test_an_async_generator(till: Till) -> None:
    """As a generator, and who stops asking while the next item is made has stopped asking."""
    begun = asyncio.Event()

    @metered(till, quantity=20, used=len)
    async def rows(n: int) -> AsyncGenerator[int]:
        for number in range(n):
            if number == 6:
                begun.set()
                await asyncio.sleep(10)
            yield number

    async def work() -> None:
        assert [0, 1, 2, 3] == [each async for each in rows(4)]
        assert (98, 0) == till.figures()
        items = rows(4)
        assert (0, 1) == (await anext(items), await anext(items))
        await items.aclose()
        assert (97, 0) == till.figures()

        async def read() -> list[int]:
            return [each async for each in rows(9)]

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert inspect.isasyncgenfunction(rows)
    till.run(work())
    assert (94, 0) == till.figures()


def test_an_async_generator_that_is_cancelled_before_its_first_item(till: Till) -> None:
    """Nothing was given, so it costs nothing, also where its price is fixed; after the first, it costs the whole."""
    given = asyncio.Event()

    @metered(till, "search")
    async def rows(before: int) -> AsyncGenerator[int]:
        for number in range(before):
            yield number
        given.set()
        await asyncio.sleep(10)

    async def work(before: int) -> None:
        async def read() -> list[int]:
            return [each async for each in rows(before)]

        given.clear()
        task = asyncio.create_task(read())
        await given.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    till.run(work(0))
    assert (100, 0) == till.figures()
    till.run(work(1))
    assert (98, 0) == till.figures()


def test_who_pays(till: Till) -> None:
    """Whoever the arguments say, and nobody runs it for nothing."""
    till.add("bob")

    @metered(till, "search", customer=lambda user: user)
    def search(query: str, user: str | None = None) -> str:
        return f"{query} for {user}"

    assert "x for bob" == search("x", user="bob")
    assert ((100, 0), (98, 0)) == (till.figures(), till.figures("bob"))
    for user, code in ((None, "NOT_AUTHENTICATED"), ("nobody", "UNKNOWN_CUSTOMER")):
        with pytest.raises(Refused) as refused:
            search("x", user=user)
        assert code == refused.value.code


def test_a_key_pays_once(till: Till) -> None:
    """A call with the same key runs again, and has the same receipt; one that raised is tried anew."""

    @metered(till, "search", idempotency_key=lambda job: job)
    def search(job: str) -> str:
        if job == "bad":
            raise KeyError(job)
        return job

    with receipts() as got:
        assert ["a", "a", "b"] == [search(job) for job in ("a", "a", "b")]
    assert 2 == len({each.charge for each in got})
    for _ in range(2):
        with pytest.raises(KeyError):
            search("bad")
    assert (96, 0) == till.figures()


def test_a_call_within_another_is_charged_too(till: Till) -> None:
    """Each has a price of its own, and each block its receipts."""

    @metered(till, "search")
    def inner() -> None: ...

    @metered(till, "rows", quantity=2)
    def outer() -> None:
        with receipts() as own:
            inner()
        assert ["search"] == [each.meter for each in own]

    with receipts() as got:
        outer()
    assert ["search", "rows"] == [each.meter for each in got]
    assert (97, 0) == till.figures()


def test_a_rule_says_the_same(till: Till) -> None:
    """With paths into the arguments and the result; an amount needs no meter, and 0 is nothing."""

    @metered(till, Rule(amount=1, unit="credits", quantity="arguments.n", used="result.used"))
    def rows(n: int) -> dict[str, int]:
        return {"used": n // 2}

    with receipts() as got:
        assert {"used": 5} == rows(10)
    assert ((95, 0), "credits") == (till.figures(), got[0].unit)
    assert "free" == metered(till, Rule(amount=0))(lambda: "free")()


def test_200_calls_at_once_with_credits_for_50(till: Till) -> None:
    """Exactly 50 succeed, from threads and from one event loop."""

    @metered(till, "search")
    def search(_: int) -> bool:
        return True

    def try_it(number: int) -> str:
        try:
            search(number)
        except Refused as refused:
            return refused.code
        return "done"

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(try_it, range(200)))
    assert (50, 150) == (found.count("done"), found.count("INSUFFICIENT_CREDITS"))
    assert (0, 0) == till.figures()


def test_200_awaited_calls_at_once_with_credits_for_50(till: Till) -> None:
    """As with threads."""

    @metered(till, "search")
    async def search() -> None:
        await asyncio.sleep(0)

    async def work() -> list[BaseException | None]:
        return list(await asyncio.gather(*(search() for _ in range(200)), return_exceptions=True))

    found = till.run(work())
    assert (50, (0, 0)) == (found.count(None), till.figures())


def test_what_cannot_be_charged_is_not_given(till: Till) -> None:
    """The wallet was frozen meanwhile: the caller has a refusal instead of the result."""

    @metered(till, "search")
    def search() -> str:
        till.freeze()
        return "never seen"

    with pytest.raises(Refused, match="frozen"):
        search()
    assert (100, 0) == till.figures()


def test_one_client_for_all(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said once, before the first call; without it, a client is made from the environment."""
    monkeypatch.setattr(decorator, "_configured", None)

    @meter("search", customer="ann")
    def search() -> None: ...

    monkeypatch.setenv("TALLY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TALLY_API_KEY", "tly_x")
    with pytest.raises(Refused) as refused:
        search()
    assert ("SERVICE_UNAVAILABLE", 503) == (refused.value.code, refused.value.status)
    made = decorator._configured  # noqa: SLF001 - nothing else has it
    assert made is not None
    made.close()
    configure(till.metering)
    search()
    assert (98, 0) == till.figures()


@pytest.mark.parametrize(
    ("what", "more"),
    [
        ("", {}),
        ("rows", {"quantity": -1}),
        ("rows", {"quantity": lambda other: other}),
        ("rows", {"customer": lambda other: other}),
        (Rule(meter="rows"), {"quantity": 2}),
        (Rule(meter="rows", charge_on=[200]), {}),
        (Rule(meter="rows", quantity="request.query.n"), {}),
    ],
)
def test_what_cannot_be_is_told_with_the_functions_name(what: Any, more: dict[str, Any]) -> None:
    """When it is decorated, and not when it is called."""

    def rows(n: int) -> int:
        return n

    with pytest.raises(ConfigurationError, match=r"rows: expected"):
        meter(what, **more)(rows)
