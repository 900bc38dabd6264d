"""Periods and allowances, over short months, leap days and changes of plan."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.plans import Renews, allowance_top_up, carry_over, next_period, period_containing
from tallystick.core.times import format_rfc3339, from_datetime, parse_rfc3339

MOMENTS = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    datetime(2100, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
).map(from_datetime)
RENEWS = st.sampled_from(["calendar", "anniversary"])


def period(renews: Renews, anchor: str, now: str) -> tuple[str, str]:
    """Give the period of a moment as texts."""
    start, end = period_containing(renews, parse_rfc3339(anchor), parse_rfc3339(now))
    return format_rfc3339(start), format_rfc3339(end)


def test_calendar_periods_are_the_months_of_utc() -> None:
    """The last microsecond of a month is in it, and midnight on the 1st is in the next."""
    anchor = "2026-01-15T10:00:00Z"
    february = ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")
    assert february == period("calendar", anchor, "2026-02-01T00:00:00Z")
    assert february == period("calendar", anchor, "2026-02-28T23:59:59.999999Z")
    assert ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z") == period(
        "calendar", anchor, "2026-12-31T23:00:00Z"
    )


def test_anniversary_periods_are_counted_from_the_anchor() -> None:
    """The time of day counts: a moment before it on the day is in the earlier period."""
    anchor = "2026-01-15T10:00:00Z"
    first = ("2026-01-15T10:00:00Z", "2026-02-15T10:00:00Z")
    assert first == period("anniversary", anchor, anchor)
    assert first == period("anniversary", anchor, "2026-02-15T09:59:59.999999Z")
    assert ("2026-02-15T10:00:00Z", "2026-03-15T10:00:00Z") == period(
        "anniversary", anchor, "2026-02-15T10:00:00Z"
    )


def test_a_clock_behind_the_anchor_finds_the_period_before_it() -> None:
    """Time before the anchor has periods as well, so that a clock set back breaks nothing."""
    assert ("2025-12-15T10:00:00Z", "2026-01-15T10:00:00Z") == period(
        "anniversary", "2026-01-15T10:00:00Z", "2026-01-15T09:00:00Z"
    )


@pytest.mark.parametrize(
    ("anchor", "starts"),
    [
        ("2027-01-31T08:00:00Z", ["02-28", "03-31", "04-30", "05-31", "06-30"]),
        ("2027-12-30T08:00:00Z", ["01-30", "02-29", "03-30", "04-30", "05-30"]),
        ("2028-02-29T08:00:00Z", ["03-29", "04-29", "05-29", "06-29", "07-29"]),
    ],
)
def test_anniversaries_of_late_days_are_clamped_and_come_back(anchor: str, starts: list[str]) -> None:
    """Days 29 to 31 renew on the last day of short months and on their own day again afterwards."""
    at = parse_rfc3339(anchor)
    _, end = period_containing("anniversary", at, at)
    found = []
    for _ in starts:
        start, end = next_period("anniversary", at, end)
        found.append(format_rfc3339(start)[5:10])
    assert starts == found


@given(RENEWS, MOMENTS, MOMENTS)
def test_a_period_holds_its_moment(renews: Renews, anchor: int, now: int) -> None:
    """The start is in the period and the end is not."""
    start, end = period_containing(renews, anchor, now)
    assert start <= now < end
    assert (start, end) == period_containing(renews, anchor, start)
    assert (start, end) == period_containing(renews, anchor, end - 1)


@given(RENEWS, MOMENTS, st.integers(1, 40))
def test_periods_follow_each_other_without_gap(renews: Renews, anchor: int, count: int) -> None:
    """Any number of periods, one after the other, cover the time exactly once: one grant for each month."""
    start, end = period_containing(renews, anchor, anchor)
    months = {format_rfc3339(start)[:7]}
    for _ in range(count):
        previous_end = end
        start, end = next_period(renews, anchor, end)
        assert previous_end == start < end
        months.add(format_rfc3339(start)[:7])
    assert count + 1 == len(months)


def test_a_change_of_plan_grants_only_what_the_new_allowance_has_beyond_the_old() -> None:
    """An upgrade grants the difference, a downgrade nothing, and unlimited is granted charge by charge."""
    assert 900 == allowance_top_up(1000, 100)
    assert 0 == allowance_top_up(100, 1000)
    assert 1000 == allowance_top_up(1000, 0)
    assert 0 == allowance_top_up(None, 0)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_no_order_of_changes_grants_more_than_the_largest_allowance(allowances: list[int]) -> None:
    """Upgrading and downgrading in turns farms nothing."""
    granted = 0
    for allowance in allowances:
        granted += allowance_top_up(allowance, granted)
    assert max(allowances) == granted


@pytest.mark.parametrize(
    ("remaining", "cap", "carried"),
    [(50, None, 0), (50, 100, 50), (150, 100, 100), (0, 100, 0), (-5, 100, 0)],
)
def test_what_is_carried_over_is_capped(remaining: int, cap: int | None, carried: int) -> None:
    """Without a cap an allowance is use-it-or-lose-it."""
    assert carried == carry_over(remaining, cap)
