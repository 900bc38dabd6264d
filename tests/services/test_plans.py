"""Plans: what they give each month, what rolls over, unlimited ones, and changing them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.times import format_rfc3339, parse_rfc3339
from tallystick.services.context import SYSTEM
from tests.tallies import USER, World, whole


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer on a plan without an allowance."""
    with World(database_url, tmp_path) as world:
        yield world


# --- reading ------------------------------------------------------------------------------------------------


def test_a_plan_is_shown_with_its_period_and_what_was_granted_in_it(world: World) -> None:
    """Also where the last period ended unnoticed."""
    world.plan("roll")
    plan = world.tally.plans.get(SYSTEM, customer=USER)
    assert ("roll", "Rolls over", world.clock.micros) == (plan.plan, plan.title, plan.since)
    assert ("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z") == (
        format_rfc3339(plan.period_start),
        format_rfc3339(plan.period_end),
    )
    [allowance] = plan.allowances
    assert ("credits", 100 * MICROS, 100 * MICROS, 150 * MICROS) == (
        allowance.unit,
        allowance.amount,
        allowance.granted,
        allowance.rollover_cap,
    )
    world.clock.set("2027-05-05T00:00:00Z")
    assert parse_rfc3339("2027-06-01T00:00:00Z") == world.tally.plans.get(SYSTEM, customer=USER).period_end


def test_a_plan_without_an_allowance_has_periods_too(world: World) -> None:
    """They pass unrecorded, and are shown by the calendar."""
    world.clock.set("2027-07-20T00:00:00Z")
    plan = world.tally.plans.get(SYSTEM, customer=USER)
    assert ("none", (), "2027-08-01T00:00:00Z") == (
        plan.plan,
        plan.allowances,
        format_rfc3339(plan.period_end),
    )


def test_a_plan_that_the_economy_dropped_is_still_named(world: World) -> None:
    """Its customers keep what they have and get no more; another plan helps."""
    world.plan("big")
    text = Path(world.economy).read_text()
    start = text.index("[plans.big]")
    world.write_economy(text[:start] + text[text.index("[plans.roll]") :])
    world.tally.economies.activate(world.economy)
    world.clock.set("2027-02-05T00:00:00Z")
    plan = world.tally.plans.get(SYSTEM, customer=USER)
    assert ("big", None, ()) == (plan.plan, plan.title, plan.allowances)
    balance = world.balance()
    assert ("big", 0, None) == (balance.tier, balance.balance, balance.next_grant_at)
    assert 100 == world.plan("lose")


def test_the_balance_says_the_plan_and_the_next_grant(world: World) -> None:
    """None while nothing comes by itself."""
    assert ("none", None, False) == (
        world.balance().tier,
        world.balance().next_grant_at,
        world.balance().unlimited,
    )
    world.plan("day")
    assert "2027-02-10T12:00:00Z" == format_rfc3339(world.balance().next_grant_at or 0)
    assert world.balance("tokens").next_grant_at is None
    world.grant(1, effective_at="2027-01-15T00:00:00Z")
    assert "2027-01-15T00:00:00Z" == format_rfc3339(world.balance().next_grant_at or 0)


# --- changing -----------------------------------------------------------------------------------------------


def test_a_change_answers_what_it_did(world: World) -> None:
    """The plan before and after, the end of the period, and what came at once."""
    answer = world.tally.plans.change(SYSTEM, customer=USER, plan="big", idempotency_key="k")
    value = answer.value
    assert ("none", "big", (("credits", 300 * MICROS),)) == (value.previous, value.plan, value.granted)
    assert "2027-02-01T00:00:00Z" == format_rfc3339(value.period_end)
    again = world.tally.plans.change(SYSTEM, customer=USER, plan="big", idempotency_key="k")
    assert (True, value) == (again.replayed, again.value)
    with pytest.raises(errors.IdempotencyKeyReused):
        world.tally.plans.change(SYSTEM, customer=USER, plan="roll", idempotency_key="k")


def test_a_late_repeat_of_a_change_does_not_change_the_plan_again(world: World) -> None:
    """The key belongs to the first change, whatever came after it."""
    world.tally.plans.change(SYSTEM, customer=USER, plan="big", idempotency_key="k")
    world.plan("lose")
    assert world.tally.plans.change(SYSTEM, customer=USER, plan="big", idempotency_key="k").replayed
    assert "lose" == world.balance().tier


