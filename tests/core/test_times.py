"""Moments, durations and calendar months."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.errors import ValidationFailed
from tallystick.core.times import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Duration,
    add,
    add_months,
    day_start,
    format_rfc3339,
    from_datetime,
    hour_start,
    month_start,
    parse_duration,
    parse_rfc3339,
    to_datetime,
)

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - below


def at(text: str) -> int:
    """Read a moment of these tests."""
    return parse_rfc3339(text)


@given(MOMENTS)
def test_a_moment_survives_every_form(moment: datetime) -> None:
    """A datetime, its microseconds and its text are the same moment."""
    micros = from_datetime(moment)
    assert moment == to_datetime(micros)
    assert micros == parse_rfc3339(format_rfc3339(micros))


def test_a_fraction_is_shown_only_where_there_is_one() -> None:
    """Whole seconds stay short."""
    assert "2026-11-01T00:00:00Z" == format_rfc3339(1_793_491_200_000_000)
    assert "2026-11-01T00:00:00.000001Z" == format_rfc3339(1_793_491_200_000_001)
    assert "1969-12-31T23:59:59.999999Z" == format_rfc3339(-1)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-01T00:00:00z",
        "2026-11-01t00:00:00Z",
        "2026-11-01T00:00:00.0Z",
        "2026-11-01T01:30:00+01:30",
        "2026-10-31T19:00:00-05:00",
        "2026-11-01T00:00:00.000000999Z",
    ],
)
def test_every_form_of_rfc_3339_is_read(text: str) -> None:
    """Small letters, offsets and fractions are read, and what is finer than a microsecond is cut off."""
    assert 1_793_491_200_000_000 == parse_rfc3339(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-01",
        "2026-11-01T00:00:00",
        "2026-11-01 00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-11-01T24:00:01Z",
        "2026-11-01T00:00:60Z",
        "2026-11-01T00:00Z",
        "20261101T000000Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-11-01T00:00:00+25:00",
        "٢٠٢٦-11-01T00:00:00Z",
    ],
)
def test_what_is_no_moment_is_refused_by_field(text: str) -> None:
    """A missing time zone, a day that does not exist or a moment beyond the calendar is refused."""
    with pytest.raises(ValidationFailed, match="expires_at: expected a moment"):
        parse_rfc3339(text, field="expires_at")


@pytest.mark.parametrize(
    ("text", "months", "micros"),
    [
        ("P1D", 0, DAY),
        ("PT3H", 0, 3 * HOUR),
        ("P1M2DT4H", 1, 2 * DAY + 4 * HOUR),
        ("P1Y", 12, 0),
        ("P1Y6M", 18, 0),
        ("P2W", 0, 14 * DAY),
        ("PT90M", 0, 90 * MINUTE),
        ("PT1H1M1S", 0, HOUR + MINUTE + SECOND),
        ("P0D", 0, 0),
        ("P100Y", 1200, 0),
        ("P36600D", 0, 36600 * DAY),
    ],
)
def test_durations_are_read(text: str, months: int, micros: int) -> None:
    """Years and months are calendar months; the rest is exact time."""
    assert Duration(months, micros) == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "1D", "P-1D", "P1.5D", "P1H", "PT1D", "P1D2M", "p1d", "P1D "]
)
def test_what_is_no_duration_is_refused_by_field(text: str) -> None:
    """Signs, fractions and parts out of order are refused."""
    with pytest.raises(ValidationFailed, match="advance: expected a duration"):
        parse_duration(text, field="advance")


@pytest.mark.parametrize("text", ["P101Y", "P1201M", "P36601D", "PT999999999999S"])
def test_a_duration_is_at_most_a_century(text: str) -> None:
    """Longer ones are mistakes."""
    with pytest.raises(ValidationFailed, match="at most 100 years"):
        parse_duration(text)


@given(st.integers(0, 1200), st.integers(0, 100 * 366 * 24 * 3600))
def test_a_duration_is_read_back_from_what_is_shown(months: int, seconds: int) -> None:
    """Writing and reading a duration of whole seconds loses nothing."""
    duration = Duration(months, seconds * SECOND)
    assert duration == parse_duration(str(duration))


@pytest.mark.parametrize(
    ("start", "duration", "end"),
    [
        ("2026-01-31T12:00:00Z", "P1M", "2026-02-28T12:00:00Z"),
        ("2028-01-31T12:00:00Z", "P1M", "2028-02-29T12:00:00Z"),
        ("2028-02-29T00:00:00Z", "P1Y", "2029-02-28T00:00:00Z"),
        ("2026-12-31T00:00:00Z", "P2M", "2027-02-28T00:00:00Z"),
        ("2026-01-31T12:00:00Z", "P1M1D", "2026-03-01T12:00:00Z"),
        ("2026-10-31T23:00:00Z", "PT2H", "2026-11-01T01:00:00Z"),
    ],
)
def test_a_duration_moves_a_moment_by_months_first(start: str, duration: str, end: str) -> None:
    """A month from a day that the next one lacks is its last day."""
    assert at(end) == add(at(start), parse_duration(duration))


def test_nothing_moves_past_the_calendar() -> None:
    """The year 10000 is refused, by months and by days, and so is the year 0."""
    last = at("9999-12-31T00:00:00Z")
    with pytest.raises(ValidationFailed, match="year 10000"):
        add(last, parse_duration("P1D"))
    with pytest.raises(ValidationFailed, match="year 10000"):
        add(last, parse_duration("P1M"))
    with pytest.raises(ValidationFailed, match="year 10000"):
        add_months(at("0001-01-01T00:00:00Z"), -1)


def test_months_counted_one_by_one_keep_the_anchor_day() -> None:
    """January 31, February 28, March 31: a short month does not shorten the later ones."""
    moment = at("2026-01-31T08:30:00Z")
    days = []
    for _ in range(4):
        moment = add_months(moment, 1, anchor_day=31)
        days.append(format_rfc3339(moment)[:10])
    assert ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"] == days


@given(MOMENTS, st.integers(-600, 600))
def test_months_keep_the_time_of_day_and_the_day_where_there_is_one(moment: datetime, months: int) -> None:
    """The month is the one counted to, and the day is the same or the month's last."""
    moved = to_datetime(add_months(from_datetime(moment), months))
    assert moment.year * 12 + moment.month + months == moved.year * 12 + moved.month
    assert moment.time() == moved.time()
    assert moved.day == moment.day or (moved.day < moment.day and (moved + timedelta(days=1)).day == 1)


@given(MOMENTS)
def test_starts_are_the_last_round_moments(moment: datetime) -> None:
    """Hours, days and months begin where the calendar says, before the epoch as well."""
    micros = from_datetime(moment)
    assert moment.replace(minute=0, second=0, microsecond=0) == to_datetime(hour_start(micros))
    assert moment.replace(hour=0, minute=0, second=0, microsecond=0) == to_datetime(day_start(micros))
    assert moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0) == to_datetime(
        month_start(micros)
    )
    assert -DAY == day_start(-1)
