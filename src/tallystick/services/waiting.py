"""Threads for what may wait for long: code that runs for an hour in a sandbox keeps no other request waiting.

Executions have threads of their own, so that nobody waits for them to stop a sandbox that is being billed. A customer has a
share of these threads: what it asks for beyond that waits behind its own executions, and behind nobody else's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from tallystick.services.context import Caller
from tallystick.services.sandboxes import Sandboxes

T = TypeVar("T")

AT_ONCE: Final = 256
SHARE: Final = AT_ONCE // 4


class _Executions:
    """The threads of executions in one event loop, and what each customer has of them."""

    def __init__(self) -> None:
        self.threads = anyio.CapacityLimiter(AT_ONCE)
        self._shares: dict[int, anyio.CapacityLimiter] = {}

    @asynccontextmanager
    async def share(self, customer_id: int) -> AsyncIterator[None]:
        """Wait for a place in the customer's share, which is forgotten when nobody has one."""
        share = self._shares.setdefault(customer_id, anyio.CapacityLimiter(SHARE))
        try:
            async with share:
                yield
        finally:
            if not share.borrowed_tokens and not share.statistics().tasks_waiting:
                self._shares.pop(customer_id, None)


_threads: Final[RunVar[anyio.CapacityLimiter]] = RunVar("threads that wait for sandboxes")
_executions: Final[RunVar[_Executions]] = RunVar("threads that wait for code in sandboxes")


async def waiting(work: Callable[[], T]) -> T:
    """Run work in a thread that nothing else needs, of which each event loop has so many."""
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        _threads.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)


async def executing(sandboxes: Sandboxes, caller: Caller, sandbox: str, run: Callable[[], T]) -> T:
    """Run code in a sandbox, in a thread of its customer's share. Raises ``NotFound`` where there is no such sandbox."""
    customer_id = None if caller.is_service else caller.customer_id
    if customer_id is None:  # it acts for many, none of whom waits for the others
        customer_id = (await waiting(partial(sandboxes.get, caller, sandbox))).customer_id
    try:
        executions = _executions.get()
    except LookupError:
        executions = _Executions()
        _executions.set(executions)
    async with executions.share(customer_id):
        return await anyio.to_thread.run_sync(run, limiter=executions.threads)
