"""Which wallets of a batch a worker is to look at: those that have left the figures they are watched for."""

import pytest

from tallystick.core.book import Book
from tallystick.core.errors import InsufficientCredits
from tallystick.core.holdings import NEVER, Lot, Wallet
from tallystick.core.operations import Charge, Part
from tallystick.core.watch import Watch

WATCH = Watch(None, 20, 110)


def loaded(
    available: int,
    *,
    watch: Watch = WATCH,
    refill_below: int | None = None,
    frozen_at: int | None = None,
    cover_id: int | None = None,
) -> tuple[Book, Wallet]:
    """A book with one wallet that has one lot."""
    numbers = iter(range(100, 10_000))
    book = Book(now=50, new_id=lambda: next(numbers), system_account=lambda _unit, _code: 1)
    figures = (*watch, refill_below)
    wallet = Wallet(2, 5, "credits", 3, cover_id, frozen_at, NEVER, False, *(0,) * 9, *figures)  # noqa: FBT003
    book.add_wallet(wallet)
    book.add_lot(
        Lot(4, 5, "credits", "lot", "bonus", "free", 30, 0, None, False, 0, available, 0)  # noqa: FBT003
    )
    return book, wallet


def charge(amount: int) -> Charge:
    """A charge of the wallet."""
    return Charge(customer_id=5, caller="test", parts=(Part("work", "work", "credits", amount),))


@pytest.mark.parametrize(
    ("available", "amount", "is_alerted"),
    [(100, 80, False), (100, 81, True), (200, 90, True), (200, 91, False), (20, 20, True)],
)
def test_a_charge_below_or_above_the_figures(available: int, amount: int, *, is_alerted: bool) -> None:
    """Watched from 20 up to 110, 110 excluded."""
    book, wallet = loaded(available)
    charge(amount).apply(book)
    assert ([wallet] if is_alerted else []) == book.alerts()


@pytest.mark.parametrize(
    ("watch", "refill_below", "is_alerted"),
    [
        (Watch(), None, False),
        (Watch(), 5, False),
        (Watch(), 11, True),
        (Watch(20, 1, 22), None, False),
        (Watch(20, 1, 10), None, True),
        (Watch(20, 1, 22), 11, True),
    ],
)
def test_what_a_wallet_with_ten_left_is_watched_for(
    watch: Watch, refill_below: int | None, *, is_alerted: bool
) -> None:
    """Either figure is enough; without any nothing is compared."""
    book, wallet = loaded(15, watch=watch, refill_below=refill_below)
    charge(5).apply(book)
    assert ([wallet] if is_alerted else []) == book.alerts()


def test_a_wallet_that_nothing_touched_is_not_looked_at() -> None:
    """However little is in it."""
    book, _ = loaded(0)
    assert [] == book.alerts()


def test_a_frozen_wallet_says_nothing() -> None:
    """Its thaw touches it, and then it does."""
    book, wallet = loaded(0, frozen_at=40)
    book.touched[wallet.id] = wallet
    assert [] == book.alerts()
    wallet.frozen_at = None
    assert [wallet] == book.alerts()


def test_an_unlimited_balance_is_never_low_and_recovers() -> None:
    """A plan that covers everything brings back every threshold."""
    for watch, expected in ((Watch(None, 20, None), False), (Watch(20, 1, 22), True)):
        book, wallet = loaded(0, watch=watch, cover_id=77)
        charge(3).apply(book)
        assert ([wallet] if expected else []) == book.alerts()


@pytest.mark.parametrize(("refill_below", "is_alerted"), [(None, False), (10, False), (11, True)])
def test_a_refused_charge_asks_for_a_refill(refill_below: int | None, *, is_alerted: bool) -> None:
    """Where one is set up and the wallet is below its figure; the wallet itself is not touched."""
    book, wallet = loaded(10, watch=Watch(20, 1, 22), refill_below=refill_below)
    with pytest.raises(InsufficientCredits):
        charge(11).apply(book)
    assert {} == book.touched
    assert ([wallet] if is_alerted else []) == book.alerts()


def test_a_wallet_that_was_both_charged_and_refused_is_named_once() -> None:
    """One mark is enough."""
    book, wallet = loaded(10, watch=Watch(None, 20, None), refill_below=11)
    charge(1).apply(book)
    with pytest.raises(InsufficientCredits):
        charge(11).apply(book)
    assert [wallet] == book.alerts()
