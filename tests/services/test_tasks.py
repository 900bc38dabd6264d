"""Tasks: held when they are made, settled when they are done, given back when nothing comes of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.services.agents import Changes
from tallystick.services.context import SYSTEM
from tests.services.market import FEE, Market


@pytest.fixture
def market(database_url: str, tmp_path: Path) -> Iterator[Market]:
    """Ann has credits; bob and cleo have agents."""
    with Market(database_url, tmp_path) as market:
        market.person("anna", paid=100)
        market.person("bob")
        market.person("cleo")
        yield market


# --- the way of a task ----------------------------------------------------------------------------------------


def test_a_task_is_held_then_settled_less_the_fee(market: Market) -> None:
    """The requester pays 10, the owner gets 9.5, the platform keeps 0.5, in one transaction."""
    task = market.hire("anna", market.agent("bob", 10))
    assert (90, 10, 0) == (market.available("anna"), market.held("anna"), market.available("bob"))
    assert "created" == market.status(task)
    done = market.work("bob", task)
    assert ("completed", 10 * MICROS, MICROS // 2) == (done.status, done.paid, done.fee)
    assert (90, 0, 9.5) == (market.available("anna"), market.held("anna"), market.available("bob"))
    assert [("task_debit", -10.0)] == _last(market, "anna", 1)
    assert [("task_credit", 9.5)] == _last(market, "bob", 1)


def _last(market: Market, who: str, count: int) -> list[tuple[str, float]]:
    entries = market.world.entries(customer=who)[-count:]
    return [(entry.type, entry.amount / MICROS) for entry in entries]


def test_without_enough_credits_there_is_no_task(market: Market) -> None:
    """It is refused with the figures that decided, and nothing is there."""
    agent = market.agent("bob", "100.5")
    with pytest.raises(errors.InsufficientCredits) as refused:
        market.hire("anna", agent)
    assert 100 * MICROS == refused.value.fields["available"]
    assert [] == list(market.tally.tasks.list(SYSTEM).items)


def test_an_economy_may_have_tasks_made_without_billing(database_url: str, tmp_path: Path) -> None:
    """The task exists, nothing is held or settled, and it is found as not billed."""
    terms = FEE + 'on_insufficient = "create_unbilled"\n'
    with Market(database_url, tmp_path, terms=terms) as market:
        market.person("anna", free=5)
        market.person("bob")
        made = market.make("anna", market.agent("bob", 10))
        assert ("unbilled", 0, None) == (made.billing, made.held, made.hold_id)
        [(task, _)] = market.tally.tasks.list(SYSTEM, billing="unbilled").items
        done = market.work("bob", to_text("task", task.id))
        assert ("completed", 0) == (done.status, done.paid)
        assert (5, 0) == (market.available("anna"), market.available("bob"))


def _text(number: int) -> str:
    from tallystick.core.ids import to_text

    return to_text("task", number)


@pytest.mark.parametrize("end", ["fail", "cancel", "time out"])
def test_what_comes_to_nothing_costs_nothing(market: Market, end: str) -> None:
    """A task that failed, was cancelled or timed out gives back what was held."""
    task = market.hire("anna", market.agent("bob", 10))
    if end == "cancel":
        market.cancel("anna", task)
    else:
        market.accept("bob", task)
        if end == "fail":
            market.fail("bob", task)
        else:
            market.world.clock.advance("PT1H")
            assert "timed_out" == market.status(task)
            with pytest.raises(errors.TaskNotReady):
                market.complete("bob", task)
    assert (100, 0, 0) == (market.available("anna"), market.held("anna"), market.available("bob"))
    wanted = {"fail": "failed", "cancel": "cancelled", "time out": "timed_out"}[end]
    assert wanted == market.status(task)


def test_the_worker_ends_tasks_that_hold_nothing(market: Market) -> None:
    """One that was free times out too, without anybody asking."""
    task = market.hire("anna", market.agent("bob", 0))
    market.world.clock.advance("PT1H")
    assert 1 == market.tally.due_work.run_once()["task_timeout"]
    assert "task_timeout" not in market.tally.due_work.run_once()
    assert [task] == [
        to_text("task", found.id) for found, _ in market.tally.tasks.list(SYSTEM, status="timed_out").items
    ]


def test_what_costs_nothing_and_what_is_ones_own_moves_nothing(market: Market) -> None:
    """Neither a price of 0 nor an agent of one's own settles anything."""
    own = market.agent("anna", 10, name="own")
    for agent, owner in ((own, "anna"), (market.agent("bob", 0), "bob")):
        done = market.work(owner, market.hire("anna", agent))
        assert ("completed", "nothing", 0, 0) == (done.status, done.billing, done.paid, done.fee)
    assert (100, 0) == (market.available("anna"), market.available("bob"))


