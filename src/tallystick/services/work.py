"""Work that time makes due: anything that can be run for one bounded turn, and says how much it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from tallystick.core.times import Micros


class Work(Protocol):
    """Safe to run at any time, again, and in several processes at once."""

    def run_once(self, now: Micros | None = None) -> dict[str, int]:
        """One bounded turn; gives how much of each kind was done. ``now`` None: the present."""
        ...


def run_all(works: Sequence[Work]) -> dict[str, int]:
    """Turn after turn of each, until none of them finds anything: what one does may be due work for another."""
    totals: Counter[str] = Counter()
    while True:
        turn: Counter[str] = Counter()
        for work in works:
            turn.update(work.run_once())
        totals.update(turn)
        if not any(turn.values()):
            return dict(totals)
