"""Metering by a billing server elsewhere: how often it is asked, and what becomes of a call when it does not answer well."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tallystick.client import AsyncTallyClient, TallyClient
from tallystick.metering import Metering, Refused, Rule, remote
from tallystick.metering.orders import Answered, Order, Step
from tests.doors.api.door import Door, ThreadServer, problem
from tests.servers import free_port

LOOKUP = Rule(meter="lookup")


@dataclass
class Listening:
    """A server that counts who asks for what, over how many connections."""

    app: Any
    asked: Counter[str] = field(default_factory=Counter)
    peers: set[Any] = field(default_factory=set)
    broken: bool = False

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Pass a request on, or answer as a proxy does whose server is away."""
        if scope["type"] == "http":
            self.asked[f"{scope['method']} {scope['path'].rpartition('/')[2]}"] += 1
            self.peers.add(tuple(scope["client"]))
            if self.broken:
                await send({"type": "http.response.start", "status": 502, "headers": []})
                await send({"type": "http.response.body", "body": b"<html>Bad Gateway</html>"})
                return
        await self.app(scope, receive, send)


@dataclass
class Elsewhere:
    """A billing server, a service's key there, and what was asked of it."""

    door: Door
    listening: Listening
    url: str
    key: str

    def metering(self) -> Metering:
        """One that asks it."""
        return Metering(TallyClient(base_url=self.url, api_key=self.key))


@pytest.fixture
def elsewhere(sqlite_url: str, tmp_path: Path) -> Iterator[Elsewhere]:
    with Door(sqlite_url, tmp_path) as door:
        listening = Listening(door.app)
        server = ThreadServer(listening)
        yield Elsewhere(door, listening, server.url, door.service())
        server.stop()


def order(key: str, meter: str = "lookup", quantity: Any = 1) -> Order:
    return Order(key=key, customer="ann", meter=meter, quantity=quantity)


def test_one_round_trip_before_and_one_after(elsewhere: Elsewhere) -> None:
    """And the connections are kept: one for callers in turn, at most as many as call at the same time."""
    metering = elsewhere.metering()

    async def call(number: int) -> None:
        held = await metering.begin_async(LOOKUP, order(f"call {number}"))
        assert held is not None
        await metering.end_async(held)

    async def work() -> None:
        for number in range(20):
            await call(number)
        assert 1 == len(elsewhere.listening.peers)
        await asyncio.gather(*(call(number) for number in range(20, 60)))

    asyncio.run(work())
    assert {"POST holds": 60, "POST capture": 60} == elsewhere.listening.asked
    assert len(elsewhere.listening.peers) <= 40
    assert (40, 0) == (elsewhere.door.balance()["available"], elsewhere.door.balance()["held"])
    metering.close()


@pytest.mark.parametrize("kind", [TallyClient, AsyncTallyClient])
def test_either_client_serves_both_ways(
    elsewhere: Elsewhere, kind: type[TallyClient | AsyncTallyClient]
) -> None:
    """A function that waits and one that awaits are charged by the same client."""
    metering = Metering(kind(base_url=elsewhere.url, api_key=elsewhere.key))
    held = metering.begin(LOOKUP, order("blocking"))
    assert held is not None
    assert Decimal(1) == metering.end(held).charged

    async def work() -> None:
        given = await metering.begin_async(LOOKUP, order("awaited"))
        assert given is not None
        await metering.give_back_async(given)

    asyncio.run(work())
    assert (99, 0) == (elsewhere.door.balance()["available"], elsewhere.door.balance()["held"])
    metering.close()