# --- who may do what, and when -----------------------------------------------------------------------------------


def test_of_many_workers_one_accepts(market: Market) -> None:
    """The others are told that it is taken."""
    task = market.hire("anna", market.agent("bob", 10))

    def take(number: int) -> str:
        try:
            market.tally.tasks.accept(market.people["bob"], task, idempotency_key=f"worker {number}")
        except errors.TaskNotReady as refused:
            return f"is {refused.fields['task_status']}"
        return "took it"

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(take, range(8)))
    assert ["is accepted"] * 7 + ["took it"] == answers


def test_a_repeat_of_any_step_has_one_effect(market: Market) -> None:
    """The same key gives the first answer again; another key is refused."""
    agent = market.agent("bob", 10)
    tasks, anna, bob = market.tally.tasks, market.people["anna"], market.people["bob"]
    made = [tasks.create(anna, agent=agent, input=1, idempotency_key="make") for _ in range(2)]
    assert [False, True] == [answer.replayed for answer in made]
    assert made[0].value == made[1].value
    task = to_text("task", made[0].value.id)
    for step in (tasks.accept, tasks.complete):
        first, second = (step(bob, task, idempotency_key=f"do {step.__name__}") for _ in range(2))
        assert (first.value, False, True) == (second.value, first.replayed, second.replayed)
        with pytest.raises(errors.TaskNotReady):
            step(bob, task, idempotency_key=f"again {step.__name__}")
    for _ in range(2):
        tasks.dispute(anna, task, reason="no", idempotency_key="dispute")
        tasks.resolve(SYSTEM, task, refund=4, reason="half", idempotency_key="resolve")
    assert (94, 5.7) == (market.available("anna"), market.available("bob"))
    with pytest.raises(errors.IdempotencyKeyReused):
        tasks.create(anna, agent=agent, input=2, idempotency_key="make")


def test_a_repeat_is_answered_though_the_agent_changed_meanwhile(market: Market) -> None:
    """Neither a pause nor a higher price undoes what was agreed; new tasks are refused."""
    agent = market.agent("bob", 10)
    anna, bob = market.people["anna"], market.people["bob"]

    def create(key: str) -> int:
        made = market.tally.tasks.create(anna, agent=agent, input=1, max_price=10, idempotency_key=key)
        return made.value.id

    first = create("one")
    market.tally.agents.change(bob, agent, Changes(price_per_task=20))
    assert first == create("one")
    with pytest.raises(errors.PriceAboveMaximum) as refused:
        create("two")
    assert (20 * MICROS, 10 * MICROS) == (refused.value.fields["price"], refused.value.fields["max_price"])
    market.tally.agents.change(bob, agent, Changes(status="paused"))
    assert first == create("one")
    with pytest.raises(errors.AgentPaused):
        create("three")
    assert 10 * MICROS == market.work("bob", to_text("task", first)).paid


def test_steps_are_for_those_whose_they_are(market: Market) -> None:
    """The owner works, the requester cancels and disputes, an admin decides; others do not know of the task."""
    task = market.hire("anna", market.agent("bob", 10))
    for step in (market.accept, market.complete, market.fail):
        with pytest.raises(errors.NotAllowed):
            step("anna", task)
        with pytest.raises(errors.NotFound):
            step("cleo", task)
    with pytest.raises(errors.NotAllowed):
        market.cancel("bob", task)
    market.accept("bob", task)
    with pytest.raises(errors.TaskNotReady):
        market.cancel("anna", task)
    market.complete("bob", task)
    with pytest.raises(errors.NotAllowed):
        market.dispute("bob", task)
    market.dispute("anna", task)
    with pytest.raises(errors.NotAllowed):
        market.tally.tasks.resolve(market.people["anna"], task, refund=10, reason="mine", idempotency_key="x")


