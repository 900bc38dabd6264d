"""Wallets that stay in memory on PostgreSQL: what another process has changed is found when they are written."""

import threading
from collections.abc import Iterator
from unittest import mock

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.book import Book
from tallystick.core.errors import BudgetExceeded, IdempotencyKeyReused, InsufficientCredits, WalletFrozen
from tallystick.core.holdings import NEVER, Wallet
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.group_commit import GroupCommit
from tallystick.services.pricing import Usage
from tallystick.store.kept import StampedWallets
from tallystick.store.loading import Loader
from tests.services.installation import customer_of, log_in

PRICE = 1_000_000  # of a look-up, in the starter economy


@pytest.fixture
def pair(postgresql_url: str) -> Iterator[tuple[Tally, Tally]]:
    """Two installations on one database, like two processes."""
    with Tally.open(postgresql_url) as first, Tally.open(postgresql_url) as second:
        yield first, second


@pytest.fixture
def ada(pair: tuple[Tally, Tally]) -> Caller:
    """A user whose wallet the first process remembers."""
    caller = log_in(pair[0])
    charge(pair[0], caller, "warm")
    return caller


def charge(tally: Tally, caller: Caller, key: str) -> tuple[int, bool]:
    """The balance after one look-up, and whether it was a repeat."""
    answer = tally.charges.create(caller, Usage(meter="lookup"), idempotency_key=key)
    return answer.value.balance, answer.replayed


def balance(tally: Tally, caller: Caller) -> int:
    """What the database says."""
    return tally.billing.balance(caller).balance


def from_memory(tally: Tally, caller: Caller, key: str) -> tuple[int, bool]:
    """As ``charge``, which must not read the wallet."""
    with mock.patch.object(Loader, "load", side_effect=AssertionError("the wallet was read")):
        return charge(tally, caller, key)


def test_charges_of_a_remembered_wallet_read_nothing(pair: tuple[Tally, Tally], ada: Caller) -> None:
    """One after the other, with the right balance each time."""
    before = balance(pair[0], ada)
    assert [(before - PRICE, False), (before - 2 * PRICE, False)] == [
        from_memory(pair[0], ada, "a"),
        from_memory(pair[0], ada, "b"),
    ]
    assert before - 2 * PRICE == balance(pair[1], ada)


def test_another_processs_charges_count(pair: tuple[Tally, Tally], ada: Caller) -> None:
    """In turn from two processes that both remember the wallet, nothing is lost."""
    first, second = pair
    before = balance(first, ada)
    for turn in range(5):
        for tally in (first, second, second):
            before -= PRICE
            assert (before, False) == charge(tally, ada, f"{turn} {before}")
    assert before == balance(first, ada)


def test_what_another_process_has_granted_is_spent_at_once(pair: tuple[Tally, Tally], ada: Caller) -> None:
    """A wallet that is remembered as empty refuses nothing before it was looked at again."""
    first, second = pair
    first.holds.create_amount(ada, amount=balance(first, ada) // 1_000_000, idempotency_key="all of it")
    with pytest.raises(InsufficientCredits):
        charge(first, ada, "too much")
    second.grants.create(
        SYSTEM,
        customer=customer_of(ada),
        amount=10,
        category="bonus",
        reason="more",
        idempotency_key="grant",
    )
    left = balance(first, ada)
    assert (left - PRICE, False) == charge(first, ada, "too much")


def test_a_budget_or_a_freeze_of_another_process_binds_the_next_charge(
    pair: tuple[Tally, Tally], ada: Caller
) -> None:
    """However often the wallet was charged from memory before."""
    first, second = pair
    from_memory(first, ada, "a")
    second.budgets.put(ada, level="customer", subject=None, amount="0.5", per="day")
    with pytest.raises(BudgetExceeded):
        charge(first, ada, "b")
    second.budgets.remove(ada, level="customer", subject=None, per="day")
    charge(first, ada, "c")
    second.wallets.freeze(SYSTEM, customer=customer_of(ada), reason="a question")
    with pytest.raises(WalletFrozen):
        charge(first, ada, "d")


def test_a_repeated_key_gets_its_first_answer(pair: tuple[Tally, Tally], ada: Caller) -> None:
    """Also where the first was another process's, and where other requests are in the same batch."""
    first, second = pair
    for tally in (first, second):
        made = charge(tally, ada, f"once {tally is first}")
        charge(first, ada, f"between {tally is first}")
        assert (made[0], True) == charge(first, ada, f"once {tally is first}")
    with pytest.raises(IdempotencyKeyReused):
        first.charges.create(ada, Usage(meter="lookup", quantity=2), idempotency_key="once True")


def test_operations_that_are_posted_one_by_one_are_looked_at_again_too(
    pair: tuple[Tally, Tally], ada: Caller
) -> None:
    """Where a batch fell apart, each of its operations may find that another process was at its wallet."""
    before = balance(pair[0], ada)
    with mock.patch.object(GroupCommit, "_commit_together", return_value=False):
        for turn in range(3):
            for number, tally in enumerate(pair):
                before -= PRICE
                assert (before, False) == charge(tally, ada, f"{turn} {number}")


def test_two_processes_at_once_draw_every_credit_once(pair: tuple[Tally, Tally], ada: Caller) -> None:
    """Both remember the wallet and charge as fast as they can."""
    before = balance(pair[0], ada)

    def spend(tally: Tally, name: int) -> None:
        for number in range(20):
            charge(tally, ada, f"{name} {number}")

    threads = [threading.Thread(target=spend, args=(tally, n)) for n, tally in enumerate((*pair, *pair))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before - 80 * PRICE == balance(pair[0], ada)


def loaded(customer_id: int, stamp: int | None = 7) -> Book:
    """A book with a wallet of one customer."""
    book = Book(now=0, new_id=lambda: 1, system_account=lambda _unit, _code: 1)
    book.add_wallet(
        Wallet(customer_id, customer_id, "credits", 9, None, None, NEVER, False, *(0,) * 9, stamp=stamp)  # noqa: FBT003
    )
    return book


def test_a_batch_is_remembered_whole_or_read_whole() -> None:
    """What it took is not there twice; wallets without a stamp, and those for which there is no room, are not kept."""
    kept = StampedWallets(most=2)
    for customer_id in (1, 2, 3):
        kept.put(loaded(customer_id), None)
    kept.put(loaded(4, stamp=None), None)
    assert [False, False, True, False, True] == [kept.take(loaded(9), [each]) for each in (1, 4, 2, 2, 3)]
    kept.put(loaded(1), None)
    assert not kept.take(loaded(9), [1, 5])
    assert not kept.take(loaded(9), [1])


def test_after_a_refusal_by_the_database_the_next_batches_read() -> None:
    """Somebody else is at the same wallets: what is remembered would be refused again."""
    kept = StampedWallets(caution=1)
    kept.beware()
    kept.put(loaded(1), None)
    assert not kept.take(loaded(9), [1])
    kept.put(loaded(1), None)
    assert kept.take(loaded(9), [1])
