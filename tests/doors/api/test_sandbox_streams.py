"""Output of code that is read while it is written, over HTTP as server-sent events."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tallystick.api import live
from tallystick.ports import OutcomeUnknown
from tallystick.ports.sandboxes import Execution, Stream
from tests.doors.api.door import Door, problem, wait_until
from tests.services.scripted_sandboxes import ScriptedSandboxes

ASKED = {"Accept": "text/event-stream"}


class Steps:
    """Code that writes, and waits in between until the test lets it go on."""

    def __init__(self, *pieces: tuple[Stream, bytes] | Exception) -> None:
        self.pieces = pieces
        self.go_on = threading.Semaphore(0)
        self.runs = 0

    def __call__(self) -> Iterator[tuple[Stream, bytes]]:
        """Run once."""
        self.runs += 1
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece
            assert self.go_on.acquire(timeout=20)

    def end(self) -> None:
        """Let it run to its end."""
        self.go_on.release(len(self.pieces))


@pytest.fixture
def provider() -> ScriptedSandboxes:
    """Writes what a test says, when the test says so."""
    return ScriptedSandboxes()


@pytest.fixture
def door(database_url: str, tmp_path: Path, provider: ScriptedSandboxes) -> Iterator[Door]:
    """Flow-nexus with sandboxes; ann has 356 rUv, and an execution costs 2."""
    with Door(database_url, tmp_path, economy="flow-nexus", sandboxes=provider) as door:
        yield door


@pytest.fixture
def path(door: Door) -> str:
    """A sandbox of ann's."""
    return f"/sandboxes/{door.post('/sandboxes', {'template': 'node', 'customer': 'ann'})['id']}"


@contextmanager
def streamed(door: Door, path: str, key: str = "run", **body: Any) -> Iterator[Iterator[Any]]:
    """The events of an execution, each when it comes: its name and its data."""
    with (
        httpx.Client(base_url=door.client.base_url, headers=door.client.headers, timeout=30) as client,
        client.stream(
            "POST",
            f"{path}/execute",
            json={"code": "1"} | body,
            headers=ASKED | {"Idempotency-Key": key},
        ) as answer,
    ):
        assert (201, "text/event-stream; charset=utf-8") == (
            answer.status_code,
            answer.headers["content-type"],
        )
        yield events(answer.iter_bytes())


def events(pieces: Iterator[bytes]) -> Iterator[Any]:
    """Events as they come; a comment is one without a name."""
    left = b""
    for piece in pieces:
        *whole, left = (left + piece).split(b"\n\n")
        for block in whole:
            name, _, data = block.partition(b"\n")
            if data:
                yield name.removeprefix(b"event: ").decode(), json.loads(data.removeprefix(b"data: "))
            else:
                yield "", name
    assert b"" == left


def output(stream: str, text: str) -> Any:
    """What an event of output looks like."""
    return "output", {"stream": stream, "text": text}


def spent(door: Door) -> int:
    """What ann has paid for executions, in whole rUv."""
    return int(355 - Decimal(door.balance("ann", "rUv")["available"]))


def test_output_comes_before_the_end(door: Door, path: str, provider: ScriptedSandboxes) -> None:
    """Each piece while the code still runs, cut anywhere; then the ordinary answer, which is what is kept."""
    steps = provider.writes = Steps(("stdout", b"a\xe2\x82"), ("stderr", b"\0"), ("stdout", b"\xacb\xff\xe2"))
    provider.answer = Execution(exit_code=3, stdout=b"", stderr=b"", duration_ms=7)
    with streamed(door, path) as found:
        for expected in (
            output("stdout", "a"),
            output("stderr", "\ufffd"),
            output("stdout", "\u20acb\ufffd"),
        ):
            assert expected == next(found)
            assert "running" == door.get(f"{path}/logs")["logs"][0]["status"]
            steps.go_on.release()
        assert output("stdout", "\ufffd") == next(found)
        name, result = next(found)
        assert [] == list(found)
    assert ("result", "a\u20acb\ufffd\ufffd", "\ufffd", 3) == (
        name,
        result["stdout"],
        result["stderr"],
        result["exit_code"],
    )
    ordinary = door.send("POST", f"{path}/execute", {"code": "1"}, key="run")
    assert (result, "true") == (ordinary.json(), ordinary.headers["idempotent-replayed"])
    assert 2 == spent(door)