def test_users_cannot_change_plans_and_unknown_ones_are_refused(world: World) -> None:
    """A user is told that this is for operators; an unknown plan is named."""
    user = world.customer("bob")
    with pytest.raises(errors.NotAllowed):
        world.tally.plans.change(user, customer="bob", plan="big")
    with pytest.raises(errors.UnknownPlan):
        world.plan("bigg")
    with pytest.raises(errors.UnknownCustomer):
        world.plan("big", customer="nobody")
    with pytest.raises(errors.UnknownCustomer):
        world.tally.plans.get(user, customer=USER)
    assert "none" == world.tally.plans.get(user).plan


def test_a_plan_that_starts_later_gives_nothing_at_once(world: World) -> None:
    """Its first allowance comes with the next period, in full."""
    assert 0 == world.plan("later")
    assert 0 == world.available()
    world.clock.set("2027-02-01T00:00:00Z")
    assert 100 == world.available()


def test_joining_in_the_middle_of_a_month_gives_all_of_it(world: World) -> None:
    """And an upgrade gives the difference."""
    world.clock.set("2027-01-31T10:00:00Z")
    assert 100 == world.plan("lose")
    assert 200 == world.plan("big")
    assert [("monthly_grant", 100), ("monthly_grant", 200)] == world.lots()
    world.clock.set("2027-02-01T00:00:00Z")
    assert [("monthly_grant", 300)] == world.lots()


def test_a_downgrade_keeps_what_was_granted_until_the_month_ends(world: World) -> None:
    """Then the smaller allowance comes."""
    world.plan("big")
    world.plan("lose")
    assert 300 == world.available()
    world.clock.set("2027-02-01T00:00:00Z")
    assert 100 == world.available()


def test_a_change_from_months_to_anniversaries_counts_from_the_day_of_the_change(world: World) -> None:
    """The next allowance comes a month after it, on its day and time."""
    world.plan("lose")
    world.clock.set("2027-01-31T10:00:00Z")
    assert 0 == world.plan("day")
    seen = []
    for month in ("02", "03", "04"):
        world.clock.set(f"2027-{month}-28T10:00:00Z")
        seen.append(format_rfc3339(world.balance().next_grant_at or 0))
    assert ["2027-03-31T10:00:00Z", "2027-03-31T10:00:00Z", "2027-04-30T10:00:00Z"] == seen
    granted = [time for time, kind, _ in world.statement() if kind == "monthly_grant"]
    assert ["2027-01-10T12:00:00Z", "2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z"] == granted


# --- months -------------------------------------------------------------------------------------------------


def test_use_it_or_lose_it(world: World) -> None:
    """What is left of a month expires when the next one is granted, at midnight UTC, a whole year long."""
    world.plan("lose")
    for month in range(2, 13):
        world.charge(month)
        world.clock.set(f"2027-{month:02}-01T00:00:00Z")
        assert [("monthly_grant", 100)] == world.lots()
    expired = [amount for _, kind, amount in world.statement() if kind == "expiry"]
    assert [month - 100 for month in range(2, 13)] == expired


def test_rollover_keeps_the_oldest_last(world: World) -> None:
    """What is beyond the cap is taken from the oldest month, and the rest is drawn oldest first."""
    world.plan("roll")
    world.clock.set("2027-02-01T00:00:00Z")
    world.clock.set("2027-03-01T00:00:00Z")
    assert [("monthly_grant", 50), ("monthly_grant", 100), ("monthly_grant", 100)] == world.lots()
    world.charge(60)
    assert [("monthly_grant", 90), ("monthly_grant", 100)] == world.lots()


def test_a_cap_is_not_applied_while_the_wallet_is_frozen(world: World) -> None:
    """Nothing is lost in a frozen wallet; the first month after the thaw applies it."""
    world.plan("roll")
    world.freeze()
    world.clock.set("2027-04-15T00:00:00Z")
    assert 400 == world.available()
    world.thaw()
    world.clock.set("2027-05-01T00:00:00Z")
    assert 250 == world.available()


# --- unlimited ----------------------------------------------------------------------------------------------


def test_under_an_unlimited_plan_usage_is_visible_and_the_balance_stays(world: World) -> None:
    """Each charge is paid by a grant made for it, so that statement and usage show all of it."""
    world.grant(50, "purchase")
    world.plan("unlimited")
    before = world.figures()
    charge = world.charge(1000)
    assert before == world.figures()
    assert [("monthly_grant", 1000), ("usage", -1000)] == [line[1:] for line in world.statement()[-2:]]
    usage = world.tally.billing.usage(SYSTEM, customer=USER, period="7d").totals
    assert (1000, {"work": 1000 * MICROS}) == (whole(usage.spent), usage.by_meter)
    assert world.balance().unlimited
    world.refund(charge)
    assert before == world.figures()
    assert 0 == world.tally.billing.usage(SYSTEM, customer=USER, period="7d").totals.spent


