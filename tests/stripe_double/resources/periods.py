"""Billing periods by the calendar, and the parts of them."""

import calendar
from datetime import UTC, datetime, timedelta

from tests.stripe_double.contract import Json


def moment_after(anchor: int, recurring: Json, count: int) -> int:
    """Return the start of the period that is ``count`` periods after the anchor; the day is the anchor's, or the last."""
    steps = count * recurring["interval_count"]
    start = datetime.fromtimestamp(anchor, UTC)
    match recurring["interval"]:
        case "day":
            found = start + timedelta(days=steps)
        case "week":
            found = start + timedelta(weeks=steps)
        case "month":
            found = _months_later(start, steps)
        case _:
            found = _months_later(start, 12 * steps)
    return int(found.timestamp())


def period_at(anchor: int, recurring: Json, now: int) -> tuple[int, int]:
    """Return the period that a moment is in."""
    count = 0
    while moment_after(anchor, recurring, count + 1) <= now:
        count += 1
    return moment_after(anchor, recurring, count), moment_after(anchor, recurring, count + 1)


def share(amount: int, *, left: int, whole: int) -> int:
    """Return the part of an amount for the seconds that are left; halves go up, as Stripe rounds them."""
    return (2 * amount * left + whole) // (2 * whole)


def _months_later(start: datetime, months: int) -> datetime:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)
