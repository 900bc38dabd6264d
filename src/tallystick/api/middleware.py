"""Around every request: its id, the limit on its body, its line in the log, its place in the metrics, and the last net."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tallystick.api.metrics import Metrics
from tallystick.api.problems import respond, respond_unforeseen
from tallystick.api.reading import MAX_BODY_BYTES
from tallystick.core.errors import BodyTooLarge, Refusal, ServiceUnavailable
from tallystick.services.sandbox_runs import MAX_FILE_BYTES

QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# Balances and keys are nobody's to keep: a figure that was cached would refuse after a top-up.
NO_STORE: Final = (b"cache-control", b"no-store")
SANDBOXES: Final = "/api/v1/sandboxes/"
UNKNOWN_ROUTE: Final = "(unknown)"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_GIVEN_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_SERVER_ERROR: Final = 500
CLOSING: Final = "the server is shutting down: repeat the request with the same Idempotency-Key"

log = structlog.get_logger(__name__)


class Frame:
    """Plain ASGI: nothing is buffered, and no task is made for a request. ``new_id`` names requests that have no id."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, new_id: Callable[[], str]) -> None:
        self._app = app
        self._metrics = metrics
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given, length = _headers_of(scope)
        request_id = given if given is not None else self._new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _framed(message["headers"], request_id)
            await send(message)

        try:
            most = _most_of(scope["path"])
            if length is not None and length > most:
                await respond(Request(scope), BodyTooLarge(most))(scope, receive, answer)
            else:
                await self._app(scope, receive if length is not None else _limited(receive, most), answer)
        except ClientDisconnect:
            log.info("the client went away", request_id=request_id)
        except asyncio.CancelledError:  # the server closes, and has waited as long as it will
            log.warning("cut off by the end of the server", request_id=request_id, path=scope["path"])
            if not status:
                await respond(Request(scope), ServiceUnavailable(CLOSING))(scope, receive, answer)
            raise
        except Exception as error:  # noqa: BLE001 - it is told, and answered
            _tell(error, request_id=request_id, path=scope["path"])
            if not status:
                await respond_unforeseen(Request(scope))(scope, receive, answer)
        finally:
            self._note(scope, status, time.perf_counter() - started, request_id)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._metrics.answered(method, route, status, seconds)
        if route in QUIET and status < _SERVER_ERROR:
            return
        caller: Any = scope["state"].get("caller")
        (log.info if status < _SERVER_ERROR else log.error)(
            "request",
            request_id=request_id,
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            caller=None if caller is None else caller.name,
        )


def _tell(error: Exception, *, request_id: str, path: str) -> None:
    """A refusal that came when the answer had begun is no mistake of ours: the framework raises its own error from it."""
    if isinstance(error.__cause__, Refusal):
        log.warning("broke off", request_id=request_id, path=path, detail=error.__cause__.detail)
    else:
        log.error("unforeseen", request_id=request_id, path=path, exc_info=error)


def _framed(headers: list[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """What every answer has beside its own headers. A file that pages load says itself how long it is kept."""
    own = [*headers, (b"x-request-id", request_id.encode())]
    return own if any(name == NO_STORE[0] for name, _ in headers) else [*own, NO_STORE]


def _headers_of(scope: Scope) -> tuple[str | None, int | None]:
    """The request's own id, if it has a plain one, and the length of its body, if it says one."""
    given: str | None = None
    length: int | None = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN_ID.fullmatch(value):
            given = value.decode()
        elif name == b"content-length" and value.isdigit():
            length = int(value[:20])
    return given, length


def _most_of(path: str) -> int:
    """How large the body of a request may be: only files that go into a sandbox are larger than others."""
    return MAX_FILE_BYTES if path.startswith(SANDBOXES) and path.endswith("/files") else MAX_BODY_BYTES


def _limited(receive: Receive, most: int) -> Receive:
    """A body that comes in pieces is counted as it comes."""
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > most:
            raise BodyTooLarge(most)
        return message

    return limited
