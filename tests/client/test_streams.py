"""Output of code that is told while it runs: live from a server, and whole whatever becomes of the connection."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tallystick.client import ConfigurationError, OutcomeUnknown, TallyError, Timeouts
from tallystick.ports.sandboxes import Execution, Stream
from tests.client.faulty import FaultyServer, Step, answer, drop, problem, raw, trickle
from tests.client.test_faults import Run, awaited, blocking, both, keys
from tests.doors.api.door import ADMIN, Door
from tests.services.scripted_sandboxes import ScriptedSandboxes

RAN = {
    "id": "exec_1",
    "sandbox": "sbx_1",
    "language": "bash",
    "status": "done",
    "started_at": "2027-01-10T12:00:00Z",
    "duration_ms": 7,
    "exit_code": 0,
    "timed_out": False,
    "oom": False,
    "truncated": False,
    "stdout": "one\n\u2028two",
    "stderr": "bad",
}
HEAD = b"HTTP/1.1 201 Created\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
IN_FLIGHT = answer(409, problem(409, "IDEMPOTENCY_IN_FLIGHT"))


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def output(stream: str, text: str) -> bytes:
    return event("output", {"stream": stream, "text": text})


def stream(*events: bytes, head: bytes = HEAD) -> bytes:
    return head + b"\r\n" + b"".join(events)


WHOLE = stream(
    output("stdout", "one\n\u2028"),
    b":\n\n",
    output("stderr", "bad"),
    output("stdout", "two"),
    event("result", RAN),
)


class Told:
    """What ``on_output`` was told."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, str]] = []

    def plain(self, stream: Stream, text: str) -> None:
        """As a function."""
        self.pieces.append((stream, text))

    async def later(self, stream: Stream, text: str) -> None:
        """As a coroutine."""
        self.pieces.append((stream, text))

    def of(self, stream: str) -> str:
        """All of a stream."""
        return "".join(text for each, text in self.pieces if each == stream)


def execute(on_output: Any) -> Any:
    return lambda client: client.sandboxes.execute("sbx_1", code="true", timeout=2, on_output=on_output)


@pytest.fixture
def provider() -> ScriptedSandboxes:
    """Writes what a test says."""
    return ScriptedSandboxes()


@pytest.fixture
def live(sqlite_url: str, tmp_path: Path, provider: ScriptedSandboxes) -> Iterator[Door]:
    """A server with sandboxes."""
    with Door(sqlite_url, tmp_path, economy="flow-nexus", sandboxes=provider) as door:
        yield door


@pytest.mark.parametrize(
    ("run", "is_async"),
    [(blocking, False), (awaited, False), (awaited, True)],
    ids=["blocking", "awaited", "awaited by an async function"],
)
def test_output_is_told_while_code_runs(
    live: Door, provider: ScriptedSandboxes, run: Run, *, is_async: bool
) -> None:
    """Code that writes on only when its first output was seen comes to its end, and gives what is always given."""
    seen = threading.Event()

    def writes() -> Iterator[tuple[Stream, bytes]]:
        yield "stdout", b"one\n\xe2\x80"
        assert seen.wait(20)
        yield "stderr", b"bad"
        yield "stdout", b"\xa8two"

    provider.writes = writes
    provider.answer = Execution(exit_code=3, stdout=b"", stderr=b"", duration_ms=7)
    told = Told()

    def tell(stream: Stream, text: str) -> Any:
        seen.set()
        return told.later(stream, text) if is_async else told.plain(stream, text)

    box = live.post("/sandboxes", {"template": "node", "customer": "ann"})["id"]

    def act(client: Any) -> Any:
        return client.sandboxes.execute(box, code="1", on_output=tell, idempotency_key="k")

    done = run(act, live.url, key=ADMIN)
    assert ("stdout", "one\n") == told.pieces[0]
    assert (told.of("stdout"), told.of("stderr"), 3) == (done.stdout, done.stderr, done.exit_code)
    assert ("one\n\u2028two", "bad", False) == (done.stdout, done.stderr, done.replayed)
    again, told.pieces = run(act, live.url, key=ADMIN), []
    assert (again.stdout, True) == (done.stdout, again.replayed)


@both
@pytest.mark.parametrize(
    "broken",
    [
        drop,
        raw(stream(output("stdout", "one\n\u2028"))),
        raw(stream(output("stdout", "one\n"), output("stderr", "bad"))),
        raw(stream(output("stdout", "one\n\u2028t"), output("stderr", "ba"))[:-3]),
        raw(stream(output("stdout", "one\n\u2028two"), head=HEAD + b"content-length: 9999\r\n")),
    ],
    ids=["before it", "between events", "within a line", "within an event", "before its length"],
)
def test_a_stream_that_breaks_off_is_gone_on_with(run: Run, broken: Step) -> None:
    """With its key, when the code that still runs is done, however often that is asked; nothing is told twice."""
    told = Told()
    script = (broken, *(IN_FLIGHT,) * 6, broken, raw(WHOLE))
    with FaultyServer(*script) as server:
        done = run(execute(told.plain), server.url, timeouts=Timeouts(total_seconds=60))
    assert (RAN["stdout"], RAN["stderr"]) == (told.of("stdout"), told.of("stderr"))
    assert (0, "exec_1") == (done.exit_code, done.id)
    assert (9, 1) == (len(server.seen), len(keys(server.seen)))
    assert {"text/event-stream"} == {each.headers["accept"] for each in server.seen}


