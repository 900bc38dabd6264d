"""The SDK over an engine in the same process: the same calls, no server and no port.

Requests pass through the REST door's own application, in an event loop in a thread, so that an embedded engine answers,
refuses and repeats exactly as a server does. Whoever opens one has its database in hand, so its client is an admin.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from concurrent.futures import Future
from logging import WARNING
from types import TracebackType
from typing import Final, Self

import httpx
import structlog

from tallystick.api import logs
from tallystick.api.app import create_app
from tallystick.api.auth import Found, Gate
from tallystick.bootstrap import Tally
from tallystick.client import AsyncTallyClient, Settings, TallyClient
from tallystick.services.context import Caller
from tallystick.services.keys import scope_of_service
from tallystick.worker import Worker

# Its idempotency keys and holds are the same each time the engine is opened.
_OWNER: Final = Caller(role="admin", scope=scope_of_service("embedded"), name="embedded")


class Embedded:
    """An engine with a ``client``: ``with Embedded.open("sqlite:///tally.db", economy="starter") as engine: …``."""

    def __init__(self, tally: Tally) -> None:
        """Take an engine, and close it at the end. Due work is done beside, as by a server."""
        if not structlog.is_configured():
            # A program that only counts credits is not to print every request.
            logs.configure_own(level=WARNING)
        self.tally = tally
        self._worker = Worker(tally)
        self._way = _Way(tally, owner_key := secrets.token_hex(32))
        settings = Settings(base_url=tally.context.public_url, api_key=owner_key, transports=self._way)
        self.client = TallyClient.from_settings(settings)
        self._worker.start()

    @classmethod
    def open(
        cls, url: str = "sqlite:///tally.db", *, economy: str = "starter", test_mode: bool = True
    ) -> Self:
        """Open a database, bring it to the newest schema, and activate an economy."""
        return cls(Tally.open(url, economy=economy, test_mode=test_mode))

    def awaitable(self) -> AsyncTallyClient:
        """A client for ``await``, from whichever event loop."""
        return self.client.awaitable()

    def close(self) -> None:
        """End what runs, then close the database."""
        self.client.close()
        self._worker.stop()
        self._way.close()
        self.tally.close()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close at the end of the block."""
        self.close()


class _Way:
    """The way of both clients to an application in an event loop of its own."""

    def __init__(self, tally: Tally, owner_key: str) -> None:
        app = create_app(tally)
        app.state.gate.close()
        self._gate = app.state.gate = Gate(
            lambda tokens: _callers(tally, tokens, owner_key), in_thread=not tally.database.is_sqlite
        )
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="tallystick-embedded", daemon=True
        )
        self._thread.start()

    def blocking(self) -> httpx.BaseTransport:
        """For a ``TallyClient``."""
        return _BlockingTransport(self)

    def awaitable(self) -> httpx.AsyncBaseTransport:
        """For an ``AsyncTallyClient``."""
        return _AwaitableTransport(self)

    def send(self, request: httpx.Request) -> Future[httpx.Response]:
        """Have a request answered."""
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._asgi.handle_async_request(request)
        body = httpx.ByteStream(await answer.aread())
        return httpx.Response(answer.status_code, headers=answer.headers, stream=body)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._gate.close()


class _BlockingTransport(httpx.BaseTransport):
    def __init__(self, way: _Way) -> None:
        self._way = way

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._way.send(request).result()


class _AwaitableTransport(httpx.AsyncBaseTransport):
    def __init__(self, way: _Way) -> None:
        self._way = way

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await asyncio.wrap_future(self._way.send(request))


def _callers(tally: Tally, tokens: list[str], owner_key: str) -> Found:
    """Who shows these tokens: the owner of the engine, or whom a server would know by them."""
    others = [each for each in tokens if each != owner_key]
    found: Found = tally.identity.authenticate_all(others, tally.context.now()) if others else {}
    return {**found, owner_key: _OWNER}
