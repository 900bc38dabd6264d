"""Executions that are told while they run, as server-sent events.

An ``output`` event for what is written, then a ``result``, which is the ordinary answer, or an ``error``, which is the
ordinary problem. What is refused before the code runs is answered as everything else is. A client that goes away interrupts
nothing: the code runs on, and is kept and charged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tallystick.api.answers.sandboxes import execution
from tallystick.api.problems import told, told_unforeseen
from tallystick.api.rendering import json_bytes
from tallystick.core import errors
from tallystick.ports.sandboxes import Stream
from tallystick.services.context import Answer
from tallystick.services.sandbox_output import Audience
from tallystick.store.sandbox_lines import ExecutionRow

EVENTS: Final = "text/event-stream"
QUIET_SECONDS: Final = 15.0
_BEAT: Final = b":\n\n"
_REFUSED: Final = re.compile(r"q=0(\.0*)?")
_STATUS: Final = 201

log = structlog.get_logger(__name__)


def is_wanted(request: Request) -> bool:
    """Whether a request names server-sent events among what it accepts."""
    ranges = [each.split(";") for each in ",".join(request.headers.getlist("accept")).lower().split(",")]
    return any(
        kind.strip() == EVENTS and not any(_REFUSED.fullmatch(each.strip()) for each in parameters)
        for kind, *parameters in ranges
    )


async def live(
    request: Request, run: Callable[[Audience], Coroutine[Any, Any, Answer[ExecutionRow]]]
) -> Response:
    """Carry out an execution, and answer as soon as its code runs. Raises what refuses it before that."""
    telling = _Telling()
    work = asyncio.ensure_future(run(telling))
    work.add_done_callback(telling.end)
    if await telling.begins():
        return _Events(_all_of(request, telling, work))
    answer = work.result()
    headers = {"Idempotent-Replayed": "true"} if answer.replayed else {}
    return _Events(_kept(answer.value), headers)


class _Events(StreamingResponse):
    media_type = EVENTS

    def __init__(self, pieces: AsyncIterator[bytes], headers: dict[str, str] | None = None) -> None:
        # nginx would keep back what is written.
        super().__init__(pieces, _STATUS, {"X-Accel-Buffering": "no", **(headers or {})})

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Write to the end, also where nobody reads any more: as long as code runs, its request does."""
        await self.stream_response(send)


class _Telling:
    """From the thread that carries an execution out to the event loop that answers.

    What waits is put together, so that it takes no more room than what is kept.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._waiting: list[tuple[Stream, list[str]]] = []
        self._begun = False
        self._over = False

    def begun(self) -> None:
        """The code runs."""
        self._in_loop(self._begin)

    def wrote(self, stream: Stream, text: str) -> None:
        """The code wrote this."""
        self._in_loop(self._add, stream, text)

    def end(self, _work: asyncio.Future[Any]) -> None:
        """There is nothing more; called in the event loop."""
        self._over = True
        self._news.set()

    async def begins(self) -> bool:
        """Whether the code runs, as soon as that is known."""
        await self._news.wait()
        return self._begun

    async def events(self) -> AsyncIterator[bytes]:
        """What is written, and a sign of life where that is nothing for long."""
        while True:
            self._news.clear()
            written, self._waiting = self._waiting, []
            over = self._over
            for stream, texts in written:
                yield _output(stream, "".join(texts))
            if over:
                return
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                yield _BEAT

    def _begin(self) -> None:
        self._begun = True
        self._news.set()

    def _add(self, stream: Stream, text: str) -> None:
        if not self._waiting or self._waiting[-1][0] != stream:
            self._waiting.append((stream, []))
        self._waiting[-1][1].append(text)
        self._news.set()

    def _in_loop(self, do: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the server has ended: there is nobody to tell, and the code goes on
            self._loop.call_soon_threadsafe(do, *arguments)


async def _all_of(
    request: Request, telling: _Telling, work: asyncio.Future[Answer[ExecutionRow]]
) -> AsyncIterator[bytes]:
    async for event in telling.events():
        yield event
    try:
        yield _result(work.result().value)
    except errors.Refusal as refusal:
        yield _event("error", told(request, refusal))
    except Exception:
        log.exception("unforeseen", request_id=request.state.request_id, path=request.url.path)
        yield _event("error", told_unforeseen(request))


async def _kept(row: ExecutionRow) -> AsyncIterator[bytes]:
    """What came of an earlier request with the same key."""
    if row.stdout:
        yield _output("stdout", row.stdout)
    if row.stderr:
        yield _output("stderr", row.stderr)
    yield _result(row)


def _output(stream: Stream, text: str) -> bytes:
    return _event("output", {"stream": stream, "text": text})


def _result(row: ExecutionRow) -> bytes:
    return _event("result", execution(row))


def _event(name: str, content: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json_bytes(content))
