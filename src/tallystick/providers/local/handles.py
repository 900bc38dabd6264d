"""What another process of ours needs to reach a sandbox, as text; and which processes are still the same.

A process is told by its number and by when it started, never by its number alone: numbers are used again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import select
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tallystick.ports.sandboxes import SandboxElsewhere

_START_FIELD: Final = 19  # of /proc/PID/stat, counted after the name in brackets
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where processes can see each other: a boot of a machine, and a namespace of process numbers in it.

    ``machine`` tells a machine that was started anew from another one; it is empty where nothing does.
    """

    machine: str
    boot: str
    pid_namespace: int


@functools.cache
def this_host() -> Host:
    """Where this process runs."""
    machine = ""
    try:
        known = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        known = ""
    if known:
        machine = hashlib.sha256(f"{known}/{platform.node()}".encode()).hexdigest()[:32]
    return Host(
        machine=machine,
        boot=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        pid_namespace=Path("/proc/self/ns/pid").stat().st_ino,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A sandbox, for any process on its host. Times are those of the steady clock, in nanoseconds.

    ``folder`` holds its socket and the one of its owner, the process that made it; ``memory_events`` is the file in which
    the kernel counts what it killed for want of memory, empty where no cgroup holds the sandbox.
    """

    host: Host
    name: str
    folder: str
    owner: str
    pid: int
    started: int
    ready_ns: int
    memory_events: str

    def dump(self) -> str:
        """As text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Handle:
        """Read ``dump`` again. Raises ``ValueError``."""
        try:
            known = json.loads(text)
            return cls(**{**known, "host": Host(**known["host"])})
        except (KeyError, TypeError) as error:
            raise ValueError("this is no handle of a local sandbox") from error

    def is_here(self) -> bool:
        """Whether its processes are to be seen from here; False where it died with an earlier start of this machine.

        Raises ``SandboxElsewhere``.
        """
        here = this_host()
        if (self.host.boot, self.host.pid_namespace) == (here.boot, here.pid_namespace):
            return True
        if here.machine and self.host.machine == here.machine and self.host.boot != here.boot:
            return False
        raise SandboxElsewhere

    def lived_ms(self, until_ns: int) -> int:
        """How long it has lived at a moment."""
        return max(0, (until_ns - self.ready_ns) // _MILLION)


def now_ns() -> int:
    """The steady clock, which all processes of a machine share."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def start_of(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None where it is dead, unburied or not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text.rpartition(b")")[2].split()
    return None if fields[0] in {b"Z", b"X"} else int(fields[_START_FIELD])


def open_process(pid: int, started: int) -> int | None:
    """A descriptor of a process that lives, for good the same one; the caller closes it."""
    try:
        number = os.pidfd_open(pid)
    except OSError:
        return None
    if start_of(pid) != started:  # looked at after it was opened: what is open cannot become another
        os.close(number)
        return None
    return number


def has_ended(pidfd: int, *, within_seconds: float = 0.0) -> bool:
    """Whether a process is dead, and with it all of its namespace; waits for that so long."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(within_seconds * 1_000))


def end(pidfd: int) -> None:
    """Kill a process that may be dead already."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return
