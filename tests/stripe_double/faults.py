"""Failures to order: of the next requests that match, before or after they have done their work."""

import re
import threading
from dataclasses import dataclass
from enum import Enum


class When(Enum):
    """At which moment a request fails."""

    BEFORE = "before"  # nothing was done
    AFTER = "after"  # everything was done, the caller does not hear of it
    REMEMBERED = "remembered"  # as after, and the failure is what the idempotency key replays


@dataclass
class Fault:
    """How the next ``times`` requests fail: with a status, or (None) by a connection that is closed."""

    method: str
    path: re.Pattern[str]
    when: When
    status: int | None
    times: int
    delay_seconds: float = 0.0


class Faults:
    """The failures that are still to happen, the oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def fail(
        self,
        path: str,
        *,
        status: int | None = 500,
        when: When = When.BEFORE,
        times: int = 1,
        method: str = "POST",
    ) -> None:
        """Let the next requests to addresses that match (a regular expression) fail; ``status=None`` hangs up."""
        self._add(Fault(method, re.compile(path), when, status, times))

    def delay(self, path: str, *, seconds: float, times: int = 1, method: str = "POST") -> None:
        """Hold the next requests up that are executed under a key, which is in use as long."""
        self._add(Fault(method, re.compile(path), When.BEFORE, 200, times, seconds))

    def clear(self) -> None:
        """Let nothing fail any more."""
        with self._lock:
            self._waiting.clear()

    def next(self, method: str, address: str) -> Fault | None:
        """Return, and use up, the failure that a request meets."""
        with self._lock:
            for fault in self._waiting:
                if fault.method == method and fault.path.fullmatch(address):
                    fault.times -= 1
                    if not fault.times:
                        self._waiting.remove(fault)
                    return fault
        return None

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)