def test_nobody_else_resolves_the_hold_of_a_task(market: Market) -> None:
    """Not even an admin: or a task would be done that cannot be paid."""
    made = market.make("anna", market.agent("bob", 10))
    from tallystick.core.ids import to_text

    with pytest.raises(errors.Conflict):
        market.tally.holds.release(SYSTEM, to_text("hold", made.hold_id or 0), idempotency_key="x")


# --- disputes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("refund", "anna", "bob"), [(10, 100, 0), (4, 94, 5.7), (0, 90, 9.5)])
def test_a_dispute_pays_back_what_was_decided(market: Market, refund: float, anna: float, bob: float) -> None:
    """From the owner and the platform, each its share."""
    task = market.hire("anna", market.agent("bob", 10))
    market.work("bob", task)
    assert "disputed" == market.dispute("anna", task).status
    done = market.resolve(task, refund)
    assert ("refunded" if refund else "completed", refund * MICROS) == (done.status, done.refunded)
    assert (anna, bob) == (market.available("anna"), market.available("bob"))
    with pytest.raises(errors.Conflict):
        market.dispute("anna", task)


def test_what_the_owner_has_spent_meanwhile_is_owed(market: Market) -> None:
    """The requester has all of it back; the next credit of the owner pays the debt."""
    market.work("bob", task := market.hire("anna", market.agent("bob", 10)))
    market.work("cleo", market.hire("bob", market.agent("cleo", 8)))
    market.dispute("anna", task)
    market.resolve(task, 10)
    assert 100 == market.available("anna")
    balance = market.world.balance(customer="bob")
    assert (-8 * MICROS, 8 * MICROS) == (balance.balance, balance.debt)
    market.work("bob", market.hire("anna", market.agent("bob", 10, name="next")))
    assert 1.5 == market.available("bob")


def test_what_a_dispute_pays_back_lowers_the_day_that_paid(market: Market) -> None:
    """A day on which nothing but the decision falls has no spending below zero."""
    task = market.hire("anna", market.agent("bob", 10))
    market.work("bob", task)
    market.world.clock.advance("P1D")
    market.dispute("anna", task)
    market.resolve(task, 4)
    usage = market.tally.billing.usage(market.people["anna"], period="7d")
    assert [6 * MICROS, 0] == [day.spent for day in usage.days[-2:]]


def test_a_dispute_comes_within_the_window_or_not_at_all(market: Market) -> None:
    """Seven days here; a task that cost nothing has nothing to dispute."""
    agent = market.agent("bob", 10)
    task, late = market.hire("anna", agent), market.hire("anna", agent)
    market.work("bob", task)
    market.work("bob", late)
    market.world.clock.advance("P6DT23H")
    market.dispute("anna", task)
    market.world.clock.advance("PT1H")
    with pytest.raises(errors.DisputeWindowClosed):
        market.dispute("anna", late)
    free = market.hire("anna", market.agent("bob", 0, name="free"))
    market.work("bob", free)
    with pytest.raises(errors.Conflict):
        market.dispute("anna", free)


def test_an_economy_may_refund_every_dispute_at_once(database_url: str, tmp_path: Path) -> None:
    """By rule, without anybody deciding."""
    with Market(database_url, tmp_path, terms=FEE + 'on_dispute = "refund"\n') as market:
        market.person("anna", paid=10, free=5)
        market.person("bob")
        task = market.hire("anna", market.agent("bob", 12))
        market.work("bob", task)
        assert "refunded" == market.dispute("anna", task).status
        assert (15, 0) == (market.available("anna"), market.available("bob"))


def test_credits_go_back_to_the_lots_that_gave_them(market: Market) -> None:
    """Free ones stay free, paid ones stay paid, on both sides."""
    market.person("dora", free=6, paid=10)
    task = market.hire("dora", market.agent("bob", 10))
    market.work("bob", task)
    assert {"free": 5.7, "paid": 3.8} == market.earned("bob")
    market.dispute("dora", task)
    market.resolve(task, 4)
    assert {"free": 5.7} == market.earned("bob")
    grants = {
        grant.origin: grant.remaining / MICROS for grant in market.world.balance(customer="dora").grants
    }
    assert {"paid": 10.0} == grants


# --- sub-tasks -----------------------------------------------------------------------------------------------------


