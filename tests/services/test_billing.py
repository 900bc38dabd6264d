"""What customers read: balances, statements in pages, usage by day, and their holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import from_text, to_text
from tallystick.core.times import DAY, parse_rfc3339
from tallystick.services.context import SYSTEM
from tallystick.services.pages import cursor_of, position_of
from tallystick.services.pricing import Usage
from tests.tallies import ECONOMY, USER, World, whole


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer on a plan without an allowance."""
    with World(database_url, tmp_path) as world:
        yield world


# --- balance ------------------------------------------------------------------------------------------------


def test_a_new_wallet_is_empty(world: World) -> None:
    """In every unit of the economy, with the plan and the low-balance threshold."""
    for unit, threshold in ((None, 10 * MICROS), ("tokens", None)):
        balance = world.balance(unit)
        assert (0, 0, 0, 0, ()) == (
            balance.balance,
            balance.available,
            balance.held,
            balance.debt,
            balance.grants,
        )
        assert (unit or "credits", threshold, "none", False) == (
            balance.unit,
            balance.threshold,
            balance.tier,
            balance.auto_refill,
        )


def test_the_totals_tell_a_wallets_whole_life(world: World) -> None:
    """Given, bought, earned, spent less refunds, expired, and taken back."""
    world.grant(100, "bonus", expires_at="2027-01-11T00:00:00Z")
    bought = world.grant(50, "purchase")
    world.grant(20, "reward")
    charge = world.charge(90)
    world.refund(charge, 15)
    world.clock.set("2027-01-12T00:00:00Z")
    world.claw_back(bought, 10)
    balance = world.balance()
    assert (100, 50, 20, 75, 25, 10) == tuple(
        whole(amount)
        for amount in (
            balance.granted,
            balance.purchased,
            balance.earned,
            balance.spent,
            balance.expired,
            balance.removed,
        )
    )
    assert (60, 60, 0, 0) == world.figures()


def test_the_balance_lists_open_grants_in_burn_order(world: World) -> None:
    """With what is left and what is held; empty and scheduled ones are not among them."""
    world.grant(5, "purchase")
    world.grant(3, "bonus")
    world.grant(2, "promotional_grant")
    world.grant(1, "bonus", effective_at="2027-02-01T00:00:00Z")
    world.charge(2)
    world.hold(4)
    listed = [(grant.category, whole(grant.remaining), whole(grant.held)) for grant in world.balance().grants]
    assert [("bonus", 3, 3), ("purchase", 5, 1)] == listed


def test_a_unit_that_the_economy_gained_has_an_empty_wallet(world: World) -> None:
    """A customer who was there before reads it at once."""
    world.write_economy(ECONOMY.replace("[plans.none]", '[units.gems]\ndescription = "Gems"\n[plans.none]'))
    world.tally.economies.activate(world.economy)
    assert (0, 0, 0, 0) == world.figures("gems")
    world.grant(3, unit="gems")
    assert (3, 3, 0, 0) == world.figures("gems")


def test_a_unit_that_the_economy_dropped_is_still_shown(world: World) -> None:
    """Nobody's holdings vanish from view."""
    world.grant(3, unit="tokens")
    text = ECONOMY[: ECONOMY.index("[meters.both]")] + ECONOMY[ECONOMY.index("[meters.limited]") :]
    world.write_economy(text.replace('[units.tokens]\ndescription = "A second unit"\n', ""))
    world.tally.economies.activate(world.economy)
    assert (3, 3, 0, 0) == world.figures("tokens")


@pytest.mark.parametrize("unit", ["gold", "", "a\x00b", "\ud800"])
def test_an_unknown_unit_is_refused(world: World, unit: str) -> None:
    """By its name, wherever it is asked for."""
    for read in (world.tally.billing.balance, world.tally.billing.transactions, world.tally.billing.usage):
        with pytest.raises(errors.UnknownUnit):
            read(SYSTEM, customer=USER, unit=unit)


