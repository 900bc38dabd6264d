"""What the ledger keeps in memory between batches: nothing that another transaction may have changed."""

from collections.abc import Iterator

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.adjustments import Grant
from tallystick.core.book import Book
from tallystick.core.holdings import NEVER, Wallet
from tallystick.core.operations import Charge, Operation, Part
from tallystick.store.kept import KeptWallets
from tests.services.installation import register

UNIT = 1_000_000


@pytest.fixture
def tally(sqlite_url: str) -> Iterator[Tally]:
    """An installation on the database where wallets are kept."""
    with Tally.open(sqlite_url) as tally:
        yield tally


def new_book() -> Book:
    """An empty book."""
    return Book(now=0, new_id=lambda: 1, system_account=lambda _unit, _code: 1)


def loaded(customer_id: int) -> Book:
    """A book with a wallet of one customer."""
    book = new_book()
    book.add_wallet(Wallet(customer_id, customer_id, "credits", 9, None, None, NEVER, False, *(0,) * 9))  # noqa: FBT003
    return book


def test_what_a_batch_put_back_the_next_one_takes_once() -> None:
    """While it is in a batch, nobody else has it."""
    kept = KeptWallets()
    first = loaded(5)
    assert [5] == kept.take(first, [5], 1)
    kept.put(first)
    assert [] == kept.take(new_book(), [5], 1)
    assert [5] == kept.take(new_book(), [5], 1)


def test_nothing_is_put_back_when_another_transaction_came_in_between() -> None:
    """That one may have changed the same wallets, after the batch's commit and before it put them back."""
    kept = KeptWallets()
    first = loaded(5)
    kept.take(first, [5], 1)
    kept.take(new_book(), [6], 1)
    kept.put(first)
    assert [5] == kept.take(new_book(), [5], 1)


def test_what_is_dropped_is_read_anew_also_when_a_batch_is_about_to_put_it_back() -> None:
    """A budget that is set in between is seen by the next charge."""
    kept = KeptWallets()
    first = loaded(5)
    kept.take(first, [5], 1)
    kept.drop(5)
    kept.put(first)
    assert [5] == kept.take(new_book(), [5], 1)
    second = loaded(5)
    kept.take(second, [5], 1)
    kept.put(second)
    kept.drop(5)
    assert [5] == kept.take(new_book(), [5], 1)


def test_a_grant_between_a_batchs_commit_and_its_end_is_not_lost(tally: Tally) -> None:
    """Charges go by the group commit, grants by transactions of their own, on the same wallets at once."""
    customer_id = register(tally).customer_id
    context = tally.context
    part = Part("lookup", "data", "credits", UNIT)
    charge = Charge(customer_id=customer_id, caller="test", parts=(part,), meter="lookup")
    grant = Grant(
        customer_id=customer_id,
        caller="test",
        unit="credits",
        amount=100 * UNIT,
        category="bonus",
        origin="free",
        priority=30,
    )

    def post(operations: list[Operation]) -> tuple[list[object], Book]:
        outcomes, book = context.database.transact(
            lambda connection: context.ledger.post_book(connection, operations, now=context.now())
        )
        return [outcome.value() for outcome in outcomes], book

    _, batch = post([charge])
    post([grant])  # Between the commit of the batch and the moment when the batch keeps its wallets.
    context.ledger.keep(batch)
    [result], _ = post([charge])
    assert (1098 * UNIT, 1098 * UNIT) == (
        getattr(result, "balance", None),
        getattr(result, "available", None),
    )
