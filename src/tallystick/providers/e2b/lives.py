"""How long sandboxes have lived, as far as this process knows by its steady clock.

The clock of a sandbox starts when it was made here, or, for one that another process made, when E2B's word for its beginning
was heard. What has ended stays as it is. What is known of very many sandboxes is forgotten, the oldest first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.ports.sandboxes import EndReason, Life

NS_PER_MS: Final = 1_000_000
NS_PER_SECOND: Final = 1_000_000_000
_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Clock:
    """The steady moments (nanoseconds) of one sandbox: ready, when it dies by itself, and when we asked for its end."""

    ready: int
    ends: int
    asked_to_end: int | None = None


class Lives:
    """The lives of sandboxes, by handle; for use by several threads."""

    def __init__(self, steady: Callable[[], int]) -> None:
        self._steady = steady
        self._lock = threading.Lock()
        self._clocks: OrderedDict[str, _Clock] = OrderedDict()
        self._ended: OrderedDict[str, Life] = OrderedDict()

    def seen(self, handle: str, *, lived_ns: int, span_ns: int) -> None:
        """E2B says how long a sandbox has lived, which counts where we do not know, and how long it may live in all."""
        lived = min(max(lived_ns, 0), max(span_ns, 0))  # whatever the clocks say
        with self._lock:
            clock = self._clocks.setdefault(handle, _Clock(ready=self._steady() - lived, ends=0))
            clock.ends = clock.ready + max(span_ns, 0)
            _forget(self._clocks)

    def begun(self, handle: str, *, ready: int, span_ns: int) -> None:
        """A sandbox was made by us and was ready at a moment of the steady clock; E2B says how long it may live."""
        with self._lock:
            self._clocks[handle] = _Clock(ready=ready, ends=ready + max(span_ns, 0))
            _forget(self._clocks)

    def deadline(self, handle: str, *, seconds: int) -> None:
        """A sandbox dies so many seconds from now."""
        with self._lock:
            if handle in self._clocks:
                self._clocks[handle].ends = self._steady() + seconds * NS_PER_SECOND

    def ending(self, handle: str) -> bool:
        """We are about to ask for its end, and the answer may be lost; gives whether it is the first time."""
        with self._lock:
            clock = self._clocks.get(handle)
            if clock is None or clock.asked_to_end is not None:
                return False
            clock.asked_to_end = self._steady()
            return True

    def was_not_there(self, handle: str) -> None:
        """It had ended before we asked for the first time: it was not we who ended it."""
        with self._lock:
            if handle in self._clocks:
                self._clocks[handle].asked_to_end = None

    def running(self, handle: str) -> Life:
        """The life of a sandbox that runs: what we asked for was not done, if we did."""
        with self._lock:
            clock = self._clocks.get(handle)
            if clock is None:
                return Life(running=True, lived_ms=None)
            clock.asked_to_end = None
            return Life(running=True, lived_ms=(self._steady() - clock.ready) // NS_PER_MS)

    def known(self, handle: str) -> bool:
        """Whether we know since when a sandbox has lived."""
        with self._lock:
            return handle in self._clocks

    def killed(self, handle: str) -> Life:
        """It was killed by us: it lived until we asked for it, so that a slow answer costs nobody anything."""
        with self._lock:
            clock = self._clocks.get(handle)
            asked = None if clock is None else clock.asked_to_end
            lived = None if clock is None or asked is None else max(asked - clock.ready, 0) // NS_PER_MS
            return self._end(handle, lived, "killed")

    def gone(self, handle: str, *, told_ms: int | None) -> Life:
        """It is not there any more; ``told_ms`` is how long E2B says it lived, where it says so."""
        now = self._steady()
        with self._lock:
            clock = self._clocks.get(handle)
            lived, reason = told_ms, _reason(clock, now)
            if lived is None and clock is not None and reason != "gone":
                until = clock.ends if clock.asked_to_end is None else min(clock.ends, clock.asked_to_end)
                lived = max(until - clock.ready, 0) // NS_PER_MS
            return self._end(handle, lived, reason)

    def ended(self, handle: str) -> Life | None:
        """The life of a sandbox of which we know that it has ended."""
        with self._lock:
            return self._ended.get(handle)

    def _end(self, handle: str, lived_ms: int | None, reason: EndReason) -> Life:
        """The first word about an end stands, unless it could not tell how long it was."""
        life = self._ended.get(handle)
        if life is None or (life.lived_ms is None and lived_ms is not None):
            life = self._ended[handle] = Life(running=False, lived_ms=lived_ms, reason=reason)
            _forget(self._ended)
        if life.lived_ms is not None:
            self._clocks.pop(handle, None)
        return life


def _reason(clock: _Clock | None, now: int) -> EndReason:
    if clock is None:
        return "gone"
    if clock.asked_to_end is not None:
        return "deadline" if clock.ends < clock.asked_to_end else "killed"
    return "deadline" if clock.ends <= now else "gone"


def _forget(known: OrderedDict[str, _Clock] | OrderedDict[str, Life]) -> None:
    while len(known) > _REMEMBERED:
        known.popitem(last=False)
