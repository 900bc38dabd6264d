"""The double's time, in whole seconds since the epoch."""

import time


class Clock:
    """Runs with the real time, or stands still at ``start``; either way it can be moved ahead."""

    def __init__(self, start: int | None = None) -> None:
        self._start = start
        self._ahead = 0

    def now(self) -> int:
        """Return the present second."""
        return (int(time.time()) if self._start is None else self._start) + self._ahead

    def move_to(self, moment: int) -> None:
        """Go to a later moment; nothing becomes due by that alone (the controls see to it)."""
        if moment < self.now():
            raise ValueError("the clock of Stripe does not go back")
        self._ahead += moment - self.now()