@pytest.mark.parametrize(
    ("asked", "code", "headers"),
    [
        (order("a", "tiered", 200), "INSUFFICIENT_CREDITS", set()),
        (order("b", "nothing"), "UNKNOWN_METER", set()),
        (Order(key="c", customer="nobody", meter="lookup", quantity=1), "UNKNOWN_CUSTOMER", set()),
        (order("d", quantity=Decimal("0.0000001")), "INVALID_QUANTITY", set()),
        (order("e", "limited"), "RATE_LIMITED", {"Retry-After", "RateLimit", "RateLimit-Policy"}),
    ],
)
def test_a_refusal_is_the_servers_own(
    elsewhere: Elsewhere, asked: Order, code: str, headers: set[str]
) -> None:
    """With its facts, and with the headers that the server sent."""
    for _ in range(3):
        elsewhere.door.charge("limited")
    metering = elsewhere.metering()
    with pytest.raises(Refused) as raised:
        metering.begin(LOOKUP, asked)
    body = {"customer": asked.customer, "meter": asked.meter, "quantity": float(asked.quantity)}
    answer = elsewhere.door.send("POST", "/holds", body)
    own = problem(answer, answer.status_code, code)
    unequal = {"request_id", "type", "retry_after_seconds", "reset_at"}
    own, found = (
        {name: value for name, value in each.items() if name not in unequal}
        for each in (own, raised.value.problem)
    )
    assert own == found
    assert headers == set(raised.value.headers)
    for name in headers - {"Retry-After", "RateLimit"}:
        assert answer.headers[name] == raised.value.headers[name]
    metering.close()


def test_a_broken_way_is_no_refusal(elsewhere: Elsewhere) -> None:
    """What a proxy says is not what the customer did; what it cut off is made good when the server is back."""
    metering = elsewhere.metering()
    held = metering.begin(LOOKUP, order("k"))
    assert held is not None
    elsewhere.listening.broken = True
    assert metering.end(held).pending
    with pytest.raises(Refused) as raised:
        metering.begin(LOOKUP, order("other"))
    assert ("SERVICE_UNAVAILABLE", 503) == (raised.value.code, raised.value.problem["status"])
    elsewhere.listening.broken = False
    until = time.monotonic() + 20
    while metering.settle() and time.monotonic() < until:
        time.sleep(0.05)
    assert (99, 0) == (elsewhere.door.balance()["available"], elsewhere.door.balance()["held"])
    metering.close()


def test_a_key_that_is_not_taken_is_not_the_callers_fault(
    elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator reads it in the log; the caller is told to come again."""
    metering = Metering(TallyClient(base_url=elsewhere.url, api_key="tly_wrong"))
    with pytest.raises(Refused) as raised:
        metering.begin(LOOKUP, order("k"))
    assert "SERVICE_UNAVAILABLE" == raised.value.code
    assert "refuses the key of this server" in caplog.text
    metering.close()


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call is refused at once or runs for nothing, as its rule says, and the next ones do not even try for a while."""
    metering = Metering(TallyClient(base_url=f"http://127.0.0.1:{free_port()}", api_key="tly_x"))
    tried: list[Step] = []
    do = remote.Remote.do

    def counted(self: remote.Remote, step: Step) -> Answered:
        tried.append(step)
        return do(self, step)

    monkeypatch.setattr(remote.Remote, "do", counted)
    for number in range(3):
        with pytest.raises(Refused):
            metering.begin(LOOKUP, order(f"k{number}"))
        assert None is metering.begin(Rule(meter="lookup", when_away="open"), order(f"o{number}"))
    assert 1 == len(tried)
    assert {} == metering.settle()
    metering.close()


def test_prices_are_asked_for_once_a_minute(elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off the way of a call, which has the old ones meanwhile; without any, an outage is told."""
    metering = elsewhere.metering()
    elsewhere.listening.broken = True
    with pytest.raises(Refused, match="away"):
        metering.prices()
    with pytest.raises(Refused, match="away"):
        metering.prices()
    assert 2 == elsewhere.listening.asked["GET prices"]  # a try and its repeat, and then none for a second
    elsewhere.listening.broken = False
    now = time.monotonic()
    monkeypatch.setattr(remote.time, "monotonic", lambda: now + 2)  # type: ignore[attr-defined]
    first = metering.prices()
    assert {"meter": "lookup", "hourly_limit": None} == {
        name: first["lookup"][name] for name in ("meter", "hourly_limit")
    }
    assert first is metering.prices()
    monkeypatch.setattr(remote.time, "monotonic", lambda: now + 63)  # type: ignore[attr-defined]
    assert first is asyncio.run(metering.prices_async())
    until = time.time() + 20
    while metering.prices() is first and time.time() < until:
        time.sleep(0.01)
    assert 4 == elsewhere.listening.asked["GET prices"]
    monkeypatch.undo()
    metering.close()