def test_a_sub_task_is_paid_from_what_its_parent_holds(market: Market) -> None:
    """The requester pays no more than was held; each owner gets its part less the fee."""
    task = market.hire("anna", market.agent("bob", 50))
    market.accept("bob", task)
    part = market.hire("bob", market.agent("cleo", 20), parent=task)
    assert (50, 50) == (market.available("anna"), market.held("anna"))
    market.work("cleo", part)
    assert 30 * MICROS == market.complete("bob", task).paid
    assert (50, 28.5, 19) == tuple(market.available(who) for who in ("anna", "bob", "cleo"))


def test_sub_tasks_nest_and_the_level_that_has_too_little_is_named(market: Market) -> None:
    """Never more than what is left at that level, however much the others have."""
    market.person("dora")
    top = market.hire("anna", market.agent("bob", 50))
    market.accept("bob", top)
    middle = market.hire("bob", market.agent("cleo", 20), parent=top)
    market.accept("cleo", middle)
    with pytest.raises(errors.InsufficientCredits) as refused:
        market.hire("cleo", market.agent("dora", 21, name="dear"), parent=middle)
    assert (f"task:{middle}", 20 * MICROS) == (
        refused.value.fields["limit_source"],
        refused.value.fields["available"],
    )
    low = market.hire("cleo", market.agent("dora", 20), parent=middle)
    market.work("dora", low)
    assert 0 == market.complete("cleo", middle).paid
    with pytest.raises(errors.InsufficientCredits):
        market.hire("bob", market.agent("cleo", 31, name="dear"), parent=top)
    market.complete("bob", top)
    assert (50, 28.5, 0, 19) == tuple(market.available(who) for who in ("anna", "bob", "cleo", "dora"))


@pytest.mark.parametrize("end", ["fail", "cancel", "time out"])
def test_a_sub_task_that_comes_to_nothing_gives_back_to_its_parent(market: Market, end: str) -> None:
    """While that goes on; its worker may hire another."""
    top = market.hire("anna", market.agent("bob", 50), expires_in=7200)
    market.accept("bob", top)
    part = market.hire("bob", market.agent("cleo", 50), parent=top)
    if end == "cancel":
        market.cancel("bob", part)
    elif end == "fail":
        market.accept("cleo", part)
        market.fail("cleo", part)
    else:
        market.world.clock.advance("PT1H")
    assert (50, 50) == (market.available("anna"), market.held("anna"))
    market.work("cleo", market.hire("bob", market.agent("cleo", 10, name="second"), parent=top))
    assert 40 * MICROS == market.complete("bob", top).paid
    assert (50, 38, 9.5) == tuple(market.available(who) for who in ("anna", "bob", "cleo"))


def test_what_a_sub_task_holds_after_its_parent_goes_back_to_the_wallet(market: Market) -> None:
    """The parent is over, so that whoever pays has it again."""
    top = market.hire("anna", market.agent("bob", 50))
    market.accept("bob", top)
    part = market.hire("bob", market.agent("cleo", 20), parent=top)
    market.fail("bob", top)
    assert (80, 20) == (market.available("anna"), market.held("anna"))
    market.accept("cleo", part)
    market.fail("cleo", part)
    assert (100, 0) == (market.available("anna"), market.held("anna"))


def test_everything_that_was_held_times_out_together(market: Market) -> None:
    """Tasks and their sub-tasks, when a worker was away for long."""
    top = market.hire("anna", market.agent("bob", 50), expires_in=7200)
    market.accept("bob", top)
    parts = [market.hire("bob", market.agent("cleo", 20), parent=top, expires_in=each) for each in (60, 9999)]
    market.world.clock.advance("P1D")
    assert (100, 0) == (market.available("anna"), market.held("anna"))
    assert ["timed_out"] * 3 == [market.status(task) for task in (top, *parts)]


def test_only_whoever_works_on_an_accepted_task_spends_its_budget(market: Market) -> None:
    """Neither the requester nor a stranger, and nobody before it is accepted or after its end."""
    agent = market.agent("cleo", 5)
    top = market.hire("anna", market.agent("bob", 50))
    with pytest.raises(errors.TaskNotReady):
        market.hire("bob", agent, parent=top)
    market.accept("bob", top)
    with pytest.raises(errors.NotAllowed):
        market.hire("anna", agent, parent=top)
    with pytest.raises(errors.NotFound):
        market.hire("cleo", agent, parent=top)
    market.complete("bob", top)
    with pytest.raises(errors.TaskNotReady):
        market.hire("bob", agent, parent=top)
