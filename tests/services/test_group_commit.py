"""The queue of operations and its end."""

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from tallystick.bootstrap import Tally
from tallystick.core.adjustments import Grant
from tallystick.core.errors import ServiceUnavailable, UnknownCustomer
from tallystick.core.ids import to_text
from tallystick.core.operations import Charge, Part
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.pricing import Usage
from tallystick.services.tickets import Errand, Ticket
from tallystick.store import settings
from tests.services.installation import Clock, customer_of, log_in

PATIENCE_SECONDS = 10


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


def test_an_interrupted_wait_does_not_hold_up_those_behind_it(tmp_path: Path) -> None:
    """Threads wake one another; where one has stopped waiting, the posting thread wakes the rest."""
    first, second = Ticket(charge()), Ticket(charge())
    first.failure = second.failure = ServiceUnavailable("told")
    told: list[str] = []

    def wait() -> None:
        with pytest.raises(ServiceUnavailable, match="told"):
            second.wait()
        told.append("second")

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    with Tally.open(f"sqlite:///{tmp_path / 'tally.db'}") as tally:
        commit = tally.context.commit
        commit._let_run([first, second], commit._wake([first, second]))  # noqa: SLF001 - nobody waits for the first
    thread.join(PATIENCE_SECONDS)
    assert ["second"] == told


def test_a_key_is_free_again_when_its_loop_closed_before_anything_was_asked(tmp_path: Path) -> None:
    """The request was never queued, so a retry is its first."""
    with Tally.open(f"sqlite:///{tmp_path / 'tally.db'}") as tally:
        ada = log_in(tally)
        loop = asyncio.new_event_loop()
        task = loop.create_task(tally.charges.create_async(ada, Usage(meter="lookup"), idempotency_key="a"))
        task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - it is left so on purpose
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        assert tally.context.commit._asked, "the loop was to close in between"  # noqa: SLF001
        assert not tally.charges.create(ada, Usage(meter="lookup"), idempotency_key="a").replayed


def test_what_was_read_before_a_move_does_not_move_the_clock_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that began before the clock was moved may end after it."""
    source = Clock()
    with Tally.open(database_url, source=source) as tally:
        ada = log_in(tally)
        now, _ = tally.test_clock.move(SYSTEM, advance="PT2H")
        monkeypatch.setattr(settings, "get_raw", lambda *_: "0")
        made = tally.charges.create(ada, Usage(meter="lookup"), idempotency_key="a").value
        assert (now, now) == (made.created_at, tally.clock.now())


def test_an_id_that_is_nobodys_is_an_unknown_customer(tmp_path: Path) -> None:
    """An id speaks for itself: a user's own is known, another's is not found, and the ledger knows the rest."""
    with Tally.open(f"sqlite:///{tmp_path / 'tally.db'}") as tally:
        ada = log_in(tally)
        other, nobody = to_text("cust", 12345), to_text("cust", 67890)
        own = Usage(meter="lookup", customer=customer_of(ada))
        assert tally.charges.create(ada, own, idempotency_key="a").value.customer_id == ada.customer_id
        for caller, customer in ((ada, other), (SYSTEM, nobody)):
            with pytest.raises(UnknownCustomer, match=customer):
                tally.charges.create(caller, Usage(meter="lookup", customer=customer), idempotency_key="b")


def bonus(tally: Tally, caller: Caller, amount: int) -> Errand:
    """Work that posts to the ledger in its transaction."""
    assert caller.customer_id is not None
    grant = Grant(
        customer_id=caller.customer_id,
        caller="test",
        unit="credits",
        amount=amount,
        category="bonus",
        origin="free",
        priority=1,
    )
    return Errand(
        lambda connection: (
            tally.context.ledger.post(connection, [grant], now=tally.clock.now())[0].value().balance
        )
    )


def spend(caller: Caller, amount: int) -> Ticket:
    assert caller.customer_id is not None
    part = Part("call", "api", "credits", amount)
    return Ticket(Charge(customer_id=caller.customer_id, caller="test", parts=(part,)))


def test_work_joins_the_operations_of_a_batch(tmp_path: Path) -> None:
    """The charge finds what the work has done to its wallet, and the next one what both have left."""
    with Tally.open(f"sqlite:///{tmp_path / 'tally.db'}") as tally:
        ada = log_in(tally)
        before = tally.billing.balance(ada).balance
        work, charge_ = bonus(tally, ada, 7), spend(ada, before + 5)
        tally.context.commit._post([charge_, work])  # noqa: SLF001 - as the posting thread finds them
        assert (before + 7, 2) == (work.answer, charge_.result().value().balance)
        assert 2 == tally.billing.balance(ada).balance
        assert 3 == tally.context.commit.transact(bonus(tally, ada, 1).work)


def test_work_that_fails_fails_alone(tmp_path: Path) -> None:
    """Nothing of it is there, and all of what shared its batch is, once."""

    def fail(connection: Connection) -> None:
        settings.put(connection, "half", "done")
        raise ZeroDivisionError

    with Tally.open(f"sqlite:///{tmp_path / 'tally.db'}") as tally:
        ada, bad = log_in(tally), Errand(fail)
        before = tally.billing.balance(ada).balance
        work, charge_ = bonus(tally, ada, 7), spend(ada, 5)
        tally.context.commit._post([work, bad, charge_])  # noqa: SLF001 - as the posting thread finds them
        assert isinstance(bad.failure, ZeroDivisionError)
        assert (None, None) == (work.failure, charge_.failure)
        assert before + 2 == tally.billing.balance(ada).balance
        with tally.database.read() as connection:
            assert settings.get(connection, "half") is None
        with pytest.raises(ZeroDivisionError):
            tally.context.commit.transact(fail)


@pytest.mark.parametrize("work_fails", [False, True])
def test_nobody_waits_for_a_database_that_is_away_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, work_fails: bool
) -> None:
    """All of a batch hear of it after one try; after one more where the work had failed before."""
    with Tally.open(f"sqlite:///{tmp_path / 'tally.db'}") as tally:
        ada, tries = log_in(tally), 0

        def away(_work: object) -> None:
            nonlocal tries
            tries += 1
            if work_fails and tries == 1:
                raise ZeroDivisionError
            raise ServiceUnavailable("locked")

        monkeypatch.setattr(tally.database, "transact_hot", away)
        batch = [spend(ada, 1), bonus(tally, ada, 7), spend(ada, 1), spend(ada, 1)]
        tally.context.commit._post(list(batch))  # noqa: SLF001 - as the posting thread finds them
        assert all(isinstance(each.failure, ServiceUnavailable) for each in batch)
        assert (2 if work_fails else 1) == tries
