"""Moments and calendars: whole microseconds since the Unix epoch, always UTC.

Months are calendar months: one added to January 31 gives the last day of February, and two give March 31,
because the day is counted from the anchor each time and never from the shortened day.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import TypeAlias

from tallystick.core.errors import ValidationFailed

Micros: TypeAlias = int

SECOND = 10**6
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_MONTHS_PER_YEAR = 12
_LONGEST_YEARS = 100

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(
    r"P(?=.)(?:(?P<years>\d{1,9})Y)?(?:(?P<months>\d{1,9})M)?(?:(?P<weeks>\d{1,9})W)?(?:(?P<days>\d{1,9})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,9})H)?(?:(?P<minutes>\d{1,9})M)?(?:(?P<seconds>\d{1,12})S)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time: calendar months, and microseconds after them."""

    months: int
    micros: Micros

    def __str__(self) -> str:
        """Write it as an ISO 8601 duration that ``parse_duration`` reads back."""
        days, rest = divmod(self.micros, DAY)
        date = (f"{self.months}M" if self.months else "") + (f"{days}D" if days else "")
        time = f"T{rest // SECOND}S" if rest or not date else ""
        return f"P{date}{time}"


def from_datetime(moment: datetime) -> Micros:
    """Give a moment with a time zone as microseconds since the epoch, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def to_datetime(micros: Micros) -> datetime:
    """Give microseconds since the epoch as a ``datetime`` in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def format_rfc3339(micros: Micros) -> str:
    """Write a moment as ``2026-11-01T00:00:00Z``, with a fraction only where there is one."""
    return to_datetime(micros).replace(tzinfo=None).isoformat() + "Z"


def parse_rfc3339(text: str, *, field: str = "time") -> Micros:
    """Read an RFC 3339 moment; a time zone is required, and what is finer than a microsecond is cut off.

    Raises ``ValidationFailed`` naming the field.
    """
    if _RFC3339.fullmatch(text):
        try:
            micros = from_datetime(datetime.fromisoformat(text.upper()))
        except ValueError:
            pass  # A month 13 or an hour 25: told below like anything else that is not a moment.
        else:
            if _FIRST <= micros <= _LAST:
                return micros
    raise ValidationFailed([(field, "expected a moment with its time zone, such as 2026-11-01T00:00:00Z")])


def parse_duration(text: str, *, field: str = "duration") -> Duration:
    """Read an ISO 8601 duration such as ``P1D``, ``PT3H`` or ``P1M2DT4H``: whole numbers, at most 100 years.

    Raises ``ValidationFailed`` naming the field.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValidationFailed([(field, "expected a duration such as P1D, PT3H or P1M2DT4H")])
    part = {name: int(digits) for name, digits in match.groupdict(default="0").items()}
    months = part["years"] * _MONTHS_PER_YEAR + part["months"]
    micros = (part["weeks"] * 7 + part["days"]) * DAY
    micros += part["hours"] * HOUR + part["minutes"] * MINUTE + part["seconds"] * SECOND
    if months > _LONGEST_YEARS * _MONTHS_PER_YEAR or micros > _LONGEST_YEARS * 366 * DAY:
        raise ValidationFailed([(field, f"expected at most {_LONGEST_YEARS} years")])
    return Duration(months, micros)


def add(micros: Micros, duration: Duration) -> Micros:
    """Move a moment on: by months first, then by the rest. Raises ``ValidationFailed`` past year 9999."""
    moved = add_months(micros, duration.months) + duration.micros
    if moved > _LAST:
        raise ValidationFailed([("duration", "expected one that ends before the year 10000")])
    return moved


def add_months(micros: Micros, months: int, anchor_day: int | None = None) -> Micros:
    """Move a moment by whole months to the same time and day, or the last day of a month that is too short.

    ``anchor_day`` is the day to aim for; without it, the moment's own. Months counted one after the other
    keep it, so that January 31 → February 28 → March 31. Raises ``ValidationFailed`` past year 9999.
    """
    moment = to_datetime(micros)
    years, month_index = divmod(moment.year * _MONTHS_PER_YEAR + moment.month - 1 + months, _MONTHS_PER_YEAR)
    if not MINYEAR <= years <= MAXYEAR:
        raise ValidationFailed([("duration", "expected one that ends before the year 10000")])
    day = min(anchor_day or moment.day, monthrange(years, month_index + 1)[1])
    return from_datetime(moment.replace(year=years, month=month_index + 1, day=day))


def month_start(micros: Micros) -> Micros:
    """Give the first moment of the month, UTC."""
    return day_start(add_months(micros, 0, anchor_day=1))


def day_start(micros: Micros) -> Micros:
    """Give the first moment of the day, UTC."""
    return micros - micros % DAY


def hour_start(micros: Micros) -> Micros:
    """Give the first moment of the clock hour."""
    return micros - micros % HOUR
