"""Failures to order: of the next requests that match, before or after they have done their work."""

import re
import threading
import time
from dataclasses import dataclass

from tests.providers.e2b_emulator.messages import Answer, HangUp, Request, refusal


@dataclass
class Fault:
    """How the next ``times`` requests fail: with a status, or (None) by a connection that is closed; 0 only delays."""

    method: str
    path: re.Pattern[str]
    status: int | None
    message: str
    after: bool
    times: int
    delay_seconds: float
    should_retry: bool


class Faults:
    """The failures that are still to happen, the oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def fail(
        self,
        method: str,
        path: str,
        *,
        status: int | None,
        message: str = "as was ordered",
        after: bool = False,
        times: int = 1,
        should_retry: bool = False,
    ) -> None:
        """Let the next requests to paths that match (a regular expression) fail; ``status`` None hangs up.

        ``after``: all is done, and the caller does not hear of it. The SDK repeats what it should retry.
        """
        self._add(Fault(method, re.compile(path), status, message, after, times, 0.0, should_retry))

    def slow(self, method: str, path: str, *, seconds: float, times: int = 1) -> None:
        """Hold the next answers up."""
        self._add(Fault(method, re.compile(path), 0, "", after=True, times=times, delay_seconds=seconds,
                        should_retry=False))  # fmt: skip

    def next(self, request: Request) -> Fault | None:
        """Return, and use up, the failure that a request meets."""
        with self._lock:
            for fault in self._waiting:
                if fault.method == request.method and fault.path.fullmatch(request.path):
                    fault.times -= 1
                    if not fault.times:
                        self._waiting.remove(fault)
                    return fault
        return None

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._waiting.append(fault)


def failed(fault: Fault, answer: Answer | None) -> Answer:
    """What the caller gets instead of an answer."""
    time.sleep(fault.delay_seconds)
    if fault.status is None:
        raise HangUp
    if fault.status == 0:
        assert answer is not None
        return answer
    refused = refusal(fault.status, fault.message)
    refused.headers["Should-Retry"] = "true" if fault.should_retry else "false"
    return refused
