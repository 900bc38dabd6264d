"""The emulator as a test holds it: its address, its clock, its account, and the faults that can be switched on."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator

from tallystick.ports.sandboxes import SandboxProvider
from tests.providers.e2b_emulator.control import Control
from tests.providers.e2b_emulator.faults import Faults, failed
from tests.providers.e2b_emulator.guest import Guest
from tests.providers.e2b_emulator.machines import Machine
from tests.providers.e2b_emulator.messages import Answer, Request
from tests.providers.e2b_emulator.server import Server

API_KEY = "e2b_emulated"
REAP_SECONDS = 0.02
NS_PER_SECOND = 1_000_000_000


class E2BEmulator:
    """E2B for one test. ``advance`` lets time pass for its deadlines and for whoever takes its clocks."""

    def __init__(self, host: SandboxProvider, *, host_template: str) -> None:
        self._ahead_ns = 0
        self._host = host
        self.control = Control(host, host_template, API_KEY, lambda: self.now() / 1_000_000)
        self.guest = Guest(self._find)
        self.faults = Faults()
        self.requests: list[Request] = []
        self.server = Server(self._reply)
        self.url = self.server.url
        self._closed = threading.Event()
        self._reaper = threading.Thread(target=self._reap, name="e2b reaper")
        self._reaper.start()

    # --- time --------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """The emulator's time, in microseconds."""
        return (time.time_ns() + self._ahead_ns) // 1_000

    def steady(self) -> int:
        """A steady clock that goes as the emulator's does, in nanoseconds."""
        return time.monotonic_ns() + self._ahead_ns

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._ahead_ns += int(seconds * NS_PER_SECOND)
        self.control.reap()

    def asked(self, method: str, path: str) -> list[Request]:
        """The requests to a path (a regular expression) so far."""
        return [each for each in self.requests if each.method == method and re.fullmatch(path, each.path)]

    # --- what others do ----------------------------------------------------------------------------------------------

    def kill(self, handle: str) -> None:
        """E2B ends a sandbox."""
        assert self.control.end(handle)

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        """Within it, nobody answers, and connections are refused."""
        self.server.shut()
        try:
            yield
        finally:
            self.server.open()

    def close(self) -> None:
        """End everything. Fails if anything went wrong inside."""
        self._closed.set()
        self._reaper.join()
        for name in list(self.control.machines):
            self.control.end(name)
        self.server.shut()
        assert not self.server.broken, "\n".join(self.server.broken)

    # --- answering ---------------------------------------------------------------------------------------------------

    def _reply(self, request: Request) -> Answer:
        self.requests.append(request)
        fault = self.faults.next(request)
        if fault is not None and not fault.after:
            return failed(fault, None)
        to_guest = "e2b-sandbox-id" in request.headers
        answer = self.guest.reply(request) if to_guest else self.control.reply(request)
        return answer if fault is None else failed(fault, answer)

    def _find(self, name: str) -> Machine | None:
        self.control.reap()
        return self.control.machines.get(name)

    def _reap(self) -> None:
        while not self._closed.wait(REAP_SECONDS):
            self.control.reap()


@contextlib.contextmanager
def running_emulator(host: SandboxProvider, *, host_template: str) -> Iterator[E2BEmulator]:
    """An emulator until the end of the block."""
    emulator = E2BEmulator(host, host_template=host_template)
    try:
        yield emulator
    finally:
        emulator.close()
