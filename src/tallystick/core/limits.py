"""Hourly limits and budgets: what may be spent in a window of time, apart from the balance.

An hourly limit counts the charges and holds of one customer on one meter in one clock hour (UTC). A budget bounds what a
customer, an agent or a key spends in one unit per UTC day or month; budgets nest, and the level that refuses is named.
"""

from tallystick.core import errors
from tallystick.core.times import add_months, day_start, month_start

HOUR_MICROS = 3_600_000_000
DAY_MICROS = 24 * HOUR_MICROS


class Budget:
    """A spending limit, with what its current period has spent. Amounts in micro-units."""

    __slots__ = ("customer_id", "id", "level", "limit", "per", "period_at", "spent", "subject", "unit")

    def __init__(
        self,
        *,
        id: int,  # noqa: A002 - the row's own name
        level: str,
        subject: str,
        unit: str,
        limit: int,
        per: str,
        period_at: int,
        spent: int,
        customer_id: int | None = None,
    ) -> None:
        self.id = id
        self.level = level
        self.subject = subject
        self.unit = unit
        self.limit = limit
        self.per = per
        self.period_at = period_at
        self.spent = spent
        self.customer_id = customer_id  # who is told; None for the key of a service

    @property
    def source(self) -> str:
        """The name that a refusal gives for this budget."""
        return f"budget:{self.level}:{self.subject}"

    def resets_at(self) -> int:
        """The end of the current period."""
        return (
            self.period_at + DAY_MICROS if self.per == "day" else add_months(self.period_at, 1, anchor_day=1)
        )

    def check(self, amount: int) -> None:
        """Refuse when ``amount`` more would pass the limit."""
        left = self.limit - self.spent
        if amount > left:
            raise errors.BudgetExceeded(
                unit=self.unit,
                required=amount,
                available=max(left, 0),
                limit_source=self.source,
                reset_at=self.resets_at(),
            )


def period_start(per: str, now: int) -> int:
    """The start of the budget period that ``now`` lies in."""
    return day_start(now) if per == "day" else month_start(now)


def hour_of(now: int) -> int:
    """The start of the clock hour that ``now`` lies in."""
    return now - now % HOUR_MICROS


def check_hourly(*, meter: str, limit: int, used: int, count: int, window_at: int, now: int) -> None:
    """Refuse when ``count`` more calls would pass the hourly limit."""
    if used + count > limit:
        reset_at = window_at + HOUR_MICROS
        raise errors.RateLimited(
            limit=limit,
            remaining=max(limit - used, 0),
            reset_at=reset_at,
            window_seconds=3600,
            retry_after_seconds=max(1, -((now - reset_at) // 1_000_000)),
            limit_source=f"meter:{meter}",
        )