def test_users_read_their_own_figures_and_nobody_elses(world: World) -> None:
    """Pitfall 42: another customer is unknown, as one that does not exist."""
    bob = world.customer("bob")
    world.grant(7, customer="bob")
    tally = world.tally
    assert 7 * MICROS == tally.billing.balance(bob).balance
    assert 1 == len(tally.billing.transactions(bob).items)
    assert 0 == tally.billing.usage(bob).totals.spent
    assert 0 == len(tally.holds_view.list(bob).items)
    for read in (
        tally.billing.balance,
        tally.billing.transactions,
        tally.billing.usage,
        tally.holds_view.list,
    ):
        with pytest.raises(errors.UnknownCustomer):
            read(bob, customer=USER)
        with pytest.raises(errors.ValidationFailed):
            read(SYSTEM)


# --- statement ----------------------------------------------------------------------------------------------


def test_a_statement_says_what_each_line_belongs_to(world: World) -> None:
    """Charge, hold, refund, grant: by the id that opens it at every door."""
    granted = world.grant(100, reason="for Ann")
    charge = world.charge(10)
    world.refund(charge, 4)
    captured = world.capture(world.hold(20), 15)
    short = world.grant(5, "promotional_grant", expires_at="2027-01-11T00:00:00Z")
    world.clock.set("2027-01-12T00:00:00Z")
    world.void(granted)
    lines = [(line.type, line.reference, line.description) for line in world.entries()]
    assert [
        ("bonus", granted, "for Ann"),
        ("usage", charge, None),
        ("refund", charge, None),
        ("usage", captured, None),
        ("promotional_grant", short, None),
        ("expiry", short, None),
        ("adjustment", granted, "a mistake"),
    ] == lines
    usage = world.entries()[1]
    assert ("work", "work", -10 * MICROS, 90 * MICROS) == (
        usage.category,
        usage.meter,
        usage.amount,
        usage.balance_after,
    )


def test_sign_up_grants_stand_in_the_statement_by_what_they_are_for(
    database_url: str, tmp_path: Path
) -> None:
    """Each with its own line, description and grant."""
    with World(database_url, tmp_path, economy="flow-nexus") as world:
        lines = world.entries()
        assert [("initial_grant", 100), ("bonus", 256)] == [(line.type, whole(line.amount)) for line in lines]
        assert "Welcome bonus" == lines[1].description
        listed = world.tally.grants.list(SYSTEM, customer=USER, unit="rUv").items
        assert [to_text("grant", grant.id) for grant in reversed(listed)] == [
            line.reference for line in lines
        ]


def test_metadata_and_agent_come_back_as_they_were_sent(world: World) -> None:
    """Whatever JSON they hold."""
    world.grant(10)
    usage = Usage(
        "work", customer=USER, agent="scout", description="a look", metadata={"path": ["ä", 1, None]}
    )
    world.tally.charges.create(SYSTEM, usage, idempotency_key="k")
    line = world.entries()[-1]
    assert ("scout", "a look", {"path": ["ä", 1, None]}) == (line.agent, line.description, line.metadata)


def test_pages_give_every_line_once_while_new_ones_arrive(world: World) -> None:
    """Newest first; what is written between two pages shifts nothing."""
    world.grant(50)
    for _ in range(9):
        world.charge(1)
    seen: list[int] = []
    cursor = None
    while True:
        page = world.tally.billing.transactions(SYSTEM, customer=USER, limit=3, cursor=cursor)
        seen += [line.sequence for line in page.items]
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
        world.charge(1)
    assert list(range(10, 0, -1)) == seen


def test_the_last_page_says_so(world: World) -> None:
    """Also when it is exactly full."""
    for _ in range(3):
        world.grant(1)
    page = world.tally.billing.transactions(SYSTEM, customer=USER, limit=3)
    assert (3, False, None) == (len(page.items), page.has_more, page.next_cursor)


