"""The worker's loops: one thread for each kind of due work, turn after turn, with a pause while nothing is due.

A slow receiver of webhooks or a slow payment provider holds up its own kind for a while, and never the ledger. What one
kind does may be due work for another, and a charge may be: then nobody waits for the end of a pause.
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
# Between two turns, so that charges which call the worker again and again do not wait for it each time.
BREATH_SECONDS: Final = 0.05

log = structlog.get_logger(__name__)


class Worker:
    """Runs due work in threads of its own until it is stopped."""

    def __init__(self, tally: Tally, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._tally = tally
        self._pause = pause_seconds
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        # A batch of charges calls the work that looks at balances.
        self._calls = [tally.wake if work is tally.due_work else threading.Event() for work in tally.works]
        self.lag_seconds = 0.0

    def run_once(self) -> dict[str, int]:
        """One bounded turn of each kind of work; gives how much of each was done."""
        counts: dict[str, int] = {}
        for work in self._tally.works:
            counts.update(self._run(work))
        return counts

    def run(self, work: Work, call: threading.Event) -> None:
        """Turn after turn until ``stop``; ``call`` ends a pause."""
        while not self._stop.is_set():
            call.clear()
            pause = self._turn(work)
            if not pause:
                self._call_others(call)
            if not self._stop.wait(BREATH_SECONDS):
                call.wait(pause)

    def _call_others(self, call: threading.Event) -> None:
        for other in self._calls:
            if other is not call:
                other.set()

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
        for work, call in zip(self._tally.works, self._calls, strict=True):
            name = f"worker-{type(work).__name__}"
            self._threads.append(threading.Thread(target=self.run, args=(work, call), name=name, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the current turn; deliveries that have not begun are left to the next start."""
        self._stop.set()
        self._tally.delivery.stop()
        for call in self._calls:
            call.set()
        for thread in self._threads:
            thread.join()
        self._threads = []
