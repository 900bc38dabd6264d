"""What time alone makes happen is booked before anything is drawn or shown, however much it is."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.core.due import MAX_EVENTS
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tallystick.services.pricing import Usage
from tests.tallies import USER, World


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer on a plan without an allowance."""
    with World(database_url, tmp_path) as world:
        yield world


def place_holds(world: World, count: int, *, customer: str = USER) -> None:
    """Many holds of one credit that end an hour later, posted together."""
    usage = Usage("work", customer=customer)

    async def place() -> None:
        holds = world.tally.holds
        keys = [f"{customer} {number}" for number in range(count)]
        await asyncio.gather(*(holds.create_async(SYSTEM, usage, idempotency_key=key) for key in keys))

    asyncio.run(place())


def test_more_holds_than_one_settling_takes_all_end_before_a_charge(world: World) -> None:
    """A charge that needs what all of them gave back is not refused."""
    count = MAX_EVENTS + 50
    world.grant(count)
    place_holds(world, count)
    assert (count, 0, count, 0) == world.figures()
    world.clock.advance("PT2H")
    world.charge(count)
    assert (0, 0, 0, 0) == world.figures()


def test_more_holds_than_one_settling_takes_all_end_before_a_quote(world: World) -> None:
    """A quote sees what a charge would see."""
    count = MAX_EVENTS + 1
    world.grant(count)
    place_holds(world, count)
    world.clock.advance("PT2H")
    assert world.tally.charges.quote(SYSTEM, Usage("work", quantity=count, customer=USER)).affordable


def test_reading_settles_until_nothing_is_due(world: World) -> None:
    """The balance counts what every hold gave back, not only the first ones."""
    count = 2 * MAX_EVENTS + 1
    world.grant(count)
    place_holds(world, count)
    world.clock.advance("PT2H")
    assert (count, count, 0, 0) == world.figures()
    assert {"expired"} == {hold.status for hold in world.tally.holds_view.list(SYSTEM, customer=USER).items}


def test_customers_who_are_settled_together_do_not_cut_each_other_off(world: World) -> None:
    """The worker ends every hold of every customer, and books what follows in the order of its time."""
    names = ["bob", "cid", "dan"]
    for name in names:
        world.customer(name)
        world.grant(300, customer=name, expires_at="2027-01-10T13:30:00Z")
        place_holds(world, 300, customer=name)
    world.clock.advance("PT2H")
    done = world.tally.due_work.run_all()
    assert {"hold_expiry": 900, "expiry": 3, "balance_look": 3} == {
        name: count for name, count in done.items() if count
    }
    for name in names:
        assert [("2027-01-10T12:00:00Z", "bonus", 300), ("2027-01-10T13:30:00Z", "expiry", -300)] == (
            world.statement(customer=name)
        )


def test_more_scheduled_grants_than_one_settling_takes_all_start(world: World) -> None:
    """Each starts at its own time."""
    count = MAX_EVENTS + 20
    for _ in range(count):
        world.grant(1, effective_at="2027-01-11T00:00:00Z")
    assert (0, 0, 0, 0) == world.figures()
    world.clock.set("2027-01-12T00:00:00Z")
    world.charge(count)
    assert {"2027-01-11T00:00:00Z"} == {time for time, kind, _ in world.statement() if kind == "bonus"}


def test_what_is_due_is_booked_in_the_order_of_its_time(world: World) -> None:
    """A hold ends, grants expire, a month begins and a grant starts, in that order."""
    world.plan("lose")
    world.grant(7, expires_at="2027-02-01T00:00:00Z")
    world.grant(9, effective_at="2027-02-01T00:00:00Z")
    world.clock.set("2027-01-31T23:00:00Z")
    hold = world.hold(104)
    assert (107, 3, 104, 0) == world.figures()
    world.clock.set("2027-02-03T00:00:00Z")
    moment = "2027-02-01T00:00:00Z"
    assert [
        (moment, "expiry", -100),
        (moment, "expiry", -7),
        (moment, "monthly_grant", 100),
        (moment, "bonus", 9),
    ] == world.statement()[-4:]
    [view] = world.tally.holds_view.list(SYSTEM, customer=USER).items
    assert (hold, "expired") == (to_text("hold", view.id), view.status)


def test_a_plan_that_moves_from_months_to_anniversaries_grants_once_a_month(world: World) -> None:
    """When the economy changes how a plan renews, the next period begins where the last one ended."""
    world.plan("lose")
    text = Path(world.economy).read_text()
    world.write_economy(
        text.replace('title = "Use it or lose it"', 'title = "Edited"\nrenews = "anniversary"')
    )
    world.tally.economies.activate(world.economy)
    world.clock.set("2027-03-31T00:00:00Z")
    assert 100 == world.available()
    granted = [time for time, kind, _ in world.statement() if kind == "monthly_grant"]
    assert ["2027-01-10T12:00:00Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"] == granted
