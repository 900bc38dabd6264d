"""A provider of sandboxes whose every move a test decides: no process runs, and its clock is moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.sandboxes import (
    Capabilities,
    Command,
    EndReason,
    Execution,
    Life,
    Made,
    OnOutput,
    SandboxGone,
    SandboxOrder,
    SandboxRefused,
    Stream,
    Template,
)

TEMPLATES = (
    Template(name="bash", description="A shell", languages=("bash",)),
    Template(name="python", description="Python", languages=("python", "bash")),
    Template(name="node", description="Node.js", languages=("javascript", "bash")),
)


@dataclass(slots=True)
class Box:
    """One sandbox, as only the test and the provider know it: ``ready_at`` and ``ended_at`` in steady milliseconds."""

    reference: str
    ready_at: int
    deadline: int
    ended_at: int | None = None
    reason: EndReason | None = None
    files: dict[str, bytes] = field(default_factory=dict)


class ScriptedSandboxes:
    """Sandboxes that live on a steady clock of the test's; they outlive the process, as hosted ones do."""

    def __init__(self, *, name: str = "hosted") -> None:
        self._name = name
        self.steady_ms = 0
        self.boxes: dict[str, Box] = {}
        self.faults: list[Exception] = []  # raised by the next calls, one each
        self.refusals: list[ProviderRefused] = []  # of the next creations
        self.lost_answers = 0  # so many creations are done and not answered
        self.size: tuple[int, int] | None = None
        self.during: Callable[[], None] | None = None  # what happens while something is executed
        self.writes: Callable[[], Iterator[tuple[Stream, bytes]]] | None = (
            None  # step by step, for the answer's
        )
        self.answer = Execution(exit_code=0, stdout=b"", stderr=b"", duration_ms=1)

    # --- what tests do ---------------------------------------------------------------------------------------------

    def advance(self, milliseconds: int) -> None:
        """Let time pass; what reaches its deadline dies exactly then."""
        self.steady_ms += milliseconds
        for box in self.boxes.values():
            if box.ended_at is None and box.deadline <= self.steady_ms:
                box.ended_at, box.reason = max(box.deadline, box.ready_at), "deadline"

    def crash(self, handle: str, reason: EndReason = "crashed") -> None:
        """It dies now, by itself."""
        box = self.boxes[handle]
        if box.ended_at is None:
            box.ended_at, box.reason = self.steady_ms, reason

    def lived(self, handle: str) -> int:
        """How long it has really lived."""
        box = self.boxes[handle]
        return (self.steady_ms if box.ended_at is None else box.ended_at) - box.ready_at

    # --- the port --------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What sandboxes are filed under."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """Nothing runs here."""
        return Capabilities(
            isolation="nothing runs",
            limits="enforced",
            limits_by="the test",
            network=False,
            disk_mib=0,
            session_seconds_max=None,
        )

    def templates(self) -> Sequence[Template]:
        """The usual three."""
        return TEMPLATES

    def create(self, order: SandboxOrder, *, key: str) -> Made:
        """Make one; a repeat gives the same."""
        self._fault()
        if self.refusals:
            raise self.refusals.pop(0)
        handle = f"box-{key}"
        if handle not in self.boxes:
            deadline = self.steady_ms + round(order.seconds * 1000)
            self.boxes[handle] = Box(order.reference, self.steady_ms, deadline)
        if self.lost_answers:
            self.lost_answers -= 1
            raise OutcomeUnknown("the answer was lost")
        vcpu, memory_mib = self.size or (order.vcpu, order.memory_mib)
        return Made(handle=handle, vcpu=vcpu, memory_mib=memory_mib)

    def execute(self, handle: str, command: Command, *, on_output: OnOutput | None = None) -> Execution:
        """Give the answer that the test prepared."""
        self._fault()
        self._alive(handle)
        if self.during is not None:
            self.during()
        self._cut_off(handle)
        del command
        written: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        for stream, piece in self._pieces() if self.writes is None else self.writes():
            written[stream] += piece
            if on_output is not None:
                on_output(stream, piece)
        return replace(self.answer, stdout=written["stdout"], stderr=written["stderr"])

    def _cut_off(self, handle: str) -> None:
        try:
            self._alive(handle)
        except SandboxGone as gone:
            gone.cut_off = replace(self.answer, exit_code=137)
            raise

    def _pieces(self) -> Iterator[tuple[Stream, bytes]]:
        yield "stdout", self.answer.stdout
        yield "stderr", self.answer.stderr

    def write_file(self, handle: str, path: str, content: bytes) -> None:
        """Keep it."""
        self._fault()
        self._alive(handle).files[path] = content

    def read_file(self, handle: str, path: str, *, max_bytes: int) -> bytes:
        """Give what was kept."""
        self._fault()
        files = self._alive(handle).files
        if path not in files or len(files[path]) > max_bytes:
            raise SandboxRefused("there is no such file")
        return files[path]

    def look(self, handle: str) -> Life:
        """The truth."""
        self._fault()
        box = self.boxes[handle]
        return Life(running=box.ended_at is None, lived_ms=self.lived(handle), reason=box.reason)

    def set_deadline(self, handle: str, *, seconds: float) -> None:
        """Set it."""
        self._fault()
        self._alive(handle).deadline = self.steady_ms + round(seconds * 1000)

    def kill(self, handle: str) -> Life:
        """End it."""
        self._fault()
        self.crash(handle, "killed")
        return Life(running=False, lived_ms=self.lived(handle), reason=self.boxes[handle].reason)

    def running(self) -> Mapping[str, str]:
        """All that run."""
        self._fault()
        return {box.reference: handle for handle, box in self.boxes.items() if box.ended_at is None}

    def close(self) -> None:
        """They live on."""

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    def _alive(self, handle: str) -> Box:
        box = self.boxes[handle]
        if box.ended_at is not None:
            raise SandboxGone
        return box
