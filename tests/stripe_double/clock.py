"""The double's time, in whole seconds since the epoch."""

import time
from collections.abc import Callable


def real_seconds() -> int:
    """Return the second of the real time."""
    return int(time.time())


class Clock:
    """Follows a source (the real time, a clock of the product, or one that stands still) and can be moved ahead of it."""

    def __init__(self, source: Callable[[], int] = real_seconds) -> None:
        self._source = source
        self._ahead = 0
        self._held: int | None = None

    def now(self) -> int:
        """Return the present second."""
        return self._source() + self._ahead if self._held is None else self._held

    def follow(self, source: Callable[[], int]) -> None:
        """Show the time of another source from now on."""
        self._source, self._ahead = source, 0

    def hold(self, moment: int) -> None:
        """Stand still at a moment, past or to come, while what is due then happens."""
        self._held = moment

    def go_on(self, moment: int) -> None:
        """Run again, from a moment if that is ahead of the source."""
        self._held = None
        self._ahead += max(0, moment - self.now())
