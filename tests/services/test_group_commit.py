"""The queue of operations and its end."""

import threading
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.errors import ServiceUnavailable
from tallystick.core.operations import Charge, Part
from tallystick.services.context import SYSTEM
from tallystick.services.group_commit import Ticket
from tallystick.services.pricing import Usage
from tests.services.installation import Clock, log_in


def charge() -> Charge:
    return Charge(customer_id=1, caller="test", parts=(Part("call", "api", "credits", 1),))


def test_nobody_waits_for_a_queue_that_has_ended(tmp_path: Path) -> None:
    """What is asked after the end is refused, and so is what slipped in just before it."""
    tally = Tally.open(f"sqlite:///{tmp_path / 'tally.db'}")
    commit = tally.context.commit
    tally.close()
    with pytest.raises(ServiceUnavailable):
        commit.run(charge())
    late = Ticket(charge())
    commit._queue.put([late])  # noqa: SLF001 - as a thread that had looked before the end
    commit._refuse_rest()  # noqa: SLF001
    with pytest.raises(ServiceUnavailable):
        late.wait()


def test_a_batch_has_the_time_that_another_process_has_just_set(database_url: str) -> None:
    """A moved test clock holds from the next charge on, also where nobody had a reason yet to look at it."""
    source = Clock()
    with Tally.open(database_url, source=source) as first, Tally.open(database_url, source=source) as second:
        ada = log_in(first)
        before = second.charges.create(ada, Usage(meter="lookup"), idempotency_key="a").value
        now, _ = first.test_clock.move(SYSTEM, advance="PT2H")
        after = second.charges.create(ada, Usage(meter="lookup"), idempotency_key="b").value
    assert (source(), now) == (before.created_at, after.created_at)


class Interrupted:
    """A lock whose first wait ends with an interrupt."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._interrupted = False

    def acquire(self) -> bool:
        """Wait, but for the first time."""
        if not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt
        return self._lock.acquire()

    def release(self) -> None:
        """End the wait."""
        self._lock.release()


def test_an_interrupted_wait_does_not_hold_up_those_behind_it() -> None:
    """Threads wake one another; one that has stopped waiting passes the word on all the same."""
    first, second = Ticket(charge()), Ticket(charge())
    first._done = Interrupted()  # type: ignore[assignment] # noqa: SLF001
    first.next = second
    second.failure = ServiceUnavailable("told")
    with pytest.raises(KeyboardInterrupt):
        first.wait()
    first.finish()
    with pytest.raises(ServiceUnavailable, match="told"):
        second.wait()
