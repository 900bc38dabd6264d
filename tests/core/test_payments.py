"""Money that comes in: what a part of a payment is worth in credits, and when a refill is due."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.catalog import AutoRefill
from tallystick.core.payments import (
    RefillDecision,
    RefillFacts,
    credits_lost,
    decide_refill,
    refill_cents,
    wait_after_decline,
)
from tallystick.core.times import DAY, HOUR, MINUTE, parse_rfc3339

NOW = parse_rfc3339("2027-03-15T12:00:00Z")
TERMS = AutoRefill(
    10_000_000, 100_000_000, 1000, 2000, daily_max_usd_cents=10_000, monthly_max_usd_cents=30_000
)
WANTED = RefillFacts(
    enabled=True,
    paused=False,
    threshold=100_000_000,
    amount_cents=2000,
    available=99_000_000,
    wanted_at=NOW,
    last_at=None,
    today_cents=0,
    month_cents=0,
    under_way=False,
    next_try_at=None,
    frozen=False,
)


def decide(**changes: object) -> RefillDecision:
    return decide_refill(replace(WANTED, **changes), TERMS, credits_for_amount=2_000_000_000, now=NOW)  # type: ignore[arg-type]


@given(st.integers(1, 10**15), st.integers(1, 10**8), st.integers(0, 2 * 10**8))
def test_credits_go_with_their_money(credits_: int, amount: int, lost: int) -> None:
    """Pro rata, rounded down for the customer, never more than there were, and all of them with all of the money."""
    taken = credits_lost(credits_, amount, lost)
    assert 0 <= taken <= credits_
    if lost >= amount:
        assert credits_ == taken
    else:
        assert taken * amount <= credits_ * lost < (taken + 1) * amount


@given(st.integers(2, 10**8), st.data())
def test_credits_lost_in_parts_are_those_of_the_sum(amount: int, data: st.DataObject) -> None:
    """What counts is the total that went back: the parts in between only come to the same end."""
    first = data.draw(st.integers(0, amount))
    second = data.draw(st.integers(first, amount))
    assert credits_lost(10**9, amount, first) <= credits_lost(10**9, amount, second)


@given(st.integers(-(10**12), 10**9 - 1), st.integers(1, 10**9))
def test_one_refill_closes_the_gap(available: int, credits_for_amount: int) -> None:
    """In whole amounts, and with none more than is needed."""
    threshold = 10**9
    cents = refill_cents(
        available=available, threshold=threshold, amount_cents=500, credits_for_amount=credits_for_amount
    )
    times = cents // 500
    assert 0 == cents % 500
    assert available + times * credits_for_amount >= threshold
    assert times == 1 or available + (times - 1) * credits_for_amount < threshold


def test_a_refill_that_is_wanted_is_made() -> None:
    """Nothing stands against it."""
    assert RefillDecision(2000) == decide()


@pytest.mark.parametrize(
    ("changes", "reason", "again_at"),
    [
        ({"enabled": False}, "off", None),
        ({"paused": True}, "paused", None),
        ({"under_way": True}, "under_way", None),
        ({"frozen": True}, "frozen", None),
        ({"available": 100_000_000}, "enough", None),
        ({"wanted_at": None}, "idle", None),
        ({"wanted_at": NOW - 3 * DAY}, "idle", None),
        ({"next_try_at": NOW + HOUR}, "waiting", NOW + HOUR),
        ({"last_at": NOW - MINUTE + 1}, "waiting", NOW + 1),
        ({"last_at": NOW - MINUTE + 1, "next_try_at": NOW + HOUR}, "waiting", NOW + HOUR),
        ({"today_cents": 8001}, "daily_cap", parse_rfc3339("2027-03-16T00:00:00Z")),
        ({"month_cents": 28_001}, "monthly_cap", parse_rfc3339("2027-04-01T00:00:00Z")),
    ],
)
def test_each_rule_refuses_by_name(changes: dict[str, object], reason: str, again_at: int | None) -> None:
    """And says when it will not any more, where time changes that."""
    assert RefillDecision(0, reason, again_at) == decide(**changes)


def test_what_a_moment_ends_ends_at_that_moment() -> None:
    """A pause, a cool-down and idleness do not last a microsecond longer than they say."""
    assert RefillDecision(2000) == decide(next_try_at=NOW, last_at=NOW - MINUTE)
    assert RefillDecision(2000) == decide(wanted_at=NOW - 3 * DAY + 1)


def test_a_gap_beyond_a_cap_is_closed_as_far_as_the_cap_goes() -> None:
    """In whole amounts."""
    deep = {"available": -20_000_000_000}
    assert RefillDecision(10_000) == decide(**deep)
    assert RefillDecision(6000) == decide(**deep, today_cents=3000)
    assert RefillDecision(4000) == decide(**deep, month_cents=25_000)


def test_patience_grows_and_depends_on_the_decline() -> None:
    """A processing error is tried again soon, missing funds a day later, everything else in between."""
    assert [10 * MINUTE, HOUR, 6 * HOUR, 6 * HOUR] == [
        wait_after_decline("processing_error", n) for n in range(1, 5)
    ]
    assert [DAY, 2 * DAY, 3 * DAY] == [wait_after_decline("insufficient_funds", n) for n in range(1, 4)]
    assert [HOUR, 6 * HOUR, DAY] == [wait_after_decline("generic_decline", n) for n in range(1, 4)]
    assert HOUR == wait_after_decline(None, 1)