def test_a_statement_can_be_narrowed_by_type_and_time(world: World) -> None:
    """From the first moment on, and before the second; both page as well."""
    world.grant(90)
    for day in range(11, 16):
        world.clock.set(f"2027-01-{day}T00:00:00Z")
        world.charge(day)
        world.grant(1, "reward")

    def found(**narrowed: object) -> list[int]:
        cursor, lines = None, []
        while True:
            page = world.tally.billing.transactions(
                SYSTEM,
                customer=USER,
                limit=2,
                cursor=cursor,
                **narrowed,  # type: ignore[arg-type]
            )
            lines += [whole(line.amount) for line in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return lines

    twelfth, fourteenth = (parse_rfc3339(f"2027-01-{day}T00:00:00Z") for day in (12, 14))
    assert [-15, -14, -13, -12, -11] == found(type="usage")
    assert [1, -13, 1, -12] == found(start=twelfth, end=fourteenth)
    assert [-13, -12] == found(start=twelfth, end=fourteenth, type="usage")
    assert [-15, -14, -13] == found(start=twelfth + 1, type="usage")
    assert [90] == found(end=parse_rfc3339("2027-01-11T00:00:00Z"))
    assert [] == found(type="expiry")
    assert [] == found(start=fourteenth, end=twelfth)
    assert 11 == len(found(start=0, end=10**17))


@pytest.mark.parametrize("limit", [0, 101, -1, True, "5", 1.5, None])
def test_a_limit_out_of_bounds_is_refused(world: World, limit: int) -> None:
    """From 1 to 100, in every list."""
    tally = world.tally
    for read in (tally.billing.transactions, tally.holds_view.list, tally.grants.list):
        with pytest.raises(errors.ValidationFailed, match="limit"):
            read(SYSTEM, customer=USER, limit=limit)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "=", "ÄÖ", "Z" * 101, "a\x00", cursor_of("other", 5), "ZW50cmllczow", "ZW50cmllczotMQ"],
)
def test_a_cursor_that_the_list_did_not_give_is_refused(world: World, cursor: str) -> None:
    """Malformed ones, those of other lists, and positions that no list has."""
    tally = world.tally
    for read in (tally.billing.transactions, tally.holds_view.list, tally.grants.list):
        with pytest.raises(errors.InvalidCursor):
            read(SYSTEM, customer=USER, cursor=cursor)


def test_cursors_hold_any_position() -> None:
    """The largest id there can be, and nothing past it."""
    assert 2**63 - 1 == position_of("grants", cursor_of("grants", 2**63 - 1))
    with pytest.raises(errors.InvalidCursor):
        position_of("grants", cursor_of("grants", 2**63))
    assert position_of("grants", None) is None


def test_unknown_types_periods_and_statuses_are_refused_by_name(world: World) -> None:
    """With the ones that there are."""
    with pytest.raises(errors.ValidationFailed, match="monthly_grant"):
        world.tally.billing.transactions(SYSTEM, customer=USER, type="gift")
    with pytest.raises(errors.ValidationFailed, match="90d"):
        world.tally.billing.usage(SYSTEM, customer=USER, period="1y")
    with pytest.raises(errors.ValidationFailed, match="captured"):
        world.tally.holds_view.list(SYSTEM, customer=USER, status="lost")


# --- usage --------------------------------------------------------------------------------------------------


def test_usage_by_day_and_meter(world: World) -> None:
    """Days of UTC, today last; refunds lower the day of their charge, rewards are earned, free calls are there with 0."""
    world.grant(100, "reward")
    world.clock.set("2027-01-14T23:59:59.999999Z")
    charge = world.charge(10)
    world.clock.set("2027-01-15T00:00:00Z")
    world.charge(1, "limited")
    world.charge(5)
    world.refund(charge, 3)
    world.clock.set("2027-01-16T15:00:00Z")
    usage = world.tally.billing.usage(SYSTEM, customer=USER, period="7d")
    assert [f"2027-01-{day}" for day in range(10, 17)] == [day.date for day in usage.days]
    assert [0, 0, 0, 0, 7, 6, 0] == [whole(day.spent) for day in usage.days]
    assert {"work": 5 * MICROS, "limited": MICROS} == usage.days[5].by_meter
    assert [100, 0, 0, 0, 0, 0, 0] == [whole(day.earned) for day in usage.days]
    assert (13 * MICROS, 100 * MICROS, {"work": 12 * MICROS, "limited": MICROS}) == (
        usage.totals.spent,
        usage.totals.earned,
        usage.totals.by_meter,
    )
    assert (parse_rfc3339("2027-01-10T00:00:00Z"), world.clock.micros) == (usage.start, usage.end)


def test_what_is_refunded_of_an_earlier_period_is_not_spent_below_zero(world: World) -> None:
    """It lowers a day that the period does not show; the longer one that has its day shows it there."""
    world.grant(100)
    charge = world.charge(10)
    world.clock.micros += 8 * DAY
    world.charge(2)
    world.refund(charge, 9)
    week, month = (
        world.tally.billing.usage(SYSTEM, customer=USER, period=period) for period in ("7d", "30d")
    )
    assert (2, {"work": 2 * MICROS}) == (whole(week.totals.spent), week.totals.by_meter)
    assert [1, 2] == [whole(day.spent) for day in month.days if day.spent]


