"""Files, read while they come. Nothing is asked for before a download is entered or read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, overload

import httpx

from tallystick.client.errors import UnexpectedAnswer
from tallystick.client.operations import Awaiting, Blocking, Resource
from tallystick.client.requests import Request

P = ParamSpec("P")


class Download:
    """A file: ``read()`` gives all of it; ``with`` it, its pieces are there to iterate over. Raises ``TallyError``."""

    def __init__(self, ask: Callable[[], httpx.Response]) -> None:
        self._ask = ask
        self._answer: httpx.Response | None = None

    def read(self) -> bytes:
        """All of the file."""
        with self as pieces:
            return b"".join(pieces)

    def __enter__(self) -> Iterator[bytes]:
        self._answer = self._ask()
        return self._pieces(self._answer)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._answer is not None:
            self._answer.close()

    def _pieces(self, answer: httpx.Response) -> Iterator[bytes]:
        try:
            yield from answer.iter_bytes()
        except httpx.RequestError as error:
            raise _broken_off(error) from error


class AsyncDownload:
    """As ``Download``, for ``await`` and ``async with``."""

    def __init__(self, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
        self._ask = ask
        self._answer: httpx.Response | None = None

    async def read(self) -> bytes:
        """All of the file."""
        async with self as pieces:
            return b"".join([piece async for piece in pieces])

    async def __aenter__(self) -> AsyncIterator[bytes]:
        self._answer = await self._ask()
        return self._pieces(self._answer)

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._answer is not None:
            await self._answer.aclose()

    async def _pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for piece in answer.aiter_bytes():
                yield piece
        except httpx.RequestError as error:
            raise _broken_off(error) from error


class FileOperation(Generic[P]):
    """As ``Operation``, for what is answered with a file."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Request[bytes]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Blocking], owner: type) -> Callable[P, Download]: ...
    @overload
    def __get__(self, resource: Resource[Awaiting], owner: type) -> Callable[P, AsyncDownload]: ...

    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        if resource is None:
            return self
        describe, client = self.describe, resource

        @wraps(describe)
        def download(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - as the client's
            return client.download(describe(client, *args, **kwargs))

        return download


file_operation = FileOperation


def _broken_off(error: httpx.RequestError) -> UnexpectedAnswer:
    why = str(error) or type(error).__name__
    return UnexpectedAnswer("ANSWER_INCOMPLETE", f"the file broke off before all of it had come: {why}")