@pytest.mark.parametrize("captured", [0, 30, 100, 250, None])
def test_a_hold_under_an_unlimited_plan_leaves_the_balance_where_it_was(
    world: World, captured: int | None
) -> None:
    """Captured in part, in full, for more, for nothing, or released."""
    world.grant(50)
    world.plan("unlimited")
    hold = world.hold(100)
    assert (150, 50, 100, 0) == world.figures()
    if captured is None:
        world.release(hold)
    else:
        charge = world.capture(hold, captured)
        assert (50, 50, 0, 0) == world.figures()
        if captured:
            world.refund(charge)
    assert (50, 50, 0, 0) == world.figures()


def test_a_hold_under_an_unlimited_plan_that_ends_by_itself_leaves_the_balance(world: World) -> None:
    """What was granted for it goes back to where it came from."""
    world.plan("unlimited")
    world.hold(100)
    world.clock.advance("PT2H")
    assert (0, 0, 0, 0) == world.figures()


def test_leaving_an_unlimited_plan_leaves_nothing_behind(world: World) -> None:
    """A hold goes on, what comes back later is gone, and charges need credits again."""
    world.plan("unlimited")
    charge = world.charge(10)
    hold = world.hold(100)
    world.plan("none")
    with pytest.raises(errors.InsufficientCredits):
        world.charge(1)
    world.capture(hold, 60)
    world.refund(charge)
    assert (0, 0, 0, 0) == world.figures()
    assert not world.balance().unlimited


def test_coming_back_to_an_unlimited_plan_works_again(world: World) -> None:
    """Twice on it in the same month, with charges in between."""
    for _ in range(2):
        world.plan("unlimited")
        world.charge(10)
        world.plan("none")
    assert (0, 0, 0, 0) == world.figures()


def test_what_an_unlimited_plan_covers_repays_no_debt(world: World) -> None:
    """A refund of what was free to begin with is worth nothing against a debt."""
    payment = world.grant(100, "purchase")
    world.charge(100)
    world.claw_back(payment, 100)
    world.plan("unlimited")
    charge = world.charge(40)
    world.refund(charge)
    assert (-100, 0, 0, 100) == world.figures()


def test_the_flow_nexus_enterprise_plan_covers_credits_and_not_dollars(
    database_url: str, tmp_path: Path
) -> None:
    """A charge in both units takes the dollars and leaves the credits."""
    with World(database_url, tmp_path, economy="flow-nexus") as world:
        world.plan("enterprise")
        before, dollars = world.balance(), world.balance("USD")
        world.charge(3600, "vcpu_seconds")
        assert before.balance == world.balance().balance
        assert dollars.balance - 50_400 == world.balance("USD").balance
        assert (True, False) == (world.balance().unlimited, world.balance("USD").unlimited)


def test_the_free_month_of_flow_nexus_is_the_sign_up_grant(database_url: str, tmp_path: Path) -> None:
    """356 at sign-up, and 100 from the first anniversary on, which expire with their month."""
    with World(database_url, tmp_path, economy="flow-nexus") as world:
        assert 356 == world.available()
        world.clock.set("2027-02-10T12:00:00Z")
        assert 456 == world.available()
        world.clock.set("2027-03-10T12:00:00Z")
        assert 456 == world.available()


def test_an_allowance_that_a_plan_gains_starts_with_the_change(database_url: str, tmp_path: Path) -> None:
    """Customers of a plan without an allowance get a new one from the change on, and nothing for the months before."""
    moment = [parse_rfc3339("2026-01-10T00:00:00Z")]
    bare = """
    [economy]
    title = "Bare"
    primary_unit = "credits"
    default_plan = "free"
    [units.credits]
    description = "Credits"
    [plans.free]
    title = "Free"
    price_usd = 0
    """
    path = tmp_path / "gains.toml"
    path.write_text(bare, encoding="utf-8")
    with Tally.open(database_url, economy=str(path), source=lambda: moment[0]) as tally:
        tally.customers.create(SYSTEM, external_id="ada")
    moment[0] = parse_rfc3339("2026-06-10T00:00:00Z")
    path.write_text(bare + "[[plans.free.allowances]]\namount = 100\n", encoding="utf-8")
    with Tally.open(database_url, economy=str(path), source=lambda: moment[0]) as tally:
        assert tally.billing.balance(SYSTEM, customer="ada").granted == 100 * MICROS
    with Tally.open(database_url, economy=str(path), source=lambda: moment[0]) as tally:
        assert tally.billing.balance(SYSTEM, customer="ada").granted == 100 * MICROS
        moment[0] = parse_rfc3339("2026-07-02T00:00:00Z")
        seen = tally.billing.balance(SYSTEM, customer="ada")
        assert (seen.granted, seen.balance) == (200 * MICROS, 100 * MICROS)
