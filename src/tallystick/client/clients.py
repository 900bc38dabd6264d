"""The two clients. They differ in how they wait; what is asked, how often and how it is read is the same."""

from __future__ import annotations

import asyncio
import inspect
import secrets
import time
from contextlib import closing
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from tallystick.client import exact
from tallystick.client.downloads import AsyncDownload, Download
from tallystick.client.errors import TallyError, unusable
from tallystick.client.events import OnOutput, ToldInVain, own_errors
from tallystick.client.operations import Awaiting, Blocking, Call
from tallystick.client.requests import Request
from tallystick.client.resources import Resources
from tallystick.client.settings import Retries, Settings, Timeouts, settings_of
from tallystick.client.tries import Tries

_CHANCE: Final = secrets.SystemRandom()
_CONNECTIONS: Final = 100  # all of them are kept: each costs a handshake

_MARGIN_SECONDS: Final = 0.1

T = TypeVar("T")


class _Client:
    """What both clients know."""

    settings: Settings

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """A client with the settings of another, and connections of its own."""
        client = cls.__new__(cls)
        client._open(settings)  # noqa: SLF001 - of the same class
        return client

    def with_key(self, api_key: str | None) -> Self:
        """The same for another key or a session's token."""
        return self.from_settings(self.settings.with_key(api_key))

    def _open(self, settings: Settings) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        """Where it asks; never with which key."""
        return f"{type(self).__name__}(base_url={self.settings.base_url!r})"

    def _tries(self, request: Request[Any]) -> Tries:
        # Chance spreads the repeats of many clients, also of processes that were forked from one.
        return Tries(request, self.settings, now=time.monotonic, chance=_CHANCE.random)


class TallyClient(_Client, Resources[Blocking]):
    """A client that waits for its answers: safe to share between threads, and keeps its connections.

    ``base_url`` and ``api_key`` come from ``TALLY_URL`` and ``TALLY_API_KEY`` where they are not given. Raises
    ``ConfigurationError`` for one that cannot be used, and ``TallyError`` from every operation.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        self._open(settings_of(api_key=api_key, base_url=base_url, timeouts=timeouts, retries=retries))

    def _open(self, settings: Settings) -> None:
        self.settings = settings
        way = settings.transports
        self._http = httpx.Client(transport=None if way is None else way.blocking(), **_options(settings))
        super().__init__(self)

    def awaitable(self) -> AsyncTallyClient:
        """A client for ``await`` with the same settings and connections of its own."""
        return AsyncTallyClient.from_settings(self.settings)

    def perform(self, request: Request[T]) -> T:
        """Send a request, again where that is safe, and read its answer. Raises ``TallyError``."""
        if inspect.iscoroutinefunction(request.on_output):
            raise unusable("on_output: expected a function that is not async; AsyncTallyClient takes both")
        tries = self._tries(request)
        with own_errors():
            answer = self._answer(request, tries)
        found: T = tries.read(answer)
        return found

    def download(self, request: Request[bytes]) -> Download:
        """A file that is asked for when it is read."""
        return Download(lambda: self._file(request))

    def _file(self, request: Request[bytes]) -> httpx.Response:
        tries = self._tries(request)
        answer = self._answer(request, tries, stream=True)
        if not answer.is_success:
            tries.read(answer)
        try:
            tries.check_kind(answer)
        except TallyError:
            answer.close()
            raise
        return answer

    def _answer(self, request: Request[Any], tries: Tries, *, stream: bool = False) -> httpx.Response:
        """The answer that stands, after as many tries as it takes."""
        pause: float | None
        while True:
            try:
                answer = self._send(request, tries, stream=stream)
            except httpx.RequestError as error:
                pause = tries.after_failure(error)
            else:
                pause = tries.after_answer(answer)
                if pause is None:
                    return answer
            time.sleep(pause)

    def _send(self, request: Request[Any], tries: Tries, *, stream: bool) -> httpx.Response:
        """One try. Of a ``stream`` only a refusal is read."""
        answer = self._http.send(_request(self._http, request, tries), stream=True)
        if stream and answer.is_success:
            return answer
        with closing(answer):
            if answer.is_success and request.on_output is not None:
                return self._hear(answer, request.on_output, tries)
            pieces = []
            for piece in answer.iter_raw():
                tries.check_time()
                pieces.append(piece)
        return _whole(answer, pieces)

    def _hear(self, answer: httpx.Response, tell: OnOutput, tries: Tries) -> httpx.Response:
        """Tell what comes, and give the answer at its end. Raises ``ToldInVain``."""
        hearing = tries.hear(answer)
        for piece in answer.iter_bytes():
            tries.check_time()
            for stream, text in hearing.feed(piece):
                try:
                    tell(stream, text)
                except Exception as error:
                    raise ToldInVain(error) from error
        return hearing.end

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Hang up at the end of the block."""
        self.close()


