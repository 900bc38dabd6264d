"""Threads for what may wait for long: code that runs for an hour in a sandbox keeps no other request waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")

AT_ONCE: Final = 256
_threads: Final[RunVar[anyio.CapacityLimiter]] = RunVar("threads that wait for sandboxes")


async def waiting(work: Callable[[], T]) -> T:
    """Run work in a thread that nothing else needs, of which each event loop has so many."""
    try:
        limiter = _threads.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        _threads.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)
