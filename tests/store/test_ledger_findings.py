"""What the simulation found in the ledger, each as the smallest story that shows it."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from tallystick.core.adjustments import Grant, Refund, SetFrozen
from tallystick.core.membership import ChangePlan, OpenCustomer
from tallystick.core.operations import Charge, Operation, Part, PlaceHold, Resolve
from tallystick.store.schema import accounts, wallets
from tests.economy_of_tests import economy
from tests.model.calendar import DAY, HOUR
from tests.simulation.stored import check_rules
from tests.simulation.world import Clock, Process

START = 1_795_000_000_000_000
UNIT = 1_000_000
CUSTOMER = 7
EXPIRED = 25_500_000  # the sign-up bonus, which lasts ten days


class Shop:
    """One process with one customer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = Clock(START)
        self.economy = economy()
        self.process = self.another_process(node=1)
        self.post(OpenCustomer(customer_id=CUSTOMER, caller="test", catalog=self.economy))

    def another_process(self, *, node: int) -> Process:
        """A process on the same database."""
        return Process(self.url, node=node, clock=self.clock, economy=self.economy)

    def post(self, *operations: Operation, process: Process | None = None) -> Any:
        """Post a batch, keep its wallets, and give its last result."""
        process = process or self.process
        outcomes, book = process.post(operations, self.clock.now)
        process.ledger.keep(book)
        return [outcome.value() for outcome in outcomes][-1]

    def row(self, query: sa.Select[Any]) -> sa.Row[Any]:
        """The one row of a query, past the ledger."""
        with self.process.database.read() as connection:
            check_rules(connection)
            return connection.execute(query).one()

    def balance(self) -> int:
        """The stored balance in credits."""
        query = sa.select(wallets.c.balance).where(wallets.c.unit == "credits")
        balance: int = self.row(query).balance
        return balance


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    """On each database."""
    shop = Shop(database_url)
    yield shop
    shop.process.close()


def grant(amount: int, *, expires_at: int | None = None, category: str = "bonus") -> Grant:
    """A grant of credits that is drawn before everything else."""
    return Grant(
        customer_id=CUSTOMER,
        caller="test",
        unit="credits",
        amount=amount,
        category=category,
        origin="free",
        priority=0,
        expires_at=expires_at,
    )


def charge(amount: int) -> Charge:
    """A charge in credits."""
    return Charge(
        customer_id=CUSTOMER, caller="test", meter="gpt", parts=(Part("gpt", "GPT", "credits", amount),)
    )


def hold(amount: int, *, lasts: int = DAY) -> PlaceHold:
    """A hold in credits."""
    return PlaceHold(
        customer_id=CUSTOMER,
        caller="test",
        maker="test",
        expires_at=START + lasts,
        parts=(Part("gpt", "GPT", "credits", amount),),
    )


def resolve(hold_id: int, amount: int | None = None) -> Resolve:
    """A capture, or a release where there is no amount."""
    amounts = None if amount is None else (("credits", amount),)
    return Resolve(customer_id=CUSTOMER, caller="test", maker="test", hold_id=hold_id, amounts=amounts)


def freeze(*, frozen: bool = True) -> SetFrozen:
    """Freeze or thaw the credits."""
    return SetFrozen(customer_id=CUSTOMER, caller="test", unit="credits", frozen=frozen)


def change_plan(shop: Shop, plan: str) -> ChangePlan:
    """Another plan."""
    return ChangePlan(
        customer_id=CUSTOMER, caller="test", plan=shop.economy.plans[plan], catalog=shop.economy
    )


@pytest.mark.parametrize("together", [True, False])
def test_holds_under_an_unlimited_plan_stay_held_until_each_has_ended(shop: Shop, *, together: bool) -> None:
    """The standing lot was lost from memory when a hold came with the plan, and then closed too early."""
    batches: Sequence[Sequence[Operation]] = (
        [[change_plan(shop, "max"), hold(10 * UNIT)]]
        if together
        else [[change_plan(shop, "max")], [hold(10 * UNIT)]]
    )
    for batch in batches:
        first = shop.post(*batch)
    shop.post(hold(5 * UNIT))
    shop.post(resolve(first.id))
    cover = shop.row(sa.select(accounts).where(accounts.c.kind == "cover"))
    assert (True, 5 * UNIT) == (cover.is_open, cover.debits_pending)