class AsyncTallyClient(_Client, Resources[Awaiting]):
    """As ``TallyClient``, for ``await`` under asyncio. Its connections belong to the event loop that it is used in."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        retries: Retries = Retries(),  # noqa: B008 - frozen
    ) -> None:
        self._open(settings_of(api_key=api_key, base_url=base_url, timeouts=timeouts, retries=retries))

    def _open(self, settings: Settings) -> None:
        self.settings = settings
        way = settings.transports
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http = httpx.AsyncClient(
            transport=None if way is None else way.awaitable(), **_options(settings)
        )
        super().__init__(self)

    def blocking(self) -> TallyClient:
        """A client that waits, with the same settings and connections of its own."""
        return TallyClient.from_settings(self.settings)

    def perform(self, request: Request[T]) -> Call[T]:
        """Send a request, again where that is safe, and read its answer. Raises ``TallyError`` when it is awaited."""
        return Call(self._perform(request))

    async def _perform(self, request: Request[T]) -> T:
        tries = self._tries(request)
        with own_errors():
            answer = await self._answer(request, tries)
        found: T = tries.read(answer)
        return found

    def download(self, request: Request[bytes]) -> AsyncDownload:
        """A file that is asked for when it is read."""
        return AsyncDownload(lambda: self._file(request))

    async def _file(self, request: Request[bytes]) -> httpx.Response:
        tries = self._tries(request)
        answer = await self._answer(request, tries, stream=True)
        if not answer.is_success:
            tries.read(answer)
        try:
            tries.check_kind(answer)
        except TallyError:
            await answer.aclose()
            raise
        return answer

    async def _answer(self, request: Request[Any], tries: Tries, *, stream: bool = False) -> httpx.Response:
        """The answer that stands, after as many tries as it takes."""
        pause: float | None
        while True:
            try:
                answer = await self._send(request, tries, stream=stream)
            except httpx.RequestError as error:
                pause = tries.after_failure(error)
            else:
                pause = tries.after_answer(answer)
                if pause is None:
                    return answer
            await asyncio.sleep(pause)

    async def _send(self, request: Request[Any], tries: Tries, *, stream: bool) -> httpx.Response:
        """One try. Of a ``stream`` only a refusal is read."""
        self._check_loop()
        asked = _request(self._http, request, tries)
        try:
            # A connection that does not come about has its own, shorter, time, and its own error.
            async with asyncio.timeout(tries.seconds_left + _MARGIN_SECONDS):
                answer = await self._http.send(asked, stream=True)
                if stream and answer.is_success:
                    return answer
                try:
                    if answer.is_success and request.on_output is not None:
                        return await self._hear(answer, request.on_output, tries)
                    pieces = [piece async for piece in answer.aiter_raw()]
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise httpx.ReadTimeout("the answer took too long", request=asked) from None
        return _whole(answer, pieces)

    async def _hear(self, answer: httpx.Response, tell: OnOutput, tries: Tries) -> httpx.Response:
        """As a ``TallyClient``; what it tells may be async."""
        hearing = tries.hear(answer)
        async for piece in answer.aiter_bytes():
            for stream, text in hearing.feed(piece):
                try:
                    told = tell(stream, text)
                    if inspect.isawaitable(told):
                        await told
                except Exception as error:
                    raise ToldInVain(error) from error
        return hearing.end

    def _check_loop(self) -> None:
        """Raises ``ConfigurationError`` where the connections are another event loop's; other transports have none."""
        if self.settings.transports is None:
            loop = asyncio.get_running_loop()
            self._loop = self._loop or loop
            if loop is not self._loop:
                raise unusable("this client was used in another event loop: make one in each")

    async def aclose(self) -> None:
        """Hang up, in the event loop that it was used in."""
        self._check_loop()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Use as a context manager."""
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Hang up at the end of the block."""
        await self.aclose()


def _options(settings: Settings) -> dict[str, Any]:
    """Reading certificates takes time, and on one's own machine there is none to check and no proxy to pass."""
    own = settings.is_own_machine
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    return {
        "base_url": settings.base_url,
        "headers": settings.headers,
        "limits": limits,
        "trust_env": not own,
        "verify": settings.base_url.startswith("https:") or not own,
    }


def _request(http: httpx.Client | httpx.AsyncClient, request: Request[Any], tries: Tries) -> httpx.Request:
    if http.is_closed:
        raise unusable("this client was closed: make another")
    headers = dict(request.headers)
    content = request.content
    if request.body is not None:
        content = exact.encode(request.body)
        headers["Content-Type"] = "application/json"
    if request.idempotency_key is not None:
        headers["Idempotency-Key"] = request.idempotency_key
    query = {name: _plain(value) for name, value in request.query.items()}
    try:
        return http.build_request(
            request.method,
            request.address,
            params=query,
            content=content,
            headers=headers,
            timeout=tries.timeout,
        )
    except httpx.InvalidURL as error:
        raise unusable(str(error)) from error


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(answer: httpx.Response, pieces: list[bytes]) -> httpx.Response:
    """An answer with all of its body, decoded as its headers say."""
    return httpx.Response(answer.status_code, headers=answer.headers, content=b"".join(pieces))
