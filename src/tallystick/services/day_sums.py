"""What each day of a wallet came to, with the days that are over kept in memory.

A wallet's entries have times that never fall, so that a day before that of any entry gets none any more, from whichever
process: its sums are kept, and only what came since is summed anew. Nothing here is needed for the sums to be right.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core.times import DAY
from tallystick.store import statements
from tallystick.store.statements import DayRow

WALLETS_KEPT: Final = 500
DAYS_KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class _Kept:
    """All rows of the days from ``start`` on and before ``open_at``, the last day that had an entry."""

    start: int
    open_at: int
    rows: tuple[DayRow, ...]


class DaySums:
    """Sums of days by type and meter; as many wallets are kept as were asked for last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def between(
        self, connection: Connection, wallet_id: int, *, last: int, start: int, end: int
    ) -> list[DayRow]:
        """The sums of what counts for the days from ``start`` on and before ``end``, both the first moment of a day (UTC).

        Whatever counts for a day was booked on it or later: nothing before ``start`` has to be read.
        ``last`` is the sequence of the wallet's last entry.
        """
        with self._lock:
            kept = self._kept.get(wallet_id)
        if kept is None or not kept.start <= start <= kept.open_at <= end:
            kept = _Kept(start, start, ())
        after, upto = statements.span(connection, wallet_id, last=last, start=kept.open_at, end=end)
        rows = [*kept.rows, *statements.by_day(connection, wallet_id, after=after, upto=upto)]
        self._keep(wallet_id, kept, rows, end)
        return [row for row in rows if start <= row.counts_at]

    def _keep(self, wallet_id: int, kept: _Kept, rows: list[DayRow], end: int) -> None:
        open_at = max((row.day_at for row in rows), default=kept.open_at)
        start = max(kept.start, end - DAYS_KEPT * DAY)
        over = tuple(row for row in rows if start <= row.day_at < open_at)
        with self._lock:
            self._kept[wallet_id] = _Kept(start, max(open_at, start), over)
            self._kept.move_to_end(wallet_id)
            if len(self._kept) > WALLETS_KEPT:
                self._kept.popitem(last=False)
