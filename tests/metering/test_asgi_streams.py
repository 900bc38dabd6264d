"""What streams cost, however they end: their clients hang up, their apps fail, their server stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tallystick.metering import Rule, TallyASGIMiddleware
from tests.metering.till import Till, Wire

COUNTED = Rule(meter="rows", quantity=100, used=lambda _, response: 2 * response.chunk_count)
BY_PATH = Rule(meter="rows", quantity=100, used="response.size_bytes")
FIXED = Rule(meter="search")
BY_LAST_WORD = Rule(meter="rows", quantity=100, used=lambda _, response: response.json["usage"])
RULES: dict[str, Rule | None] = {
    "GET /counted": COUNTED,
    "GET /by-path": BY_PATH,
    "GET /fixed": FIXED,
    "GET /last-word": BY_LAST_WORD,
    "GET /events": COUNTED,
    "GET /small": COUNTED,
    "GET /large": FIXED,
}


class Streams:
    """An app that streams ten parts, and may be told to do something after some of them."""

    def __init__(self, till: Till) -> None:
        self.till = till
        self.after: dict[int, Any] = {}
        self.runs = 0
        routes = [Route(rule.partition(" ")[2], self._answer) for rule in RULES]
        self.app = TallyASGIMiddleware(
            Starlette(routes=routes), client=till.metering, rules=RULES, customer="ann"
        )

    async def _parts(self) -> AsyncIterator[bytes]:
        for number in range(10):
            if number in self.after:
                await self.after[number]()
            await asyncio.sleep(0.002)
            yield b"%d\n" % number

    async def _answer(self, request: Request) -> Response:
        self.runs += 1
        headers = {"/small": {"content-length": "20"}, "/large": {"content-length": "20000000"}}
        media = "text/event-stream" if request.url.path == "/events" else "text/plain"
        return StreamingResponse(self._parts(), media_type=media, headers=headers.get(request.url.path))

    def call(self, url: str, **how: Any) -> Wire:
        """One request by hand."""
        wire = Wire(url, **how)
        self.till.run(wire.run(self.app))
        return wire


@pytest.fixture
def streams(till: Till) -> Streams:
    return Streams(till)


def test_a_stream_flows_and_is_charged_before_its_last_part(streams: Streams) -> None:
    """Nothing of it waits but the end, which comes when it is paid."""
    seen: list[tuple[int, tuple[int, int]]] = []
    wire = streams.call("/counted", on_message=lambda bodies: seen.append((bodies, streams.till.figures())))
    assert (1, (100, 50)) == next(each for each in seen if each[0] == 1)
    assert (10, (90, 0)) == seen[-1]
    assert (10, (90, 0)) == (len(wire.bodies), streams.till.figures())


def test_events_begin_at_once(streams: Streams) -> None:
    """An event stream's headers do not wait for its first event."""

    async def look() -> None:
        assert ["http.response.start"] == [each["type"] for each in wire.sent]

    streams.after[0] = look
    wire = Wire("/events")
    streams.till.run(wire.run(streams.app))
    assert (90, 0) == streams.till.figures()


def test_an_answer_of_known_length_has_its_receipt_first(streams: Streams) -> None:
    """It waits until it is whole, and is charged before its first byte is sent."""
    wire = streams.call("/small")
    headers = dict(wire.sent[0]["headers"])
    assert (b"10", b"90") == (headers[b"tally-charged"], headers[b"tally-balance"])
    assert 10 == len(wire.bodies)


@pytest.mark.parametrize(
    ("url", "cost"), [("/counted", 3), ("/by-path", 3), ("/fixed", 2), ("/last-word", 50), ("/large", 2)]
)
def test_whoever_hangs_up_pays_for_what_was_delivered(streams: Streams, url: str, cost: int) -> None:
    """As far as it can be told, and else the whole price: a stream is not free for whoever leaves before its end."""
    wire = streams.call(url, hang_up_after=3)
    assert 3 == len(wire.bodies)
    assert (100 - cost, 0) == streams.till.figures()


def test_whoever_hangs_up_before_anything_came_pays_nothing(streams: Streams) -> None:
    """Nothing was delivered, neither of a stream nor of an answer that waits to be whole."""

    async def leave() -> None:
        wire.gone.set()
        await asyncio.sleep(10)

    for url, first in (("/fixed", 0), ("/events", 0), ("/small", 5)):
        streams.after = {first: leave}
        wire = Wire(url)
        streams.till.run(wire.run(streams.app))
        assert ([], (100, 0)) == (wire.bodies, streams.till.figures())


