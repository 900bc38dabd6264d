"""Places in the queue of the group commit, and the order in which those who wait are woken."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core.operations import Operation
from tallystick.store.results import Outcome

LONGEST_TURN_SECONDS: Final = 0.02


class Place:
    """One caller's place in the queue: a thread or a coroutine that waits for the commit of its batch."""

    __slots__ = ("_done", "_future", "_loop", "failure", "key", "next")

    def __init__(self, key: str | None) -> None:
        """``key`` is the idempotency key that nobody else may use meanwhile."""
        self.key = key
        self.failure: Exception | None = None
        self.next: Place | Turn | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._future: asyncio.Future[None] | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def attach(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Be waited for by a coroutine instead of a thread."""
        self._loop = loop
        self._future = loop.create_future()
        return self._future

    def wait(self) -> None:
        """Block until the batch has committed. Raises what kept it from that."""
        self._done.acquire()
        if self.next is not None:
            self.next.finish()
        self.check()

    def check(self) -> None:
        """Raise what kept the batch from committing."""
        if self.failure is not None:
            raise self.failure

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that waits, if it is one."""
        return self._loop

    def finish(self) -> None:
        """Wake a waiting thread; once more does no harm."""
        with contextlib.suppress(RuntimeError):
            self._done.release()

    def finish_in_loop(self) -> None:
        """Wake a waiting coroutine; called in its loop."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Ticket(Place):
    """A place for an operation."""

    __slots__ = ("operation", "outcome")

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.idempotency)
        self.operation = operation
        self.outcome: Outcome | None = None

    def result(self) -> Outcome:
        """The outcome, or raise what kept the batch from committing."""
        self.check()
        if self.outcome is None:
            raise AssertionError
        return self.outcome


class Errand(Place):
    """A place for other work in the same transaction."""

    __slots__ = ("answer", "work")

    def __init__(self, work: Callable[[Connection], object]) -> None:
        super().__init__(None)
        self.work = work
        self.answer: object = None


class Turn:
    """The end of a chain of threads that wake each other: whoever waits for it goes on when all of them have run."""

    __slots__ = ("_reached",)

    def __init__(self) -> None:
        self._reached = threading.Lock()
        self._reached.acquire()

    def finish(self) -> None:
        """The last thread of the chain is awake."""
        self._reached.release()

    def wait(self) -> bool:
        """Until then; False when it takes too long, because a thread of the chain is slow or has stopped waiting."""
        return self._reached.acquire(timeout=LONGEST_TURN_SECONDS)
