"""Telling the billing server, once it is back, what it was away for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from tallystick.metering import steps
from tallystick.metering.orders import Away, Refused
from tallystick.metering.steps import Steps
from tallystick.metering.unsettled import Unsettled, Waiting

_MOST: Final = 100
_FIRST_SECONDS: Final = 0.5
_LONGEST_SECONDS: Final = 30.0
_REFUSED_SECONDS: Final = 3600.0  # credits may be bought meanwhile

log = logging.getLogger(__name__)


class Settler:
    """A thread that lives while something waits."""

    def __init__(self, unsettled: Unsettled, do: Callable[[Any], Any], *, hold_seconds: int) -> None:
        self._unsettled, self._do, self._seconds = unsettled, do, hold_seconds
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._news = threading.Event()

    def wake(self) -> None:
        """Begin, if anything waits."""
        with self._lock:
            self._news.set()
            if self._thread is not None or self._closed.is_set() or self._unsettled.next_due_at() is None:
                return
            self._thread = threading.Thread(target=self._work, name="tallystick-settling", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread after one more try; what is left stays in the file."""
        self._closed.set()
        with self._lock:
            self._news.set()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=5)
        self.settle()

    def settle(self, *, everything: bool = False) -> bool:
        """Tell what is due, or ``everything``; False where the server is away."""
        with self._settling:
            while waiting := self._unsettled.due(_MOST, everything=everything):
                everything = False
                for each in waiting:
                    if not self._settle_one(each):
                        return False
        return True

    def _settle_one(self, waiting: Waiting) -> bool:
        try:
            steps.run(_telling(waiting, self._seconds), self._do)
        except Away:
            return False
        except Refused as refused:
            if waiting.state == "undo":
                self._unsettled.drop(waiting.id)
            else:
                log.error("a call that was made is not charged, %s: %s", refused.code, refused.detail)  # noqa: TRY400
                self._unsettled.postpone(
                    waiting.id, _REFUSED_SECONDS, refused=f"{refused.code}: {refused.detail}"
                )
            return True
        self._unsettled.drop(waiting.id)
        return True

    def _work(self) -> None:
        pause = _FIRST_SECONDS
        while not self._closed.is_set():
            self._news.clear()
            try:
                answered = self.settle()
            except Exception:
                log.exception("settling what the billing server was away for failed: it is tried again")
                answered = False
            if not answered:
                self._closed.wait(pause)
                pause = min(pause * 2, _LONGEST_SECONDS)
                continue
            pause = _FIRST_SECONDS
            with self._lock:
                due_at = self._unsettled.next_due_at()
                if due_at is None:
                    self._thread = None
                    return
            self._news.wait(max(0, due_at - time.time()))


def _telling(waiting: Waiting, seconds: int) -> Steps[None]:
    held = waiting.held
    if waiting.state == "undo":
        held = yield from steps.hold(held.order, expires_in=seconds, repeats_for=None)
        yield from steps.give_back(held)
    else:
        yield from steps.capture(held, waiting.used, expires_in=seconds, repeats_for=None)
