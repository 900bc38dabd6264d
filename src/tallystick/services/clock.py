"""The clock. In test mode it may be moved forwards; every process on the same database follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core.errors import ServiceUnavailable
from tallystick.store import settings
from tallystick.store.engine import Database, raw_connection

OFFSET: Final = "clock_offset"
REFRESH_SECONDS: Final = 0.25


def system_time() -> int:
    """Microseconds since the Unix epoch."""
    return time.time_ns() // 1000


class Clock:
    """The system's time, plus the test clock's offset in test mode."""

    def __init__(self, database: Database, *, movable: bool, source: Callable[[], int] = system_time) -> None:
        self._database = database
        self._movable = movable
        self._source = source
        self._offset = self.stored_offset()
        self._read_at = time.monotonic()
        self._guard = threading.Lock()

    def now(self) -> int:
        """Microseconds since the Unix epoch."""
        if (
            self._movable
            and time.monotonic() - self._read_at > REFRESH_SECONDS
            and self._guard.acquire(blocking=False)
        ):
            try:
                self._read_at = time.monotonic()
                self._follow(self.stored_offset())
            except ServiceUnavailable:
                pass  # The operation that wants the time will say so itself.
            finally:
                self._guard.release()
        return self._source() + self._offset

    def ahead(self) -> int:
        """By how many microseconds the test clock is ahead: what lives in real time has lived as much more."""
        self.now()
        return self._offset

    def stored_offset(self) -> int:
        """How far the test clock is ahead, in microseconds."""
        with self._database.read() as connection:
            return int(settings.get(connection, OFFSET) or 0)

    def moment(self, connection: Connection) -> int:
        """As ``now``, for what is done in this transaction: where another process has moved the clock, it is followed."""
        if self._movable:
            text = settings.get_raw(self._database.driver, raw_connection(connection), OFFSET)
            if int(text or 0) != self._offset:
                with self._guard:
                    self._follow(int(text or 0))
        return self._source() + self._offset

    def _follow(self, offset: int) -> None:
        """The clock moves forwards only: what was read before it was moved here does not move it back."""
        self._offset = max(self._offset, offset)

    def latest(self) -> int:
        """As ``now``, after looking whether another process has moved the clock just before."""
        if self._movable:
            with self._guard:
                self._follow(self.stored_offset())
                self._read_at = time.monotonic()
        return self._source() + self._offset

    def move_to(self, moment: int) -> None:
        """Set the test clock to a later moment; it runs on from there."""
        offset = moment - self._source()
        self._database.transact(lambda connection: settings.put(connection, OFFSET, str(offset)))
        with self._guard:  # or somebody who has just read the older offset would put that back
            self._follow(offset)
            self._read_at = time.monotonic()
