"""The worker's loop: one turn after the other, with a pause while nothing is due and nobody calls."""

from __future__ import annotations

import threading
from typing import Final

import structlog

from tallystick.bootstrap import Tally
from tallystick.core.errors import ServiceUnavailable

PAUSE_SECONDS: Final = 1.0
PAUSE_WHEN_AWAY_SECONDS: Final = 5.0
# Between two turns, so that charges which call the worker again and again do not wait for it each time.
BREATH_SECONDS: Final = 0.05

log = structlog.get_logger(__name__)


class Worker:
    """Runs due work in a thread of its own until it is stopped."""

    def __init__(self, tally: Tally, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._tally = tally
        self._pause = pause_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lag_seconds = 0.0

    def run_once(self) -> dict[str, int]:
        """One bounded turn; gives how much of each kind was done."""
        self.lag_seconds = self._tally.due_work.lag_seconds()
        return self._tally.due_work.run_once()

    def run(self) -> None:
        """Turn after turn until ``stop``."""
        wake = self._tally.wake
        while not self._stop.is_set():
            wake.clear()
            pause = self._turn()
            if not self._stop.wait(BREATH_SECONDS):
                wake.wait(pause)

    def _turn(self) -> float:
        """One turn that survives whatever goes wrong; gives the seconds to wait before the next."""
        try:
            counts = self.run_once()
        except ServiceUnavailable as error:
            log.warning("the worker waits for the database", detail=error.detail)
            return PAUSE_WHEN_AWAY_SECONDS
        except Exception:
            log.exception("the worker's turn failed; the next one tries again")
            return PAUSE_WHEN_AWAY_SECONDS
        done = {name: count for name, count in counts.items() if count}
        if done:
            log.info("due work done", **done)
        return 0.0 if done else self._pause

    def start(self) -> None:
        """Run in a thread."""
        self._thread = threading.Thread(target=self.run, name="worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the current turn."""
        self._stop.set()
        self._tally.wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
