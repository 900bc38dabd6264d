"""Who asks: one function for every request, exact at once after a revocation.

Nothing about a key is remembered between requests. Requests that wait at the same moment share one read of the database:
it begins after they came, so that what it finds holds for each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Final

from fastapi import Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from tallystick.core import errors
from tallystick.services.context import Caller

_COMMAND_LINE: Final = "tallystick-cli"  # what it calls itself
Found = Mapping[str, Caller | errors.Refusal]
_SCHEME: Final = "bearer "


class Gate:
    """Tells who the tokens of waiting requests belong to, many at a time.

    ``look_up`` gives the caller or the refusal for each of some tokens. With ``in_thread`` it waits elsewhere than in the
    event loop: for a database that is asked over a network.
    """

    def __init__(self, look_up: Callable[[list[str]], Found], *, in_thread: bool) -> None:
        self._look_up = look_up
        self._executor: Executor | None = ThreadPoolExecutor(1, "authentication") if in_thread else None
        self._waiting: list[tuple[str, asyncio.Future[Caller]]] = []
        self._busy = False

    async def caller_of(self, token: str) -> Caller:
        """Who a token belongs to. Raises ``NotAuthenticated``, or ``ServiceUnavailable`` when the database is away."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Caller] = loop.create_future()
        self._waiting.append((token, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start, loop)
        return await future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting, []
        tokens = list({token for token, _ in batch})
        if self._executor is None:
            try:
                found: Found | BaseException = self._look_up(tokens)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
                found = error
            self._finish(loop, batch, found)
        else:
            work = loop.run_in_executor(self._executor, self._look_up, tokens)
            work.add_done_callback(lambda done: self._finish(loop, batch, done.exception() or done.result()))

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[str, asyncio.Future[Caller]]],
        found: Found | BaseException,
    ) -> None:
        for token, future in batch:
            if future.done():  # whoever waited has gone
                continue
            result = found if isinstance(found, BaseException) else found[token]
            if isinstance(result, Caller):
                future.set_result(result)
            else:
                future.set_exception(result)
        if self._waiting:
            loop.call_soon(self._start, loop)
        else:
            self._busy = False

    def close(self) -> None:
        """End the thread, if there is one."""
        if self._executor is not None:
            self._executor.shutdown()


def token_of(request: Request) -> str:
    """The token of ``Authorization: Bearer …``. Raises ``NotAuthenticated``."""
    header = request.headers.get("authorization")
    if header is None:
        raise errors.NotAuthenticated("send a session token or an API key as Authorization: Bearer …")
    if header[:7].lower() != _SCHEME:
        raise errors.NotAuthenticated("expected an Authorization header of the form: Bearer <token or key>")
    return header[7:].strip()


async def authenticate(request: Request) -> Caller:
    """Who sends this request. Raises ``NotAuthenticated``."""
    gate: Gate = request.app.state.gate
    caller = await gate.caller_of(token_of(request))
    if not caller.is_admin:
        return caller
    by_command = request.headers.get("user-agent", "").startswith(_COMMAND_LINE)
    return replace(caller, door="cli" if by_command else "rest")


class _Bearer(SecurityBase):
    """Declares in the OpenAPI document what the route has done already."""

    def __init__(self) -> None:
        self.scheme_name = "bearer"
        self.model = HTTPBearer(description="A session token (`tls_…`) or an API key")

    async def __call__(self, request: Request) -> Caller:
        caller: Caller = request.state.caller
        return caller


bearer: Final = _Bearer()
CallerOf = Annotated[Caller, Security(bearer)]
