"""Who asks is read anew for every request; those that ask at the same moment share one read."""

import asyncio
import threading

import pytest

from tallystick.api.auth import Found, Gate
from tallystick.core import errors
from tallystick.services.context import SYSTEM

BOTH = pytest.mark.parametrize("in_thread", [False, True])


class Register:
    """Says who the known tokens belong to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.known = {"a", "b"}
        self.failure: Exception | None = None
        self.was_asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, tokens: list[str]) -> Found:
        """One read."""
        self.asked.append(sorted(tokens))
        self.was_asked.set()
        self.may_answer.wait(10)
        if self.failure is not None:
            raise self.failure
        return {token: SYSTEM if token in self.known else errors.NotAuthenticated() for token in tokens}


async def ask(gate: Gate, *tokens: str) -> list[object]:
    """Ask for several at the same moment."""
    return await asyncio.gather(*(gate.caller_of(token) for token in tokens), return_exceptions=True)


@BOTH
def test_those_who_ask_together_share_a_read(in_thread: bool) -> None:  # noqa: FBT001 - a case
    """Each token is looked up once, and each gets its own answer."""
    register = Register()

    async def run() -> None:
        gate = Gate(register, in_thread=in_thread)
        found = await ask(gate, "a", "b", "x", "a")
        assert [SYSTEM, SYSTEM, errors.NotAuthenticated, SYSTEM] == [
            each if each is SYSTEM else type(each) for each in found
        ]
        assert [["a", "b", "x"]] == register.asked
        gate.close()

    asyncio.run(run())


@BOTH
def test_nothing_is_remembered(in_thread: bool) -> None:  # noqa: FBT001 - a case
    """A key that was good a moment ago is asked about again."""
    register = Register()

    async def run() -> None:
        gate = Gate(register, in_thread=in_thread)
        assert [SYSTEM] == await ask(gate, "a")
        register.known.clear()
        [refused] = await ask(gate, "a")
        assert isinstance(refused, errors.NotAuthenticated)
        gate.close()

    asyncio.run(run())


def test_a_read_begins_after_the_request_came() -> None:
    """Who comes while a read is under way waits for the next one: the read may have passed its key already."""
    register = Register()

    async def run() -> None:
        gate = Gate(register, in_thread=True)
        register.may_answer.clear()
        first = asyncio.create_task(gate.caller_of("a"))
        await asyncio.to_thread(register.was_asked.wait, 10)
        second = asyncio.create_task(gate.caller_of("a"))
        await asyncio.sleep(0.01)
        register.may_answer.set()
        assert SYSTEM is await first is await second
        assert [["a"], ["a"]] == register.asked
        gate.close()

    asyncio.run(run())


@BOTH
def test_a_failure_reaches_those_who_wait_and_nobody_else(in_thread: bool) -> None:  # noqa: FBT001 - a case
    """The next request is asked about as if nothing had been."""
    register = Register()

    async def run() -> None:
        gate = Gate(register, in_thread=in_thread)
        register.failure = errors.ServiceUnavailable("away")
        assert [errors.ServiceUnavailable] * 2 == [type(each) for each in await ask(gate, "a", "b")]
        register.failure = None
        assert [SYSTEM] == await ask(gate, "a")
        gate.close()

    asyncio.run(run())


def test_who_has_gone_keeps_nobody_waiting() -> None:
    """A request that was cancelled is left out."""
    register = Register()

    async def run() -> None:
        gate = Gate(register, in_thread=True)
        register.may_answer.clear()
        gone, stays = (asyncio.create_task(gate.caller_of(token)) for token in ("a", "b"))
        await asyncio.to_thread(register.was_asked.wait, 10)
        gone.cancel()
        register.may_answer.set()
        assert SYSTEM is await stays
        gate.close()

    asyncio.run(run())
