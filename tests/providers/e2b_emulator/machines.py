"""The sandboxes of the emulator: what E2B would know of each, and where its commands run."""

import queue
import secrets
import shlex
import threading
from dataclasses import dataclass, field
from typing import Any

from tallystick.ports.sandboxes import Command, SandboxGone, SandboxProvider, SandboxRefused, Stream

HOURS = 3600.0
OUTPUT_MAX_BYTES = 1 << 30
SIGKILL_EXIT = 137


@dataclass(frozen=True)
class Size:
    """What a template gives."""

    vcpu: int
    memory_mib: int


TEMPLATES = {"base": Size(2, 512), "small": Size(1, 256)}


@dataclass(frozen=True)
class Written:
    """A process wrote."""

    stream: Stream
    data: bytes


@dataclass(frozen=True)
class Ended:
    """A process ended: by itself, by a signal of ours (-1), with its time, or with its sandbox (None)."""

    exit_code: int | None
    overdue: bool = False


@dataclass(eq=False)
class Machine:
    """One sandbox. Times are seconds of the emulator's clock."""

    id: str
    template: str
    metadata: dict[str, str]
    env: dict[str, str]
    started_at: float
    ends_at: float
    host: SandboxProvider
    handle: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    processes: dict[int, "Process"] = field(default_factory=dict)
    paused: bool = False

    @property
    def size(self) -> Size:
        """What its template gives."""
        return TEMPLATES[self.template]

    def seen(self, moment: Any) -> dict[str, Any]:
        """What E2B tells of it; ``moment`` writes a time."""
        return {
            "templateID": self.template,
            "alias": self.template,
            "sandboxID": self.id,
            "clientID": "emulator",
            "envdVersion": "0.6.7",
            "envdAccessToken": self.token,
            "startedAt": moment(self.started_at),
            "endAt": moment(self.ends_at),
            "cpuCount": self.size.vcpu,
            "memoryMB": self.size.memory_mib,
            "diskSizeMB": 512,
            "state": "paused" if self.paused else "running",
            "metadata": self.metadata,
        }

    def end(self) -> None:
        """End it, and whatever runs in it."""
        self.host.kill(self.handle)
        for process in list(self.processes.values()):
            process.events.put(Ended(None))


class Process:
    """A process that the agent has started; it knows of no other. Its first word is its number."""

    def __init__(
        self, machine: Machine, arguments: list[str], env: dict[str, str], folder: str | None
    ) -> None:
        self.events: queue.SimpleQueue[Written | Ended] = queue.SimpleQueue()
        self.pid = 0
        self._machine = machine
        self._head = b""
        self._begun = threading.Event()
        enter = "" if folder is None else f"cd {shlex.quote(folder)} || exit; "
        self._command = Command(
            language="bash",
            code=f"echo $$; {enter}exec {shlex.join(arguments)}",
            timeout_seconds=HOURS,
            env=machine.env | env,
            output_max_bytes=OUTPUT_MAX_BYTES,
        )
        threading.Thread(target=self._run, daemon=True).start()
        self._begun.wait(30)

    def kill(self, *, overdue: bool = False) -> bool:
        """Kill this process, and none of its children."""
        if self._machine.processes.pop(self.pid, None) is None:
            return False
        order = Command(language="bash", code=f"kill -KILL {self.pid}", timeout_seconds=10)
        self._machine.host.execute(self._machine.handle, order)
        self.events.put(Ended(-1, overdue))
        return True

    def _run(self) -> None:
        try:
            ended = self._machine.host.execute(self._machine.handle, self._command, on_output=self._hear)
            code: int | None = ended.exit_code
        except (SandboxGone, SandboxRefused):
            code = None
        self._machine.processes.pop(self.pid, None)
        self._begun.set()
        self.events.put(Ended(code))

    def _hear(self, stream: Stream, data: bytes) -> None:
        if not self.pid and stream == "stdout":
            self._head += data
            number, newline, data = self._head.partition(b"\n")
            if not newline:
                return
            self.pid = int(number)
            self._machine.processes[self.pid] = self
            self._begun.set()
        if data:
            self.events.put(Written(stream, data))
