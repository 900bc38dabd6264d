"""Plans over time: which period a moment lies in, and what a period's allowance still owes.

Pure calendar arithmetic. A period includes its start and excludes its end, and the periods of one plan follow
each other without gap or overlap, through short months and leap days.
"""

from typing import Literal, TypeAlias

from tallystick.core.times import Micros, add_months, month_start, to_datetime

Renews: TypeAlias = Literal["calendar", "anniversary"]
Period: TypeAlias = tuple[Micros, Micros]


def period_containing(renews: Renews, anchor_at: Micros, now: Micros) -> Period:
    """Give the start and end of the period that ``now`` lies in.

    ``calendar`` periods are the months of UTC. ``anniversary`` periods are counted from the anchor: the same
    time of the same day of each month, or of its last day where the month is shorter.
    """
    if renews == "calendar":
        start = month_start(now)
        return start, add_months(start, 1)
    anchor, moment = to_datetime(anchor_at), to_datetime(now)
    months = (moment.year - anchor.year) * 12 + moment.month - anchor.month
    if add_months(anchor_at, months) > now:
        months -= 1
    return add_months(anchor_at, months), add_months(anchor_at, months + 1)


def next_period(renews: Renews, anchor_at: Micros, period_end: Micros) -> Period:
    """Give the period after the one that ends at ``period_end``, which is where it begins."""
    return period_containing(renews, anchor_at, period_end)


def allowance_top_up(new_allowance: int | None, already_granted_this_period: int) -> int:
    """Say what to grant on a change of plan: what the new allowance has beyond this period's grants, or 0.

    So that no order of upgrades and downgrades grants more than the largest allowance held in the period. An
    unlimited allowance (None) is granted charge by charge, and so tops up nothing.
    """
    if new_allowance is None:
        return 0
    return max(0, new_allowance - already_granted_this_period)


def carry_over(remaining: int, cap: int | None) -> int:
    """Say how much of an ended period's allowance goes into the next: at most the cap, or nothing."""
    if cap is None:
        return 0
    return max(0, min(remaining, cap))