@pytest.mark.parametrize("url", ["/counted", "/fixed", "/small"])
def test_what_the_app_breaks_off_costs_nothing(streams: Streams, url: str) -> None:
    """Its customer has a part, and the fault is not theirs."""

    async def fail() -> None:
        raise RuntimeError("broken")

    streams.after[4] = fail
    with pytest.raises(RuntimeError, match="broken"):
        streams.call(url)
    assert (100, 0) == streams.till.figures()


@pytest.mark.parametrize(("gone", "balance"), [(True, 98), (False, 100)])
def test_a_server_that_cancels(till: Till, gone: bool, balance: int) -> None:  # noqa: FBT001 - a parameter of the test
    """Some do so when the client is gone, who pays; when the server itself stops, nobody does."""
    reached = asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        reached.set()
        await asyncio.sleep(10)

    async def work() -> None:
        wire = Wire("/fixed")
        metered = TallyASGIMiddleware(app, client=till.metering, rules=RULES, customer="ann")
        task = asyncio.create_task(wire.run(metered))
        await reached.wait()
        if gone:
            wire.gone.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    till.run(work())
    assert (balance, 0) == till.figures()


def test_a_server_whose_client_cannot_be_sent_to(till: Till) -> None:
    """It raises: that is a client who is gone."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def send(message: dict[str, Any]) -> None:
        wire.sent.append(message)
        if len(wire.bodies) == 4:
            raise OSError

    wire = Wire("/counted")
    wire.send = send
    metered = TallyASGIMiddleware(app, client=till.metering, rules=RULES, customer="ann")
    with pytest.raises(OSError):  # noqa: PT011 - it has no text
        till.run(wire.run(metered))
    assert (96, 0) == till.figures()


def test_a_stream_that_was_cut_is_not_given_again(streams: Streams) -> None:
    """With its key, a part that was paid for is not the whole of it; a whole one is kept."""
    headers = {"idempotency-key": "k"}
    streams.call("/counted", headers=headers, hang_up_after=3)
    assert 409 == streams.call("/counted", headers=headers).status
    assert (97, 0) == streams.till.figures()
    headers = {"idempotency-key": "whole"}
    first, again = (streams.call("/counted", headers=headers) for _ in range(2))
    assert b"".join(first.bodies) == b"".join(again.bodies)
    assert (87, 0) == streams.till.figures()


def test_a_stream_that_cannot_be_charged_is_told_to_the_operator(
    streams: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    """It was given already: the wallet was frozen meanwhile."""

    async def freeze() -> None:
        await asyncio.to_thread(streams.till.freeze)

    streams.after[5] = freeze
    with caplog.at_level(logging.WARNING, "tallystick.metering"):
        wire = streams.call("/fixed")
    assert (10, (100, 0)) == (len(wire.bodies), streams.till.figures())
    assert ["a stream of GET /fixed could not be charged"] == [
        text.partition(":")[0] for text in caplog.messages if "stream" in text
    ]


def test_a_large_upload_with_a_key_passes_whole(till: Till) -> None:
    """What is read of it to know it again is not all of it, and the app has all of it."""

    async def answer(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    metered = TallyASGIMiddleware(
        Starlette(routes=[Route("/", answer, methods=["PUT"])]),
        client=till.metering,
        rules={"PUT /": FIXED},
        customer="ann",
        most_bytes=1000,
    )
    wire = Wire("/", method="PUT", headers={"idempotency-key": "k"}, body=[b"x" * 600] * 5)
    till.run(wire.run(metered))
    assert ([b"3000"], (98, 0)) == (wire.bodies, till.figures())


def test_a_client_that_leaves_while_it_sends_costs_nothing(till: Till) -> None:
    """Its body never came, so the app does not run."""
    ran: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        ran.append(scope["path"])

    rule = Rule(meter="rows", quantity=lambda request: len(request.body))
    metered = TallyASGIMiddleware(app, client=till.metering, rules={"PUT /": rule}, customer="ann")
    wire = Wire("/", method="PUT", body=[])
    wire.gone.set()
    till.run(wire.run(metered))
    assert ([], [], (100, 0)) == (ran, wire.sent, till.figures())
