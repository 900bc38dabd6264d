"""Group commit: what queued up while the last batch was committing is posted together, in one database transaction.

No timer: a lone caller is served at once, and batches grow by themselves with the load. Each caller gets its own outcome,
after the commit. An operation that is refused fails alone. When the database refuses a whole batch, its operations are
posted one by one, so that only the culprit fails.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.book import Book
from tallystick.core.operations import Operation
from tallystick.services.in_flight import InFlight
from tallystick.store.engine import Database
from tallystick.store.ledger import Ledger
from tallystick.store.results import Outcome

MAX_BATCH: Final = 256
TRIES_ALONE: Final = 3
CLOSING: Final = "the server is shutting down"


class Ticket:
    """One caller's place in the queue."""

    __slots__ = ("_done", "_future", "_loop", "failure", "next", "operation", "outcome")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.outcome: Outcome | None = None
        self.failure: Exception | None = None
        self.next: Ticket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._future: asyncio.Future[None] | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def attach(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Be waited for by a coroutine instead of a thread."""
        self._loop = loop
        self._future = loop.create_future()
        return self._future

    def wait(self) -> Outcome:
        """Block until the batch has committed."""
        self._done.acquire()
        if self.next is not None:
            self.next.finish()
        return self.result()

    def result(self) -> Outcome:
        """The outcome, or raise what kept the batch from committing."""
        if self.failure is not None:
            raise self.failure
        if self.outcome is None:
            raise AssertionError
        return self.outcome

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that waits, if it is one."""
        return self._loop

    def finish(self) -> None:
        """Wake a waiting thread."""
        self._done.release()

    def finish_in_loop(self) -> None:
        """Wake a waiting coroutine; called in its loop."""
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class GroupCommit:
    """A queue of operations and the one thread that posts them."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        now: Callable[[], int],
        observe: Callable[[int, float], None] = lambda _size, _seconds: None,
    ) -> None:
        """``observe`` is told the size of each batch and how many seconds it took."""
        self._database = database
        self._ledger = ledger
        self._now = now
        self._observe = observe
        self._queue: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._in_flight = InFlight()
        self._closed = False
        self._ended = False
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many operations wait for the next batch."""
        return self._queue.qsize()

    def run(self, operation: Operation) -> Outcome:
        """Post one operation and wait for its commit.

        Raises ``IdempotencyInFlight`` while another with the same key is on its way in this process; those of one
        ``run_all`` may share a key, and then the later ones are repeats.
        """
        ticket = Ticket(operation)
        self._in_flight.claim(operation.idempotency, ticket)
        self._put(ticket)
        return ticket.wait()

    def run_all(self, operations: list[Operation]) -> list[Outcome]:
        """Post several operations; each has its own outcome, and their order is kept."""
        tickets = [Ticket(operation) for operation in operations]
        for ticket in tickets:
            self._put(ticket)
        return [ticket.wait() for ticket in tickets]

    async def run_async(self, operation: Operation) -> Outcome:
        """As ``run``, awaited. Cancelling the wait does not undo the operation."""
        ticket = Ticket(operation)
        self._in_flight.claim(operation.idempotency, ticket)
        future = ticket.attach(asyncio.get_running_loop())
        self._put(ticket)
        await future
        return ticket.result()

    async def run_all_async(self, operations: list[Operation]) -> list[Outcome]:
        """Post several operations; each has its own outcome, and their order is kept."""
        tickets = [Ticket(operation) for operation in operations]
        futures = [ticket.attach(asyncio.get_running_loop()) for ticket in tickets]
        for ticket in tickets:
            self._put(ticket)
        await asyncio.gather(*futures)
        return [ticket.result() for ticket in tickets]

    def close(self) -> None:
        """Post what is queued, then stop; later operations are refused."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._ended = True
        self._refuse_rest()

    def _put(self, ticket: Ticket) -> None:
        if self._closed:
            self._in_flight.release(ticket.operation.idempotency, ticket)
            raise errors.ServiceUnavailable(CLOSING)
        self._queue.put(ticket)
        if self._ended:  # It came between the look and the end: nobody else would answer it.
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        """What was queued behind the end is refused, so that nobody waits for ever."""
        with contextlib.suppress(queue.Empty):
            while True:
                ticket = self._queue.get_nowait()
                if ticket is not None:
                    ticket.failure = errors.ServiceUnavailable(CLOSING)
                    self._wake([ticket])

    def _run(self) -> None:
        take, more = self._queue.get, self._queue.get_nowait
        while True:
            first = take()
            if first is None:
                return
            batch = [first]
            last = False
            with contextlib.suppress(queue.Empty):
                while len(batch) < MAX_BATCH:
                    ticket = more()
                    if ticket is None:
                        last = True
                        break
                    batch.append(ticket)
            self._post(batch)
            if last:
                return

    def _post(self, batch: list[Ticket]) -> None:
        started = time.perf_counter()
        try:
            self._commit(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller must hear of it
            if self._rows_refused(error):
                for ticket in batch:
                    self._post_alone(ticket)
            else:
                self._fail(batch, error)
        self._observe(len(batch), time.perf_counter() - started)
        self._wake(batch)

    def _post_alone(self, ticket: Ticket) -> None:
        """One operation by itself; where another process was first with the same key, its answer is there by now."""
        for _ in range(TRIES_ALONE):
            try:
                self._commit([ticket])
            except Exception as error:  # noqa: BLE001 - as above
                self._fail([ticket], error)
                if not self._database.driver.is_conflict(_origin(error)):
                    return
            else:
                ticket.failure = None
                return

    def _commit(self, batch: list[Ticket]) -> None:
        operations = [ticket.operation for ticket in batch]

        def work(connection: Connection) -> tuple[list[Outcome], Book]:
            return self._ledger.post_book(connection, operations, now=self._now())

        outcomes, book = self._database.transact_hot(work)
        self._ledger.keep(book)
        for ticket, outcome in zip(batch, outcomes, strict=True):
            ticket.outcome = outcome

    def _rows_refused(self, error: Exception) -> bool:
        driver, origin = self._database.driver, _origin(error)
        return driver.is_conflict(origin) or driver.is_overflow(origin)

    def _fail(self, batch: list[Ticket], error: Exception) -> None:
        failure = errors.AmountTooLarge() if self._database.driver.is_overflow(_origin(error)) else error
        for ticket in batch:
            ticket.failure = failure

    def _wake(self, batch: list[Ticket]) -> None:
        waiting: dict[asyncio.AbstractEventLoop, list[Ticket]] = {}
        first: Ticket | None = None
        for ticket in reversed(batch):
            self._in_flight.release(ticket.operation.idempotency, ticket)
            if ticket.loop is None:
                ticket.next = first
                first = ticket
            else:
                waiting.setdefault(ticket.loop, []).append(ticket)
        if first is not None:
            # Each thread wakes the next: woken all at once, they would fight for the interpreter.
            first.finish()
        for loop, tickets in waiting.items():
            tickets.reverse()
            # A loop that has closed has nobody left to tell.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_finish_all, tickets)


def _origin(error: Exception) -> BaseException:
    """The driver's own error behind SQLAlchemy's."""
    return getattr(error, "orig", None) or error


def _finish_all(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.finish_in_loop()