def test_a_refund_of_several_meters_leaves_none_below_zero(world: World) -> None:
    """It is booked on the first of them, and what that one did not cost came back of the other."""
    world.grant(100)
    usage = Usage("limited", also=[("work", 4)], customer=USER)
    charge = to_text("chg", world.tally.charges.create(SYSTEM, usage, idempotency_key="k").value.id)
    world.refund(charge, 3)
    today = world.tally.billing.usage(SYSTEM, customer=USER, period="7d").days[-1]
    assert (2 * MICROS, {"limited": 0, "work": 2 * MICROS}) == (today.spent, today.by_meter)


@pytest.mark.parametrize(("period", "days"), [("7d", 7), ("30d", 30), ("90d", 90)])
def test_a_period_has_its_days_and_nothing_from_before(world: World, period: str, days: int) -> None:
    """The day before the first one does not count any more."""
    world.grant(100)
    world.charge(1)
    world.clock.micros += DAY
    world.charge(2)
    world.clock.micros += (days - 1) * DAY
    usage = world.tally.billing.usage(SYSTEM, customer=USER, period=period)
    assert days == len(usage.days)
    assert (2, 2) == (whole(usage.days[0].spent), whole(usage.totals.spent))


# --- holds --------------------------------------------------------------------------------------------------


def test_holds_are_listed_with_what_became_of_them(world: World) -> None:
    """Newest first, by status, in pages; a captured one names its charge."""
    world.grant(100)
    world.hold(1, expires_in=60)
    released = world.hold(2)
    world.release(released)
    captured = world.hold(30)
    charge = world.capture(captured, 25)
    world.clock.advance("PT2M")
    open_hold = world.hold(4)
    page = world.tally.holds_view.list(SYSTEM, customer=USER)
    assert ["open", "captured", "released", "expired"] == [hold.status for hold in page.items]
    assert [4, 30, 2, 1] == [whole(hold.amount) for hold in page.items]
    _, view, *_ = page.items
    assert (from_text("chg", charge), 25 * MICROS) == (view.charge_id, view.captured)
    assert (None, None) == (page.items[2].charge_id, page.items[2].captured)
    [only] = world.tally.holds_view.list(SYSTEM, customer=USER, status="open").items
    assert open_hold == to_text("hold", only.id)
    first = world.tally.holds_view.list(SYSTEM, customer=USER, limit=2)
    second = world.tally.holds_view.list(SYSTEM, customer=USER, limit=2, cursor=first.next_cursor)
    assert [hold.id for hold in page.items] == [hold.id for hold in (*first.items, *second.items)]
    assert second.next_cursor is None


# --- cost ---------------------------------------------------------------------------------------------------


def test_no_read_walks_through_a_history(sqlite_url: str, tmp_path: Path) -> None:
    """Every statement of balance, list and page finds its rows by an index, whatever the tables' size."""
    with World(sqlite_url, tmp_path) as world:
        world.plan("lose")
        world.grant(10)
        world.grant(1, effective_at="2027-02-01T00:00:00Z")
        world.charge(1)
        world.hold(1)
        asked: list[tuple[str, object]] = []
        engine = world.tally.database.engine

        def note(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            asked.append((statement, parameters))

        sa.event.listen(engine, "before_cursor_execute", note)
        tally = world.tally
        tally.billing.balance(SYSTEM, customer=USER)
        tally.billing.transactions(SYSTEM, customer=USER, start=1, end=world.clock.micros + 1)
        tally.billing.usage(SYSTEM, customer=USER)
        tally.holds_view.list(SYSTEM, customer=USER)
        tally.grants.list(SYSTEM, customer=USER, unit="credits")
        tally.plans.get(SYSTEM, customer=USER)
        sa.event.remove(engine, "before_cursor_execute", note)
        selects = [each for each in asked if each[0].startswith("SELECT")]
        assert len(selects) > 10
        plans = []
        with world.tally.database.read() as connection:
            for statement, parameters in selects:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
                plans += [(row.detail, statement) for row in rows]
    assert [] == [plan for plan in plans if plan[0].startswith("SCAN")]