def test_nothing_that_is_released_into_a_frozen_wallet_is_lost(shop: Shop) -> None:
    """A lot does not expire while its wallet is frozen, also when a hold on it ends meanwhile."""
    before = shop.balance()
    shop.post(grant(10 * UNIT, expires_at=START + HOUR))
    placed = shop.post(hold(10 * UNIT))
    shop.post(freeze())
    shop.clock.now += 2 * HOUR
    released = shop.post(resolve(placed.id))
    assert before + 10 * UNIT == released.balance == released.available
    shop.post(freeze(frozen=False))
    assert before + 10 * UNIT == shop.balance()
    shop.clock.now += HOUR
    assert before == shop.post(charge(0)).balance


def test_balance_and_available_amount_of_a_frozen_wallet_agree(shop: Shop) -> None:
    """What has not expired, because time stands still for it, is still there."""
    result = shop.post(grant(10 * UNIT, expires_at=START + HOUR))
    shop.post(freeze())
    shop.clock.now += 2 * HOUR
    later = shop.post(grant(UNIT))
    assert result.balance + UNIT == later.balance == later.available


def test_no_rollover_cap_takes_from_a_frozen_wallet(shop: Shop) -> None:
    """The new month comes without the old one's rest being cut; the first month after the thaw cuts it."""
    shop.post(change_plan(shop, "pro"), freeze())
    kept = shop.balance()
    shop.clock.now += 20 * DAY  # into the next month
    shop.post(freeze(frozen=False))
    assert kept + 1_000 * UNIT == shop.balance()
    shop.clock.now += 31 * DAY
    monthly = shop.post(charge(0)).balance - (kept - 1_000 * UNIT - EXPIRED)
    assert 500 * UNIT + 1_000 * UNIT == monthly


def test_a_thaw_moves_the_expiry_of_open_lots_only_whatever_came_in_the_same_batch(shop: Shop) -> None:
    """A lot that a capture has just emptied keeps its terms, as it would have in a batch of its own."""
    lot = shop.post(grant(10 * UNIT, expires_at=START + 2 * HOUR))
    placed = shop.post(hold(10 * UNIT))
    shop.post(freeze())
    shop.clock.now += HOUR
    captured = resolve(placed.id, 10 * UNIT)
    thawed = shop.post(captured, freeze(frozen=False))
    assert lot.id not in dict(thawed.moved)
    assert START + 2 * HOUR == shop.row(sa.select(accounts.c.expires_at).where(accounts.c.id == lot.id))[0]


def test_a_new_connection_does_not_trust_what_the_old_one_kept(shop: Shop) -> None:
    """SQLite counts the commits of others for each connection anew: an equal count says nothing."""
    other = shop.another_process(node=2)
    try:
        for _ in range(4):
            shop.post(charge(UNIT))
            shop.process.database.close()  # and opened again by the next statement
            shop.post(charge(UNIT), process=other)
        assert 8 * UNIT == 125_500_000 - shop.post(charge(0)).balance
    finally:
        other.close()


def test_what_was_captured_can_be_refunded_and_no_more(shop: Shop) -> None:
    """What a capture released from a lapsed lot went to breakage, and was counted as paid."""
    shop.post(grant(10 * UNIT, expires_at=START + HOUR))
    placed = shop.post(hold(10 * UNIT))
    shop.clock.now += 2 * HOUR
    captured = shop.post(resolve(placed.id, 3 * UNIT))
    refund = Refund(customer_id=CUSTOMER, caller="test", charge_id=captured.id)
    assert 3 * UNIT == shop.post(refund).amount