@both
def test_an_execution_in_flight_is_waited_for_without_a_stream_too(run: Run) -> None:
    """But no longer than the call may take: then nobody knows."""
    act = execute(None)
    with FaultyServer(drop, *(IN_FLIGHT,) * 6, answer(201, RAN)) as server:
        assert "exec_1" == run(act, server.url).id
    assert {"*/*"} == {each.headers["accept"] for each in server.seen}
    with FaultyServer(IN_FLIGHT) as server, pytest.raises(OutcomeUnknown) as unknown:
        run(act, server.url, timeouts=Timeouts(total_seconds=0.1))
    assert "IDEMPOTENCY_IN_FLIGHT" == unknown.value.code


@both
def test_it_does_not_matter_how_a_stream_is_cut(run: Run) -> None:
    """Byte by byte, it says the same."""
    told = Told()
    with FaultyServer(trickle(WHOLE, pause=0.0001)) as server:
        run(execute(told.plain), server.url)
    assert [("stdout", "one\n\u2028"), ("stderr", "bad"), ("stdout", "two")] == told.pieces


@both
def test_an_execution_that_may_have_run_is_not_repeated(run: Run) -> None:
    """Without a stream too: whoever asked decides whether the code runs twice."""
    failing = answer(503, problem(503, "SANDBOX_FAILED"))
    with FaultyServer(failing) as server, pytest.raises(OutcomeUnknown) as failed:
        run(execute(None), server.url)
    assert ("SANDBOX_FAILED", 1) == (failed.value.code, len(server.seen))


@both
def test_what_a_stream_ends_with_stands(run: Run) -> None:
    """A failure after the code had begun is not repeated by itself: that could run it twice."""
    ended = stream(output("stdout", "one"), event("error", problem(503, "SANDBOX_FAILED")))
    told = Told()
    with FaultyServer(raw(ended)) as server, pytest.raises(OutcomeUnknown) as failed:
        run(execute(told.plain), server.url)
    assert ("SANDBOX_FAILED", 503, 1) == (failed.value.code, failed.value.status, len(server.seen))
    assert [("stdout", "one")] == told.pieces
    stopped = stream(event("error", problem(409, "SANDBOX_NOT_RUNNING")))
    with (
        FaultyServer(raw(stopped)) as server,
        pytest.raises(TallyError, match="SANDBOX_NOT_RUNNING") as error,
    ):
        run(execute(told.plain), server.url)
    assert type(error.value) is TallyError


@both
def test_what_is_refused_before_is_told_as_ever(run: Run) -> None:
    """There is no stream: the problem is the answer."""
    with (
        FaultyServer(answer(402, problem(402, "INSUFFICIENT_CREDITS"))) as server,
        pytest.raises(TallyError, match="INSUFFICIENT_CREDITS"),
    ):
        run(execute(Told().plain), server.url)
    assert 1 == len(server.seen)


@both
@pytest.mark.parametrize("own", [KeyError("mine"), TimeoutError("mine"), httpx.ConnectError("mine")])
def test_what_the_function_raises_is_the_callers(run: Run, own: Exception) -> None:
    """Also where it looks like a failure of our connection: nothing is repeated."""

    def fail(_stream: str, _text: str) -> None:
        raise own

    with FaultyServer(raw(WHOLE)) as server, pytest.raises(type(own)) as raised:
        run(execute(fail), server.url)
    assert (own, 1) == (raised.value, len(server.seen))


@both
@pytest.mark.parametrize(
    "strange",
    [
        answer(201, RAN),
        answer(200, "<html>"),
        raw(stream(b"event: output\ndata: {\n\n")),
        raw(stream(event("output", {"stream": "stdout"}))),
        raw(stream(event("output", 1))),
        raw(stream(event("error", {"code": "X"}))),
        raw(stream(b"event: result\ndata: {\n\n")),
    ],
    ids=["JSON", "a page", "no JSON", "no text", "a number", "no status", "no JSON at the end"],
)
def test_what_is_no_stream_of_ours_may_have_happened(run: Run, strange: Step) -> None:
    """Something else answers there, or another version: output that nobody was told is never passed over."""
    with FaultyServer(strange) as server, pytest.raises(OutcomeUnknown) as unknown:
        run(execute(Told().plain), server.url)
    assert ("UNEXPECTED_ANSWER", 1) == (unknown.value.code, len(server.seen))


@both
def test_signs_of_life_do_not_prolong_a_call(run: Run) -> None:
    """A stream that never ends is given up when the call's time is over."""
    endless = trickle(stream(b":\n\n" * 500), pause=0.01)
    with FaultyServer(endless) as server, pytest.raises(OutcomeUnknown, match="too long"):
        run(execute(Told().plain), server.url, timeouts=Timeouts(total_seconds=0.1))
    assert 1 == len(server.seen)


def test_a_client_that_waits_takes_no_async_function() -> None:
    """It would never be run: nothing is sent."""
    with FaultyServer(raw(WHOLE)) as server, pytest.raises(ConfigurationError, match="on_output"):
        blocking(execute(Told().later), server.url)
    assert [] == server.seen
