"""What a dispute pays back of a task has room again in the budgets that had counted it, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM, Caller
from tests.services.market import FEE, Market


@pytest.fixture
def market(database_url: str, tmp_path: Path) -> Iterator[Market]:
    """Ann has credits and a budget of 60 a day; bob and cleo have agents."""
    with Market(database_url, tmp_path) as market:
        market.person("anna", paid=500)
        market.person("bob")
        market.person("cleo")
        _budget(market, 60)
        yield market


def _budget(market: Market, amount: int, *, per: str = "day") -> None:
    market.tally.budgets.put(market.people["anna"], level="customer", amount=amount, per=per)


def _spent(market: Market) -> list[float]:
    """What each of her budgets has counted in its period of now."""
    return [budget.spent / MICROS for budget in market.tally.budgets.list(SYSTEM, customer="anna")]


def _done(market: Market, price: float = 40) -> str:
    task = market.hire("anna", market.agent("bob", price, name=market.key()))
    market.work("bob", task)
    return task


@pytest.mark.parametrize("refund", [0, 0.000001, 13, 40])
def test_what_comes_back_may_be_spent_again(market: Market, refund: float) -> None:
    """The whole, a part or nothing, to the micro-unit; the next task has that room and no more."""
    task = _done(market)
    assert [40] == _spent(market)
    market.dispute("anna", task)
    market.resolve(task, f"{refund:.6f}")
    assert [40 - refund] == _spent(market)
    with pytest.raises(errors.BudgetExceeded):
        market.hire("anna", market.agent("bob", f"{20 + refund + 0.000001:.6f}", name="dear"))
    market.hire("anna", market.agent("bob", f"{20 + refund:.6f}", name="just right"))
    assert [60] == _spent(market)


def test_each_budget_has_its_own_room_again(market: Market) -> None:
    """Those of the key, of the day and of the month, while a budget that was set later has counted nothing."""
    made = market.tally.keys.create(market.people["anna"], name="key", budget=(50, None, "month"))
    _budget(market, 100, per="month")
    by_key: Caller = market.tally.identity.authenticate(made.key, market.world.clock())
    agent = market.agent("bob", 40)
    market.people["her key"] = by_key
    task = market.hire("her key", agent)
    market.work("bob", task)
    assert [40, 40, 40] == _spent(market)
    with pytest.raises(errors.BudgetExceeded):
        market.hire("her key", agent)
    market.tally.keys.create(market.people["anna"], name="later", budget=(50, None, "day"))
    market.dispute("anna", task)
    market.resolve(task, 30)
    assert [10, 10, 10, 0] == _spent(market)
    market.hire("her key", agent)


def test_the_day_that_spent_it_has_the_room_and_no_other(market: Market) -> None:
    """A decision on another day, beside what that day has spent itself: the month that counted both has it."""
    _budget(market, 100, per="month")
    task = _done(market)
    market.world.clock.advance("P1D")
    _done(market, 25)
    market.dispute("anna", task)
    market.resolve(task, 40)
    assert [25, 25] == _spent(market)


def test_a_dispute_that_is_refunded_by_rule_gives_the_room_back(database_url: str, tmp_path: Path) -> None:
    """At once, and once only however often it is sent."""
    with Market(database_url, tmp_path, terms=FEE + 'on_dispute = "refund"\n') as market:
        market.person("anna", paid=100)
        market.person("bob")
        _budget(market, 60)
        task, _ = _done(market), _done(market, 15)
        for _ in range(2):
            market.tally.tasks.dispute(market.people["anna"], task, reason="no", idempotency_key="once")
        assert [15] == _spent(market)


def test_a_budget_that_was_removed_or_set_again_has_counted_nothing(market: Market) -> None:
    """What comes back is no credit of a budget that is new."""
    task = _done(market)
    market.tally.budgets.remove(market.people["anna"], level="customer", per="day")
    _budget(market, 60)
    _done(market, 5)
    market.dispute("anna", task)
    market.resolve(task, 40)
    assert [5] == _spent(market)


def test_a_sub_tasks_price_comes_back_to_its_parent_while_that_goes_on(market: Market) -> None:
    """Its worker may hire another for it, as after a sub-task that came to nothing; her budgets counted it all along."""
    top = market.hire("anna", market.agent("bob", 50))
    market.accept("bob", top)
    part = market.hire("bob", market.agent("cleo", 50), parent=top)
    market.work("cleo", part)
    market.dispute("bob", part)
    market.resolve(part, 30)
    assert (450, 30, [50]) == (market.available("anna"), market.held("anna"), _spent(market))
    market.work("cleo", market.hire("bob", market.agent("cleo", 10, name="second"), parent=top))
    assert 20 * MICROS == market.complete("bob", top).paid
    market.dispute("anna", top)
    market.resolve(top, 20)
    assert (470, 0, [30]) == (market.available("anna"), market.held("anna"), _spent(market))


@pytest.mark.parametrize("end", ["complete", "fail", "time out"])
def test_a_sub_tasks_price_comes_back_to_the_wallet_after_its_parent(market: Market, end: str) -> None:
    """And her budget has the room, of the day on which the parent was made."""
    top = market.hire("anna", market.agent("bob", 50))
    market.accept("bob", top)
    part = market.hire("bob", market.agent("cleo", 20), parent=top)
    market.work("cleo", part)
    market.dispute("bob", part)
    if end == "time out":
        market.world.clock.advance("PT1H")
    else:
        (market.complete if end == "complete" else market.fail)("bob", top)
    left = 30 if end == "complete" else 0
    market.resolve(part, 15)
    assert (495 - left, 0, [5 + left]) == (market.available("anna"), market.held("anna"), _spent(market))


def test_what_comes_back_to_a_parent_pays_no_debt_and_does_not_expire(market: Market) -> None:
    """It is held like all that its parent holds, until that ends: then it goes the way of any credit."""
    market.person("dora", free=20)
    short = market.tally.grants.create(
        SYSTEM,
        customer="dora",
        amount=30,
        category="bonus",
        expires_at=market.world.clock() + 600 * MICROS,
        idempotency_key="short",
    )
    top = market.hire("dora", market.agent("bob", 50))
    market.accept("bob", top)
    part = market.hire("bob", market.agent("cleo", 50), parent=top)
    market.work("cleo", part)
    market.tally.grants.claw_back(
        SYSTEM, to_text("grant", short.value.id), amount=5, reason="a mistake", idempotency_key="owed"
    )
    market.world.clock.advance("PT20M")
    market.dispute("bob", part)
    market.resolve(part, 50)
    assert (0, 50) == (market.available("dora"), market.held("dora"))
    market.fail("bob", top)
    assert (20, 0) == (market.available("dora"), market.held("dora"))
