"""The worker's loops: one thread for each kind of due work, turn after turn, with a pause while nothing is due.

A slow receiver of webhooks holds up other deliveries for a while, and never the ledger.
"""

from __future__ import annotations

import threading
from typing import Final

import structlog

from tallystick.bootstrap import Tally
from tallystick.core.errors import ServiceUnavailable
from tallystick.services.work import Work

PAUSE_SECONDS: Final = 1.0
PAUSE_WHEN_AWAY_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


class Worker:
    """Runs due work in threads of its own until it is stopped."""

    def __init__(self, tally: Tally, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._tally = tally
        self._pause = pause_seconds
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.lag_seconds = 0.0

    def run_once(self) -> dict[str, int]:
        """One bounded turn of each kind of work; gives how much of each was done."""
        counts: dict[str, int] = {}
        for work in self._tally.works:
            counts.update(self._run(work))
        return counts

    def run(self, work: Work) -> None:
        """Turn after turn until ``stop``."""
        while not self._stop.is_set():
            self._stop.wait(self._turn(work))

    def _run(self, work: Work) -> dict[str, int]:
        if work is self._tally.due_work:
            self.lag_seconds = self._tally.due_work.lag_seconds()
        return work.run_once()

    def _turn(self, work: Work) -> float:
        """One turn that survives whatever goes wrong; gives the seconds to wait before the next."""
        try:
            counts = self._run(work)
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
        """Run each kind of work in a thread."""
        for work in self._tally.works:
            name = f"worker-{type(work).__name__}"
            self._threads.append(threading.Thread(target=self.run, args=(work,), name=name, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the current turn; deliveries that have not begun are left to the next start."""
        self._stop.set()
        self._tally.delivery.stop()
        for thread in self._threads:
            thread.join()
        self._threads = []