def test_what_is_refused_before_has_no_stream(door: Door, path: str, provider: ScriptedSandboxes) -> None:
    """The ordinary problem with its status: nothing has begun."""

    def refused(status: int, why: str, /, *, key: str = "other", where: str = path, **body: Any) -> None:
        headers = ASKED | {"Idempotency-Key": key}
        answer = door.client.post(f"{where}/execute", json={"code": "1"} | body, headers=headers)
        problem(answer, status, why)

    refused(422, "VALIDATION_FAILED", language="cobol")
    refused(422, "VALIDATION_FAILED", code="")
    refused(404, "NOT_FOUND", where="/sandboxes/sbx_0000000000000")
    unkeyed = door.client.post(f"{path}/execute", json={"code": "1"}, headers=ASKED)
    problem(unkeyed, 400, "IDEMPOTENCY_KEY_REQUIRED")
    steps = provider.writes = Steps(("stdout", b"one"))
    with streamed(door, path) as found:
        assert output("stdout", "one") == next(found)
        refused(409, "IDEMPOTENCY_IN_FLIGHT", key="run")
        refused(422, "IDEMPOTENCY_KEY_REUSED", key="run", code="2")
        steps.end()
        assert ["result"] == [name for name, _ in found]
    held = door.post("/holds", {"customer": "ann", "amount": 353, "unit": "rUv"})
    refused(402, "INSUFFICIENT_CREDITS")
    door.post(f"/holds/{held['id']}/release")
    door.post(f"{path}/stop")
    refused(409, "SANDBOX_NOT_RUNNING")
    assert (1, 2) == (steps.runs, spent(door))


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [(OutcomeUnknown("no answer"), 503, "SANDBOX_FAILED"), (LookupError("a bug"), 500, "INTERNAL_ERROR")],
)
def test_what_fails_later_ends_the_stream(
    door: Door, path: str, provider: ScriptedSandboxes, failure: Exception, status: int, code: str
) -> None:
    """The problem is the last event, as the document that the ordinary answer has; nothing was paid."""
    steps = provider.writes = Steps(("stdout", b"one"), failure)
    steps.end()
    with streamed(door, path) as found:
        *before, (name, told) = found
    assert ([output("stdout", "one")], "error", status, code) == (before, name, told["status"], told["code"])
    again = door.send("POST", f"{path}/execute", {"code": "1"}, key="run").json()
    assert told | {"request_id": again["request_id"]} == again
    assert 0 == spent(door)
    assert 2 == door.metrics.registry.get_sample_value("tally_refusals_total", {"code": code.lower()})


def test_a_repeat_streams_what_was_kept(door: Door, path: str, provider: ScriptedSandboxes) -> None:
    """It runs nothing, is told to be a repeat, and costs nothing more."""
    steps = provider.writes = Steps(("stdout", b"one"), ("stderr", b"bad"), ("stdout", b"two"))
    steps.end()
    with streamed(door, path) as found:
        first = list(found)
    headers = ASKED | {"Idempotency-Key": "run"}
    answer = door.client.post(f"{path}/execute", json={"code": "1"}, headers=headers)
    assert (201, "true") == (answer.status_code, answer.headers["idempotent-replayed"])
    assert [output("stdout", "onetwo"), output("stderr", "bad"), first[-1]] == list(
        events(iter([answer.content]))
    )
    assert (1, 2) == (steps.runs, spent(door))


def test_a_client_that_goes_away_interrupts_nothing(
    door: Door, path: str, provider: ScriptedSandboxes
) -> None:
    """The code runs to its end, is kept whole, and is charged once."""
    steps = provider.writes = Steps(("stdout", b"one"), ("stdout", b"two"))
    with streamed(door, path) as found:
        assert output("stdout", "one") == next(found)
    assert "running" == door.get(f"{path}/logs")["logs"][0]["status"]
    steps.end()
    wait_until(lambda: door.get(f"{path}/logs")["logs"][0]["status"] == "done")
    kept = door.post(f"{path}/execute", {"code": "1"}, key="run")
    assert ("onetwo", 1, 2) == (kept["stdout"], steps.runs, spent(door))


def test_silence_is_filled(
    door: Door, path: str, provider: ScriptedSandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments keep a connection alive while nothing is written."""
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.01)
    steps = provider.writes = Steps(("stdout", b"one"))
    with streamed(door, path) as found:
        assert [output("stdout", "one"), ("", b":"), ("", b":")] == [next(found) for _ in range(3)]
        steps.end()
        assert {"", "result"} >= {name for name, _ in found}


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream;q=0.5", True),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/event-stream; q=0.0", False),
    ],
)
def test_who_wants_events_says_so(door: Door, path: str, accept: str, *, streams: bool) -> None:
    """By naming their media type; everyone else gets JSON."""
    headers = {"Accept": accept} | door.key()
    answer = door.client.post(f"{path}/execute", json={"code": "1"}, headers=headers)
    assert streams == answer.headers["content-type"].startswith("text/event-stream")
    assert streams == answer.text.startswith("event: result\ndata: {")
