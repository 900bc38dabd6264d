"""One description of an operation serves both clients.

An operation is a method that gives a ``Request`` and does nothing. ``@operation`` makes the client that it is called on
perform it: ``TallyClient`` gives the answer, ``AsyncTallyClient`` a ``Call`` to be awaited. Which of them it is stands in
the type of the resource, ``Charges[Blocking]`` or ``Charges[Awaiting]``, so that editors and type checkers know both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, suppress
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from tallystick.client.errors import TallyError
from tallystick.client.requests import Request

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
E = TypeVar("E")
Mode = TypeVar("Mode")

_LEAVING: Final = set[asyncio.Future[None]]()  # an event loop forgets a task that nobody holds


class Blocking:
    """Of ``TallyClient``: an operation gives its answer."""


class Awaiting:
    """Of ``AsyncTallyClient``: an operation gives a ``Call``."""


class Performer(Protocol):
    """A client, as its resources see it."""

    def perform(self, request: Request[Any]) -> Any:  # noqa: ANN401 - the answer, or a call for it
        """Send a request and read its answer."""
        ...

    def download(self, request: Request[bytes]) -> Any:  # noqa: ANN401 - as above
        """What a file is read from."""
        ...


class Resource(Generic[Mode]):
    """Operations about one noun."""

    def __init__(self, client: Performer) -> None:
        self._client = client

    def perform(self, request: Request[Any]) -> Any:  # noqa: ANN401 - as the client's
        """Have the client do it."""
        return self._client.perform(request)

    def download(self, request: Request[bytes]) -> Any:  # noqa: ANN401 - as the client's
        """Have the client read a file."""
        return self._client.download(request)


class Call(Coroutine[Any, Any, T_co]):
    """A call under way: ``await`` it, or enter (``async with``) or iterate over (``async for``) what it gives."""

    def __init__(self, coroutine: Coroutine[Any, Any, T_co]) -> None:
        self._coroutine = coroutine
        self._entered: AbstractAsyncContextManager[Any, Any] | None = None

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:  # noqa: ANN401 - as a coroutine's
        """Go on; an event loop calls this."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:  # noqa: ANN401 - as a coroutine's
        """Be interrupted; an event loop calls this."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Give up."""
        self._coroutine.close()

    async def __aenter__(self: Call[AbstractAsyncContextManager[E, Any]]) -> E:
        asked = asyncio.ensure_future(self._coroutine)
        try:
            entered = await asyncio.shield(asked)
        except asyncio.CancelledError:
            # What was asked for may be made all the same, and nobody else would end it.
            left = asyncio.ensure_future(_leave(asked))
            _LEAVING.add(left)
            left.add_done_callback(_LEAVING.discard)
            raise
        self._entered = entered
        return await entered.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered is not None:
            await self._entered.__aexit__(kind, error, trace)

    async def __aiter__(self: Call[AsyncIterable[E]]) -> AsyncIterator[E]:
        async for each in await self._coroutine:
            yield each


async def _leave(asked: asyncio.Future[AbstractAsyncContextManager[Any, Any]]) -> None:
    """Enter and end what somebody asked for who waits no longer. There is nobody to tell what fails."""
    with suppress(TallyError):
        async with await asked:
            pass


class Operation(Generic[P, T]):
    """A described operation; as a method of a resource it is performed."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Request[T]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Blocking], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Awaiting], owner: type) -> Callable[P, Call[T]]: ...

    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        if resource is None:
            return self
        describe, client = self.describe, resource

        @wraps(describe)
        def perform(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - as ``perform``
            return client.perform(describe(client, *args, **kwargs))

        return perform


operation = Operation
