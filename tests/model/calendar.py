"""Calendars for the model, by ``datetime`` and counting: no arithmetic in common with the package's own."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000
DAY = 24 * HOUR


def moment_of(micros: int) -> datetime:
    """A moment of the ledger as a ``datetime``."""
    return EPOCH + timedelta(microseconds=micros)


def micros_of(moment: datetime) -> int:
    """A ``datetime`` as the ledger counts."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def months_after(micros: int, months: int) -> int:
    """The same day and time some months later, or the last day of a month that is too short."""
    moment = moment_of(micros)
    year, month = moment.year, moment.month
    for _ in range(abs(months)):
        month += 1 if months > 0 else -1
        if month in {0, 13}:
            year, month = (year - 1, 12) if month == 0 else (year + 1, 1)
    return micros_of(moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1])))


def start_of_month(micros: int) -> int:
    """Midnight of the first of the month, UTC."""
    return micros_of(moment_of(micros).replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def start_of_day(micros: int) -> int:
    """Midnight, UTC."""
    return micros_of(moment_of(micros).replace(hour=0, minute=0, second=0, microsecond=0))


def period_around(renews: str, anchor_at: int, now: int) -> tuple[int, int]:
    """The period of a plan that ``now`` lies in: a calendar month, or a month counted from the anchor."""
    if renews == "calendar":
        start = start_of_month(now)
        return start, months_after(start, 1)
    months = 0
    while months_after(anchor_at, months + 1) <= now:
        months += 1
    while months_after(anchor_at, months) > now:
        months -= 1
    return months_after(anchor_at, months), months_after(anchor_at, months + 1)
