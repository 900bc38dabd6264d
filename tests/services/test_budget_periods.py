"""Budgets over time: periods, holds, captures and refunds. What is given back may be spent again, once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.errors import BudgetExceeded
from tallystick.core.ids import from_text
from tallystick.core.operations import Charge, Part, Resolve
from tallystick.core.times import format_rfc3339, parse_rfc3339
from tallystick.services.context import Caller
from tallystick.store.audit import audit
from tests.services.installation import Clock, Spender, customer_of, economy_file, key_of, log_in


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def tally(database_url: str, clock: Clock, tmp_path: Path) -> Iterator[Tally]:
    """An installation on that clock, whose budgets and ledger agree in the end."""
    with Tally.open(database_url, source=clock, economy=economy_file(tmp_path)) as tally:
        yield tally
        report = audit(tally.database, now=tally.context.now())
        assert report.ok, [rule.violations for rule in report.rules]


@pytest.fixture
def ada(tally: Tally) -> Caller:
    """A user."""
    return log_in(tally)


@pytest.fixture
def spender(tally: Tally, ada: Caller) -> Spender:
    """The user, spending."""
    return Spender(tally, ada)


def spent(spender: Spender) -> list[int]:
    """What each budget of the customer has spent in its current period, in whole credits."""
    return [budget.spent // 1_000_000 for budget in spender.tally.budgets.list(spender.caller)]


def left(spender: Spender) -> int:
    """What the narrowest budget leaves, found by asking for too much."""
    with pytest.raises(BudgetExceeded) as caught:
        spender.hold(100_000)
    available = caught.value.fields["available"]
    assert isinstance(available, int)
    return available // 1_000_000


# --- periods --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per", "last", "first"),
    [
        ("day", "2026-03-10T23:59:59.999999Z", "2026-03-11T00:00:00Z"),
        ("month", "2026-03-31T23:59:59.999999Z", "2026-04-01T00:00:00Z"),
    ],
)
def test_a_budget_starts_afresh_when_its_period_ends(
    spender: Spender, clock: Clock, per: str, last: str, first: str
) -> None:
    """In UTC, at the very microsecond, and over again."""
    budget = spender.tally.budgets.put(spender.caller, level="customer", amount=10, per=per)
    assert parse_rfc3339(first) == budget.resets_at
    spender.hold(10, seconds=30 * 86_400)
    clock.at(last)
    assert (0, [10]) == (left(spender), spent(spender))
    clock.at(first)
    assert (10, [0]) == (left(spender), spent(spender))


@pytest.mark.parametrize(
    ("now", "day_ends", "month_ends"),
    [
        ("2026-01-31T12:00:00Z", "2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z", "2027-01-01T00:00:00Z"),
    ],
)
def test_a_subject_may_have_a_budget_per_day_and_one_per_month(
    spender: Spender, clock: Clock, now: str, day_ends: str, month_ends: str
) -> None:
    """Both must have room, and each ends in its own time."""
    clock.at(now)
    budgets, caller = spender.tally.budgets, spender.caller
    budgets.put(caller, level="customer", amount=10, per="day")
    budgets.put(caller, level="customer", amount=15, per="month")
    assert [day_ends, month_ends] == [format_rfc3339(budget.resets_at) for budget in budgets.list(caller)]
    spender.charge(10)
    assert 0 == left(spender)
    clock.at(day_ends)
    assert [0, 0 if day_ends == month_ends else 10] == spent(spender)
    spender.charge(5)
    if day_ends != month_ends:
        with pytest.raises(BudgetExceeded) as caught:
            spender.charge(1)
        assert [month_ends] == [format_rfc3339(caught.value.fields["reset_at"])]  # type: ignore[arg-type]


def test_a_clock_that_went_back_counts_in_the_day_that_it_shows(spender: Spender, clock: Clock) -> None:
    """Nothing is lost: each day keeps what was spent in it."""
    spender.tally.budgets.put(spender.caller, level="customer", amount=10, per="day")
    spender.charge(4)
    clock.at("2026-03-11T00:00:00Z")
    spender.charge(7)
    clock.at("2026-03-10T23:00:00Z")
    assert 6 == left(spender)
    clock.at("2026-03-11T01:00:00Z")
    assert 3 == left(spender)


# --- holds ----------------------------------------------------------------------------------------------


def test_a_hold_counts_and_a_release_gives_it_back(spender: Spender) -> None:
    """At every level."""
    tally, ada = spender.tally, spender.caller
    key = Spender(tally, key_of(tally, ada, budget=(10, None, "day")), agent="bot")
    tally.budgets.put(ada, level="agent", subject="bot", amount=20, per="month")
    tally.budgets.put(ada, level="customer", amount=30, per="day")
    hold = key.hold(8)
    assert ([8, 8, 8], 2) == (spent(spender), left(key))
    key.release(hold)
    assert ([0, 0, 0], 10) == (spent(spender), left(key))


def test_a_capture_below_the_hold_gives_the_difference_back(spender: Spender) -> None:
    """Down to nothing; an exact capture gives nothing back."""
    spender.tally.budgets.put(spender.caller, level="customer", amount=100, per="day")
    for captured in (3, 0, 10):
        spender.capture(spender.hold(10), captured)
    assert [13] == spent(spender)


def test_a_capture_above_the_hold_needs_room_like_a_charge(spender: Spender) -> None:
    """Without it nothing is captured, and the hold stays as it was."""
    spender.tally.budgets.put(spender.caller, level="customer", amount=15, per="day")
    hold = spender.hold(10)
    with pytest.raises(BudgetExceeded) as caught:
        spender.capture(hold, 16)
    fields = caught.value.fields
    assert (6_000_000, 5_000_000) == (fields["required"], fields["available"])
    assert [10] == spent(spender)
    assert 15_000_000 == spender.capture(hold, 15).captured
    assert [15] == spent(spender)


def test_what_is_captured_beyond_a_hold_counts_in_the_day_of_the_capture(
    spender: Spender, clock: Clock
) -> None:
    """Small holds of yesterday are no way around the budget of today."""
    spender.tally.budgets.put(spender.caller, level="customer", amount=20, per="day")
    clock.at("2026-03-10T23:30:00Z")
    holds = [spender.hold(1) for _ in range(5)]
    clock.at("2026-03-11T00:15:00Z")
    spender.capture(holds[0], 11)
    assert [10] == spent(spender)
    spender.capture(holds[1], 11)
    with pytest.raises(BudgetExceeded):
        spender.capture(holds[2], 2)
    spender.capture(holds[3], 1)
    spender.release(holds[4])
    assert [20] == spent(spender)
    clock.at("2026-03-10T23:45:00Z")
    assert [4] == spent(spender)


def test_a_budget_that_was_set_meanwhile_counts_what_is_captured_beyond_the_hold(spender: Spender) -> None:
    """The hold itself was made before it, and gives nothing back to it."""
    first, second = spender.hold(10), spender.hold(10)
    spender.tally.budgets.put(spender.caller, level="customer", amount=5, per="day")
    spender.capture(first, 14)
    spender.release(second)
    assert ([4], 1) == (spent(spender), left(spender))


def test_pitfall_05_a_hold_that_ended_by_itself_does_not_use_up_the_budget(
    spender: Spender, clock: Clock
) -> None:
    """The very next charge has the room, without any worker, and the list says so too."""
    spender.tally.budgets.put(spender.caller, level="customer", amount=10, per="day")
    spender.hold(10, seconds=60)
    assert 0 == left(spender)
    clock.at("2026-03-10T12:01:00Z")
    spender.charge(6)
    spender.hold(4, seconds=60)
    clock.at("2026-03-10T12:02:00Z")
    assert [6] == spent(spender)


def test_what_a_batch_gives_back_the_same_batch_may_spend_and_only_once(spender: Spender) -> None:
    """Requests that commit together see each other in their order."""
    tally, number = spender.tally, spender.caller.customer_id
    assert number is not None
    tally.budgets.put(spender.caller, level="customer", amount=10, per="day")
    holds = [from_text("hold", spender.hold(5)) for _ in range(2)]
    scope = customer_of(spender.caller)

    def capture(hold: int | None, amount: int) -> Resolve:
        amounts = (("credits", amount * 1_000_000),)
        return Resolve(customer_id=number, caller="test", hold_id=hold, maker=scope, amounts=amounts)

    def charge(amount: int) -> Charge:
        part = Part("lookup", "data", "credits", amount * 1_000_000)
        return Charge(customer_id=number, caller="test", parts=(part,), meter="lookup")

    batch = [charge(1), capture(holds[0], 1), charge(1), capture(holds[1], 8), charge(1)]
    outcomes = tally.database.transact(
        lambda connection: tally.context.ledger.post(connection, batch, now=tally.context.now())
    )
    assert [False, True, True, True, False] == [outcome.refusal is None for outcome in outcomes]
    assert [10] == spent(spender)


# --- refunds --------------------------------------------------------------------------------------------


def test_a_refund_gives_back_what_it_refunds(spender: Spender) -> None:
    """In parts and in all never more than was spent."""
    spender.tally.budgets.put(spender.caller, level="customer", amount=100, per="day")
    first, second = spender.charge(40), spender.charge(50)
    spender.refund(first.id, 15)
    assert [75] == spent(spender)
    spender.refund(first.id, 20)
    spender.refund(first.id)
    assert [50] == spent(spender)
    spender.refund(second.id)
    assert ([0], 100) == (spent(spender), left(spender))


def test_a_refund_belongs_to_the_period_of_its_charge(spender: Spender, clock: Clock) -> None:
    """What was spent yesterday and comes back today gives today no more room."""
    spender.tally.budgets.put(spender.caller, level="customer", amount=10, per="day")
    charge = spender.charge(10)
    clock.at("2026-03-11T00:00:00Z")
    spender.charge(4)
    spender.refund(charge.id)
    assert [4] == spent(spender)
    clock.at("2026-03-10T20:00:00Z")
    assert [0] == spent(spender)


def test_a_refund_of_a_capture_gives_back_too(spender: Spender, clock: Clock) -> None:
    """What was captured beyond the hold first, in its own period; then what was held, in its own."""
    spender.tally.budgets.put(spender.caller, level="customer", amount=20, per="day")
    clock.at("2026-03-10T23:30:00Z")
    above, below = spender.hold(6), spender.hold(9)
    clock.at("2026-03-11T00:15:00Z")
    more, less = spender.capture(above, 10), spender.capture(below, 5)
    days = ("2026-03-10T23:45:00Z", "2026-03-11T00:30:00Z")

    def by_day() -> list[list[int]]:
        found = []
        for day in days:
            clock.at(day)
            found.append(spent(spender))
        return found

    assert [[11], [4]] == by_day()
    spender.refund(more.id, 3)
    assert [[11], [1]] == by_day()
    spender.refund(more.id, 5)
    assert [[7], [0]] == by_day()
    spender.refund(more.id)
    spender.refund(less.id)
    assert [[0], [0]] == by_day()


def test_a_refund_after_the_budget_was_lifted_disturbs_nobody(spender: Spender) -> None:
    """A budget that is set anew begins at nothing."""
    budgets, caller = spender.tally.budgets, spender.caller
    budgets.put(caller, level="customer", amount=10, per="day")
    charge = spender.charge(10)
    budgets.remove(caller, level="customer", per="day")
    budgets.put(caller, level="customer", amount=10, per="day")
    spender.refund(charge.id)
    assert ([0], 10) == (spent(spender), left(spender))
