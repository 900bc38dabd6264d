"""What other systems got wrong about grants, plans and time: each pitfall by its number."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.times import parse_rfc3339
from tallystick.services.context import SYSTEM
from tallystick.services.pricing import Usage
from tests.tallies import USER, World, whole


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer on a plan without an allowance."""
    with World(database_url, tmp_path) as world:
        yield world


@pytest.fixture
def flux(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer of the shipped economy with monthly credits and packs."""
    with World(database_url, tmp_path, economy="flux") as world:
        yield world


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """Run ``work`` in threads that start together; gives what each returned or raised."""
    start = threading.Barrier(count)
    found: list[object] = [None] * count

    def run(number: int) -> None:
        start.wait()
        try:
            found[number] = work(number)
        except errors.Refusal as refusal:
            found[number] = refusal

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def shown(refusal: errors.Refusal) -> tuple[int, ...]:
    """What a refusal says is needed, there and missing, in whole credits."""
    return tuple(whole(int(str(refusal.fields[name]))) for name in ("required", "available", "shortfall"))


# --- 19: a plan wiped purchased credits ---------------------------------------------------------------------


def test_pitfall_19_a_change_of_plan_keeps_purchased_credits(world: World) -> None:
    """Whatever plans a customer passes through, bought and given credits stay what they are."""
    world.grant(500, "purchase")
    world.grant(20, "bonus", expires_at="2027-06-01T00:00:00Z")
    for plan in ("lose", "roll", "unlimited", "day", "big", "none"):
        world.plan(plan)
        world.clock.advance("PT1H")
        assert {("bonus", 20), ("purchase", 500)} <= set(world.lots())
    world.clock.advance("P2M")
    assert [("bonus", 20), ("purchase", 500)] == [lot for lot in world.lots() if lot[0] != "monthly_grant"]


def test_pitfall_19_an_edited_plan_keeps_purchased_credits(world: World) -> None:
    """An economy whose plans were edited changes what comes next, not what a customer has."""
    world.plan("lose")
    world.grant(500, "purchase")
    world.write_economy(Path(world.economy).read_text().replace("amount = 100\n", "amount = 40\n"))
    world.tally.economies.activate(world.economy)
    assert [("monthly_grant", 100), ("purchase", 500)] == world.lots()
    world.clock.set("2027-02-01T00:00:00Z")
    assert [("monthly_grant", 40), ("purchase", 500)] == world.lots()


def test_pitfall_19_flux_keeps_packs_and_draws_them_after_the_month(flux: World) -> None:
    """200 on the 1st, the rest of the old month gone, packs kept and drawn last, on every plan."""
    flux.plan("edge")
    flux.grant(500, "purchase")
    flux.charge(150, "bulk_lookup")
    assert [("monthly_grant", 50), ("purchase", 500)] == flux.lots()
    flux.clock.set("2027-02-01T00:00:00Z")
    assert [("monthly_grant", 200), ("purchase", 500)] == flux.lots()
    flux.charge(250, "bulk_lookup")
    assert [("purchase", 450)] == flux.lots()
    flux.plan("pulse")
    flux.clock.set("2027-03-01T00:00:00Z")
    assert [("purchase", 450)] == flux.lots()
    flux.charge(450, "bulk_lookup")
    assert (0, 0, 0, 0) == flux.figures()


# --- 20: rollover lost --------------------------------------------------------------------------------------


def test_pitfall_20_what_is_left_rolls_over_up_to_the_cap(world: World) -> None:
    """Of 100 a month with a cap of 150, unused months leave 100, 200, 250 and 250."""
    world.plan("roll")
    seen = [world.available()]
    for _ in range(3):
        world.clock.advance("P1M")
        seen.append(world.available())
    assert [100, 200, 250, 250] == seen
    world.charge(240)
    world.clock.advance("P1M")
    assert 110 == world.available()


def test_pitfall_20_a_hold_over_the_end_of_the_month_does_not_lose_what_rolls_over(world: World) -> None:
    """What is held when the month ends is still there when it is released, and then the cap counts again."""
    world.plan("roll")
    world.clock.set("2027-01-31T23:30:00Z")
    hold = world.hold(60, expires_in=86_400)
    world.clock.set("2027-02-01T00:00:00Z")
    assert (200, 140, 60, 0) == world.figures()
    world.release(hold)
    assert (200, 200, 0, 0) == world.figures()


def test_pitfall_20_a_plan_with_rollover_keeps_it_through_an_upgrade_and_back(world: World) -> None:
    """Rolled-over credits live until the end of the period even when the plan is left meanwhile."""
    world.plan("roll")
    world.clock.advance("P1M")
    world.plan("big")
    assert 400 == world.available()
    world.plan("roll")
    assert 400 == world.available()


# --- 21: early by time zone ---------------------------------------------------------------------------------


def test_pitfall_21_a_grant_lives_to_the_last_microsecond(world: World) -> None:
    """A time with an offset is the moment it names: not a day or some hours before."""
    world.grant(10, expires_at="2027-03-01T00:00:00+09:00")  # 15:00 UTC on the last day of February
    world.clock.set("2027-02-28T14:59:59.999999Z")
    assert 10 == world.available()
    world.charge(1)
    world.clock.set("2027-02-28T15:00:00Z")
    assert 0 == world.available()
    assert ("2027-02-28T15:00:00Z", "expiry", -9) == world.statement()[-1]


def test_pitfall_21_a_calendar_month_ends_at_midnight_utc(world: World) -> None:
    """Use it or lose it: spendable in the last microsecond of the month, and gone in the next."""
    world.plan("lose")
    world.clock.set("2027-01-31T23:59:59.999999Z")
    world.charge(30)
    assert 70 == world.available()
    world.clock.set("2027-02-01T00:00:00Z")
    assert [("2027-02-01T00:00:00Z", "expiry", -70), ("2027-02-01T00:00:00Z", "monthly_grant", 100)] == (
        world.statement()[-2:]
    )


# --- 22: expired credits spendable --------------------------------------------------------------------------


def test_pitfall_22_expired_credits_cannot_be_spent_though_no_worker_ran(world: World) -> None:
    """The moment decides, not a job: a charge is refused with the figures that are shown."""
    world.grant(50, expires_at="2027-01-11T00:00:00Z")
    world.grant(5)
    world.clock.set("2027-01-11T00:00:00Z")
    with pytest.raises(errors.InsufficientCredits) as refused:
        world.charge(6)
    assert (6, 5, 1) == shown(refused.value)
    with pytest.raises(errors.InsufficientCredits):
        world.hold(6)
    assert (5, 5, 0, 0) == world.figures()
    assert ("2027-01-11T00:00:00Z", "expiry", -50) == world.statement()[-1]


def test_pitfall_22_a_quote_and_a_batch_see_the_expiry_as_well(world: World) -> None:
    """Every way in settles first."""
    world.grant(50, expires_at="2027-01-11T00:00:00Z")
    world.clock.set("2027-01-12T00:00:00Z")
    quote = world.tally.charges.quote(SYSTEM, Usage("work", customer=USER))
    assert (0, False, "insufficient_credits") == (quote.available, quote.affordable, quote.refused_by)
    asked = [(Usage("work", customer=USER), "batch 1"), (Usage("work", customer=USER), "batch 2")]
    answers = asyncio.run(world.tally.charges.create_batch(SYSTEM, asked))
    assert [True, True] == [isinstance(answer, errors.InsufficientCredits) for answer in answers]
    assert [] == world.lots()


# --- 23: expired although held ------------------------------------------------------------------------------


def test_pitfall_23_held_credits_outlive_their_expiry_until_the_hold_ends(world: World) -> None:
    """What is captured is paid from them; what is released afterwards is gone."""
    world.grant(100, expires_at="2027-01-10T12:30:00Z")
    hold = world.hold(60)
    world.clock.set("2027-01-10T12:45:00Z")
    assert (60, 0, 60, 0) == world.figures()
    world.capture(hold, 45)
    assert (0, 0, 0, 0) == world.figures()
    moved = [(kind, amount) for _, kind, amount in world.statement()[1:]]
    assert [("expiry", -40), ("usage", -45), ("expiry", -15)] == moved


def test_pitfall_23_a_hold_released_before_the_expiry_gives_credits_that_still_expire(world: World) -> None:
    """Credits that were all held while something else fell due are swept at their own time later."""
    world.grant(10, expires_at="2027-01-10T20:00:00Z")
    hold = world.hold(10, expires_in=86_400)
    world.grant(1, expires_at="2027-01-10T13:00:00Z")
    world.clock.set("2027-01-10T14:00:00Z")
    assert (10, 0, 10, 0) == world.figures()
    world.release(hold)
    assert (10, 10, 0, 0) == world.figures()
    world.clock.set("2027-01-10T20:00:00Z")
    assert (0, 0, 0, 0) == world.figures()


def test_pitfall_23_a_refund_of_such_a_capture_gives_back_what_was_captured_and_no_more(world: World) -> None:
    """What went to breakage in the same transaction is no part of the price."""
    world.grant(100, expires_at="2027-01-10T12:30:00Z")
    hold = world.hold(100)
    world.clock.set("2027-01-10T12:45:00Z")
    charge = world.capture(hold, 60)
    with pytest.raises(errors.ExceedsRefundable):
        world.refund(charge, 61)
    world.refund(charge, 60)
    with pytest.raises(errors.ExceedsRefundable):
        world.refund(charge, 1)
    assert (0, 0, 0, 0) == world.figures()


# --- 24: recurrences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("joined", "expected"),
    [
        ("2027-01-29T08:00:00Z", ["02-28", "03-29", "04-29", "05-29"]),
        ("2027-01-30T08:00:00Z", ["02-28", "03-30", "04-30", "05-30"]),
        ("2027-01-31T08:00:00Z", ["02-28", "03-31", "04-30", "05-31"]),
        ("2027-12-31T08:00:00Z", ["01-31", "02-29", "03-31", "04-30"]),
        ("2028-02-29T08:00:00Z", ["03-29", "04-29", "05-29", "06-29"]),
    ],
)
def test_pitfall_24_a_month_from_the_31st_is_the_last_day_of_a_short_month(
    world: World, joined: str, expected: list[str]
) -> None:
    """One grant a month, at the time of day of joining, whether read each day or only once."""
    world.clock.set(joined)
    world.plan("day")
    world.customer("bob")
    world.plan("day", customer="bob")
    end = parse_rfc3339(joined) + 125 * 86_400_000_000
    while world.clock.micros < end:
        world.clock.advance("P1D")
        assert 100 == world.available()
    for name in (USER, "bob"):
        world.balance(customer=name)
        granted = [time for time, kind, _ in world.statement(customer=name) if kind == "monthly_grant"]
        assert [f"{day}T08:00:00Z" for day in expected] == [time[5:] for time in granted[1:5]]


@pytest.mark.parametrize("plan", ["lose", "roll", "day"])
def test_pitfall_24_after_an_outage_it_is_as_if_the_server_had_never_been_down(
    world: World, plan: str
) -> None:
    """Three missed months are each granted once, and the statements of both customers are the same."""
    world.customer("bob")
    for name in (USER, "bob"):
        world.plan(plan, customer=name)
        world.grant(40, expires_at="2027-02-20T00:00:00Z", customer=name)
        world.hold(30, expires_in=86_400, customer=name)
    for _ in range(93):  # until April 13
        world.clock.advance("P1D")
        world.balance(customer="bob")
    found = world.balance()
    assert world.statement(customer="bob") == world.statement()
    assert 4 == sum(kind == "monthly_grant" for _, kind, _ in world.statement())
    assert world.balance(customer="bob").available == found.available


def test_pitfall_24_several_processes_grant_a_month_once(world: World) -> None:
    """Workers, readers and charges that all find the same months due book each of them once."""
    world.plan("roll")
    world.clock.set("2027-04-01T00:00:00Z")
    others = [world.open() for _ in range(3)]

    def work(number: int) -> object:
        tally: Tally = [world.tally, *others][number % 4]
        if number < 4:
            return tally.due_work.run_once()
        if number < 8:
            return tally.billing.balance(SYSTEM, customer=USER).available
        usage = Usage("work", quantity=10, customer=USER)
        return tally.charges.create(SYSTEM, usage, idempotency_key=f"at once {number}").value.amount

    try:
        found = at_once(12, work)
    finally:
        for tally in others:
            tally.close()
    assert [] == [each for each in found if isinstance(each, errors.Refusal)]
    assert 4 == sum(kind == "monthly_grant" for _, kind, _ in world.statement())
    assert 250 - 40 == world.available()


def test_pitfall_24_a_restart_grants_nothing_again(world: World) -> None:
    """The worker run twice, in a new process too, finds nothing left to do."""
    world.plan("lose")
    world.clock.set("2027-02-01T00:00:00Z")
    assert {"expiry": 1, "monthly_grant": 1, "balance_look": 1} == _done(world.tally)
    assert {} == _done(world.tally)
    again = world.open()
    try:
        assert {} == _done(again)
    finally:
        again.close()
    assert 100 == world.available()


def _done(tally: Tally) -> dict[str, int]:
    return {name: count for name, count in tally.due_work.run_all().items() if count}


# --- 25: the wrong lot first --------------------------------------------------------------------------------


def test_pitfall_25_credits_are_drawn_by_priority_then_expiry_then_age(world: World) -> None:
    """However they came in, the given ones go before the bought ones, and the soonest to expire first."""
    world.grant(1, "purchase", reason="purchase")
    world.grant(2, "reward", reason="reward")
    world.grant(3, "bonus", reason="older bonus")
    world.grant(4, "bonus", reason="younger bonus")
    world.grant(5, "bonus", reason="bonus that expires later", expires_at="2027-12-01T00:00:00Z")
    world.grant(6, "bonus", reason="bonus that expires soon", expires_at="2027-02-01T00:00:00Z")
    world.grant(7, "promotional_grant", reason="promotion")
    world.grant(8, "monthly_grant", reason="month", expires_at="2027-02-01T00:00:00Z")
    world.grant(9, "purchase", reason="first by its own priority", priority=0)
    expected = [
        "first by its own priority",
        "month",
        "promotion",
        "bonus that expires soon",
        "bonus that expires later",
        "older bonus",
        "younger bonus",
        "reward",
        "purchase",
    ]
    assert expected == [grant.reason for grant in world.balance().grants]
    drawn = world.tally.explain.charge(SYSTEM, world.charge(45)).explain.lots
    assert expected == [lot.reason for lot in drawn]


def test_pitfall_25_a_refund_goes_back_in_reverse_order(world: World) -> None:
    """Part of a charge goes back to what was drawn last, so that bought credits come back first."""
    world.grant(10, "bonus")
    world.grant(10, "purchase")
    charge = world.charge(15)
    world.refund(charge, 7)
    assert [("bonus", 2), ("purchase", 10)] == world.lots()


# --- 26: plan changes near midnight, and farming ------------------------------------------------------------


@pytest.mark.parametrize("moment", ["2027-01-31T23:59:59.999999Z", "2027-02-01T00:00:00Z"])
def test_pitfall_26_a_change_of_plan_near_midnight_grants_each_month_once(world: World, moment: str) -> None:
    """Just before midnight the change belongs to the old month, at midnight to the new one."""
    world.plan("lose")
    world.clock.set(moment)
    world.plan("big")
    world.clock.set("2027-02-01T00:00:01Z")
    assert 300 == world.available()
    granted = [(time[:7], amount) for time, kind, amount in world.statement() if kind == "monthly_grant"]
    by_month = {month: sum(amount for each, amount in granted if each == month) for month, _ in granted}
    old = 300 if moment.startswith("2027-01") else 100
    assert {"2027-01": old, "2027-02": 300} == by_month


def test_pitfall_26_no_order_of_upgrades_and_downgrades_grants_more_than_the_largest_plan(
    world: World,
) -> None:
    """Upgrade–downgrade farming: the month gives the largest allowance held in it, once."""
    granted = [
        world.plan(plan) for plan in ("lose", "big", "lose", "none", "big", "roll", "unlimited", "big")
    ]
    assert [100, 200, 0, 0, 0, 0, 0, 0] == granted
    world.charge(300)
    assert 0 == sum(world.plan(plan) for plan in ("none", "big", "lose", "big"))
    assert 0 == world.available()
    world.clock.set("2027-02-01T00:00:00Z")
    assert 300 == world.available()


def test_pitfall_26_changing_between_calendar_and_anniversary_farms_nothing(world: World) -> None:
    """Moving the day of renewal back and forth within a month never brings a second allowance."""
    world.plan("day")
    for _ in range(10):
        world.clock.advance("P1D")
        assert 0 == world.plan("lose")
        world.clock.advance("PT1H")
        assert 0 == world.plan("day")
    world.balance()
    assert 1 == sum(kind == "monthly_grant" for _, kind, _ in world.statement())


def test_pitfall_26_many_changes_at_once_grant_once(world: World) -> None:
    """Twenty requests for the same upgrade, in several processes, bring one allowance."""
    other = world.open()
    try:
        at_once(
            20,
            lambda number: (world.tally, other)[number % 2].plans.change(SYSTEM, customer=USER, plan="big"),
        )
    finally:
        other.close()
    assert 300 == world.available()
    assert 1 == sum(kind == "monthly_grant" for _, kind, _ in world.statement())


# --- 27: the clock goes backwards ---------------------------------------------------------------------------


def test_pitfall_27_a_clock_that_goes_back_grants_nothing_twice_and_revives_nothing(world: World) -> None:
    """What was granted stays granted, what expired stays expired, and the statement stays in order."""
    world.plan("lose")
    world.grant(50, expires_at="2027-01-20T00:00:00Z")
    world.clock.set("2027-02-03T00:00:00Z")
    assert 100 == world.available()
    world.charge(10)
    world.clock.set("2027-01-15T00:00:00Z")
    assert 90 == world.available()
    world.charge(10)
    world.grant(5)
    assert 0 == world.plan("lose")
    world.clock.set("2027-02-04T00:00:00Z")
    assert 85 == world.available()
    lines = [(kind, amount) for _, kind, amount in world.statement()]
    assert 2 == lines.count(("monthly_grant", 100))
    assert [("usage", -10), ("usage", -10), ("bonus", 5)] == lines[-3:]
    assert "2027-02-03T00:00:00Z" == world.statement()[-1][0]


def test_pitfall_27_a_change_of_plan_under_a_clock_that_went_back_grants_its_months_once(
    world: World,
) -> None:
    """The period that was reached stays the period, so that its renewal comes once and at its time."""
    world.plan("lose")
    world.clock.set("2027-02-10T00:00:00Z")
    assert 100 == world.available()
    world.clock.set("2027-01-20T00:00:00Z")
    assert 0 == world.plan("day")
    assert 0 == world.plan("lose")
    world.clock.set("2027-03-01T00:00:00Z")
    assert 100 == world.available()
    assert 3 == sum(kind == "monthly_grant" for _, kind, _ in world.statement())


def test_pitfall_27_a_hold_made_before_the_clock_went_back_still_ends(world: World) -> None:
    """A clock that is set back lengthens a hold at most by as much."""
    world.grant(10)
    world.hold(4)
    world.clock.set("2027-01-09T00:00:00Z")
    assert (10, 6, 4, 0) == world.figures()
    world.clock.set("2027-01-10T13:00:00Z")
    assert (10, 10, 0, 0) == world.figures()


# --- 40 and 46: one figure everywhere -----------------------------------------------------------------------


def test_pitfall_40_every_place_shows_the_same_balance(world: World) -> None:
    """Balance, statement, quote, grants and explanation agree, before and after something is due."""
    world.grant(80, expires_at="2027-01-12T00:00:00Z")
    world.grant(30)
    world.hold(5)
    for moment in ("2027-01-10T12:00:00Z", "2027-01-12T00:00:00Z"):
        world.clock.set(moment)
        listed = world.tally.grants.list(SYSTEM, customer=USER).items
        explained = world.tally.explain.customer(SYSTEM, USER).wallets[0]
        quote = world.tally.charges.quote(SYSTEM, Usage("work", customer=USER))
        entry = world.tally.billing.transactions(SYSTEM, customer=USER, limit=1).items[0]
        balance = world.balance()
        assert {balance.balance} == {
            entry.balance_after,
            explained.balance,
            sum(grant.remaining for grant in listed),
        }
        assert {balance.available} == {quote.available, explained.available}


def test_pitfall_46_a_refusal_shows_the_figures_that_decided(world: World) -> None:
    """Held and expired credits are not called available, and the sum is exact."""
    world.grant(9, expires_at="2027-01-11T00:00:00Z")
    world.grant(7)
    world.clock.set("2027-01-11T00:00:00Z")
    world.hold(5)
    with pytest.raises(errors.InsufficientCredits) as refused:
        world.charge(3)
    assert (3, 2, 1) == shown(refused.value)
    assert refused.value.fields["available"] == world.balance().available
