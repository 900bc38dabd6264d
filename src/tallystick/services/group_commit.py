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
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, cast

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.book import Book
from tallystick.core.operations import Operation
from tallystick.services.in_flight import InFlight
from tallystick.services.tickets import Errand, Place, Ticket, Turn
from tallystick.store.engine import Database
from tallystick.store.ledger import Ledger
from tallystick.store.results import Outcome

T = TypeVar("T")

MAX_BATCH: Final = 256
TRIES_TOGETHER: Final = 2
TRIES_ALONE: Final = 3
CLOSING: Final = "the server is shutting down"


class GroupCommit:
    """A queue of operations and the one thread that posts them.

    Callers and the posting thread share one interpreter, and every switch between them costs as much as a charge. So they
    take turns: what the coroutines of a loop ask for in one round of it is queued at once, and after a batch its threads
    run first, so that the next batch finds what all of them ask for.
    """

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        now: Callable[[Connection], int],
        observe: Callable[[int, float], None] = lambda _size, _seconds: None,
        alerted: Callable[[], None] = lambda: None,
    ) -> None:
        """``now`` gives the moment of a batch; ``observe`` is told its size and how many seconds it took.

        ``alerted`` is called after the commit of a batch that left something for the balance watch.
        """
        self._database = database
        self._ledger = ledger
        self._now = now
        self._observe = observe
        self._alerted = alerted
        self._queue: queue.SimpleQueue[list[Place] | None] = queue.SimpleQueue()
        self._asked: dict[asyncio.AbstractEventLoop, list[Place]] = {}
        self._in_flight = InFlight()
        self._closed = False
        self._ended = False
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many callers, or rounds of an event loop, wait for the next batch."""
        return self._queue.qsize()

    def run(self, operation: Operation) -> Outcome:
        """Post one operation and wait for its commit.

        Raises ``IdempotencyInFlight`` while another with the same key is on its way in this process; those of one
        ``run_all_async`` may share a key, and then the later ones are repeats.
        """
        ticket = Ticket(operation)
        self._claim(ticket)
        self._put([ticket])
        ticket.wait()
        return ticket.result()

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a write transaction, as ``Database.transact`` does, and wait for its commit.

        Where the database has one writer it joins the next batch: then many works share one commit with the charges, and
        none of them keeps the writer waiting for the interpreter. Work that fails, fails alone.
        """
        if not self._database.is_sqlite:
            return self._database.transact(work)
        errand = Errand(work)
        self._put([errand])
        errand.wait()
        return cast("T", errand.answer)

    async def run_async(self, operation: Operation) -> Outcome:
        """As ``run``, awaited. Cancelling the wait does not undo the operation."""
        ticket = Ticket(operation)
        self._claim(ticket)
        loop = asyncio.get_running_loop()
        future = ticket.attach(loop)
        asked = self._asked.get(loop)
        if asked is None:
            asked = self._asked[loop] = []
            loop.call_soon(self._put_asked, loop)
        asked.append(ticket)
        await future
        return ticket.result()

    async def run_all_async(self, operations: list[Operation]) -> list[Outcome]:
        """Post several operations; each has its own outcome, and their order is kept."""
        loop = asyncio.get_running_loop()
        tickets = [Ticket(operation) for operation in operations]
        futures = [ticket.attach(loop) for ticket in tickets]
        self._put(tickets)
        await asyncio.gather(*futures)
        return [ticket.result() for ticket in tickets]

    def _claim(self, ticket: Ticket) -> None:
        """Take the ticket's key; what was asked in a loop that closed before it was queued holds none."""
        for loop in [each for each in list(self._asked) if each.is_closed()]:
            for lost in self._asked.pop(loop, ()):
                self._in_flight.release(lost.key, lost)
        self._in_flight.claim(ticket.key, ticket)

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

    def _put_asked(self, loop: asyncio.AbstractEventLoop) -> None:
        """At the end of a loop's round: queue what its coroutines asked for."""
        tickets = self._asked.pop(loop)
        try:
            self._put(tickets)
        except errors.ServiceUnavailable as error:
            self._fail(tickets, error)
            _finish_all(tickets, loop, Turn())

    def _put(self, tickets: Sequence[Place]) -> None:
        if self._closed:
            for ticket in tickets:
                self._in_flight.release(ticket.key, ticket)
            raise errors.ServiceUnavailable(CLOSING)
        for start in range(0, len(tickets), MAX_BATCH):
            self._queue.put(list(tickets[start : start + MAX_BATCH]))
        if self._ended:  # They came between the look and the end: nobody else would answer them.
            self._refuse_rest()

    def _refuse_rest(self) -> None:
        """What was queued behind the end is refused, so that nobody waits for ever."""
        with contextlib.suppress(queue.Empty):
            while True:
                tickets = self._queue.get_nowait()
                if tickets is not None:
                    self._fail(tickets, errors.ServiceUnavailable(CLOSING))
                    self._let_run(tickets, self._wake(tickets))

    def _run(self) -> None:
        take, more = self._queue.get, self._queue.get_nowait
        while True:
            first = take()
            if first is None:
                return
            batch = first
            last = False
            with contextlib.suppress(queue.Empty):
                while len(batch) < MAX_BATCH:
                    tickets = more()
                    if tickets is None:
                        last = True
                        break
                    batch += tickets
            self._let_run(batch, self._post(batch))
            if last:
                return

    def _let_run(self, batch: list[Place], turns: list[Turn]) -> None:
        """Let those who were woken go first. An interrupted thread wakes nobody: then everyone is woken from here."""
        for turn in turns:
            if not turn.wait():
                for ticket in batch:
                    ticket.finish()

    def _post(self, batch: list[Place]) -> list[Turn]:
        started = time.perf_counter()
        if not self._commit_together(batch):
            self._post_each(batch)
        self._observe(len(batch), time.perf_counter() - started)
        return self._wake(batch)

    def _commit_together(self, batch: list[Place]) -> bool:
        """Commit or fail all of them; False when the database refuses rows of theirs, also after a second look at it."""
        for _ in range(TRIES_TOGETHER):
            try:
                self._commit(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, every caller must hear of it
                if self._rows_refused(error):
                    self._ledger.beware()
                    continue
                self._ledger.forget()
                if _may_be_an_errands(error, batch):
                    return False
                self._fail(batch, error)
                return True
            else:
                return True
        return False

    def _post_each(self, batch: list[Place]) -> None:
        """One by one; once the database is away, the rest need not wait for it as well, each in turn."""
        for number, place in enumerate(batch, 1):
            self._post_alone(place)
            if isinstance(place.failure, errors.ServiceUnavailable):
                self._fail(batch[number:], place.failure)
                return

    def _post_alone(self, ticket: Place) -> None:
        """One operation by itself; where another process was first with the same key, its answer is there by now."""
        for _ in range(TRIES_ALONE):
            try:
                self._commit([ticket])
            except Exception as error:  # noqa: BLE001 - as above
                self._fail([ticket], error)
                driver, origin = self._database.driver, _origin(error)
                if not (driver.is_conflict(origin) or driver.is_stale(origin)):
                    return
                self._ledger.beware()
            else:
                ticket.failure = None
                return

    def _commit(self, batch: list[Place]) -> None:
        errands = [each for each in batch if isinstance(each, Errand)]
        tickets = [each for each in batch if isinstance(each, Ticket)]
        operations = [ticket.operation for ticket in tickets]

        def work(connection: Connection) -> tuple[list[object], list[Outcome], Book | None]:
            # Errands come first: what they do to a wallet is there when the operations' wallets are read.
            answers = [errand.work(connection) for errand in errands]
            if not operations:
                return answers, [], None
            return answers, *self._ledger.post_hot(connection, operations, now=self._now(connection))

        answers, outcomes, book = self._database.transact_hot(work)
        if book is not None:
            self._ledger.keep(book)
            if book.alerted:
                self._alerted()
        for errand, answer in zip(errands, answers, strict=True):
            errand.answer = answer
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            ticket.outcome = outcome

    def _rows_refused(self, error: Exception) -> bool:
        driver, origin = self._database.driver, _origin(error)
        return driver.is_conflict(origin) or driver.is_stale(origin) or driver.is_overflow(origin)

    def _fail(self, batch: list[Place], error: Exception) -> None:
        failure = errors.AmountTooLarge() if self._database.driver.is_overflow(_origin(error)) else error
        for ticket in batch:
            ticket.failure = failure

    def _wake(self, batch: list[Place]) -> list[Turn]:
        """Tell everyone; gives the end of the chain in which waiting threads wake each other."""
        waiting: dict[asyncio.AbstractEventLoop, list[Place]] = {}
        turn = Turn()
        first: Place | Turn = turn
        for ticket in reversed(batch):
            self._in_flight.release(ticket.key, ticket)
            if ticket.loop is None:
                ticket.next = first
                first = ticket
            else:
                waiting.setdefault(ticket.loop, []).append(ticket)
        # Each thread wakes the next: woken all at once, they would fight for the interpreter.
        first.finish()
        turns = [turn]
        for loop, tickets in waiting.items():
            tickets.reverse()
            turn = Turn()
            # A loop that has closed has nobody left to tell.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_finish_all, tickets, loop, turn)
                turns.append(turn)
        return turns


def _may_be_an_errands(error: Exception, batch: list[Place]) -> bool:
    """Whether the others of a batch may go through without what failed; not where the database itself is away."""
    return not isinstance(error, errors.ServiceUnavailable) and any(
        isinstance(each, Errand) for each in batch
    )


def _origin(error: Exception) -> BaseException:
    """The driver's own error behind SQLAlchemy's."""
    return getattr(error, "orig", None) or error


def _finish_all(tickets: list[Place], loop: asyncio.AbstractEventLoop, turn: Turn) -> None:
    for ticket in tickets:
        ticket.finish_in_loop()
    # Their coroutines run in the next round of the loop, and what they ask for is queued in the one after that.
    loop.call_soon(loop.call_soon, turn.finish)
