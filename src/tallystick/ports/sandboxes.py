"""What the product asks of whoever runs sandboxes. Two real implementations exist: bubblewrap on this machine, and E2B.

A sandbox runs until it is killed, until its deadline, or until it ends by itself. Its ``handle`` is the provider's own
text for it: whatever another process of ours needs to reach the same sandbox. ``reference`` is our id, ``sbx_…``. A provider
measures how long a sandbox has lived; it knows nothing of prices. No call here is made inside a database transaction, and
no message from inside a sandbox is trusted for what is billed.

Sizes are whole vCPUs and MiB; ``lived_ms`` counts milliseconds of steady time from the moment that the sandbox was ready.
Besides what is named at each method, all may raise ``OutcomeUnknown``: nobody knows whether it was done, ask again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

Language: TypeAlias = Literal["bash", "python", "javascript"]
Stream: TypeAlias = Literal["stdout", "stderr"]
EndReason: TypeAlias = Literal["killed", "deadline", "memory", "disk", "crashed", "gone"]
OnOutput: TypeAlias = Callable[[Stream, bytes], None]


class SandboxesUnavailable(Exception):  # noqa: N818 - as below
    """No sandbox can be run safely here: ``detail`` is a sentence that says what is missing, and what to install or set."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class SandboxGone(Exception):  # noqa: N818 - an answer, and no error of the program
    """The sandbox does not run any more: nothing can be done in it.

    ``cut_off`` is what had come of a command that was running when it ended; None where none had begun.
    """

    cut_off: Execution | None = None


class SandboxElsewhere(Exception):  # noqa: N818 - as above
    """The sandbox runs on another machine, whose processes alone can reach it."""


class SandboxRefused(Exception):  # noqa: N818 - as above
    """The sandbox runs, and this cannot be done in it: ``detail`` says why, as a file that does not exist."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class SandboxBusy(SandboxRefused):
    """The sandbox runs, and this cannot be done in it now, as where it has no room for another process: nothing was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a sandbox starts from, and in which languages it can run code."""

    name: str
    description: str
    languages: tuple[Language, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider really does, as it is shown to whoever relies on it.

    ``limits`` is ``enforced`` where the kernel or the host holds memory, processors and processes to the size that is
    billed, and ``best_effort`` where they are watched and killed. ``isolation`` says what separates a sandbox from the host
    and from others. ``session_seconds_max`` None: no limit of the provider's own.
    """

    isolation: str
    limits: Literal["enforced", "best_effort"]
    limits_by: str
    network: bool
    disk_mib: int
    session_seconds_max: int | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOrder:
    """A sandbox to be made. It dies by itself ``seconds`` after it was ready, whatever becomes of us."""

    reference: str
    template: str
    vcpu: int
    memory_mib: int
    seconds: float
    env: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A sandbox that is ready: its handle, and the size that it really has."""

    handle: str
    vcpu: int
    memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Code to run in a sandbox; what it writes beyond ``output_max_bytes`` per stream is dropped."""

    language: Language
    code: str
    timeout_seconds: float
    env: Mapping[str, str] = field(default_factory=dict)
    output_max_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What came of a command. ``exit_code`` is 128 + the signal's number for one that a signal ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    duration_ms: int
    timed_out: bool = False
    oom: bool = False
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Whether a sandbox runs and how long it has lived; ``lived_ms`` None where nobody can tell any more.

    ``reason`` is why it ended: ``gone`` where the provider does not say.
    """

    running: bool
    lived_ms: int | None
    reason: EndReason | None = None


class SandboxProvider(Protocol):
    """Whoever runs sandboxes."""

    @property
    def name(self) -> str:
        """What sandboxes are filed under: ``local`` or ``e2b``."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this provider does, found out when it was made."""
        ...

    def templates(self) -> Sequence[Template]:
        """What sandboxes can start from, by name."""
        ...

    def create(self, order: SandboxOrder, *, key: str) -> Made:
        """Make a sandbox and wait until it is ready; a repeat with the same key makes no second one.

        Raises ``ProviderRefused`` where it cannot be made: nothing is left of it. Where the order is what is wrong, its
        ``code`` is ``template``, ``vcpu``, ``memory_mib``, ``timeout`` or ``env_vars``.
        """
        ...

    def execute(self, handle: str, command: Command, *, on_output: OnOutput | None = None) -> Execution:
        """Run code and wait for its end; ``on_output`` is told what it writes meanwhile.

        A command that is over its time is killed with all that it started. An exception out of ``on_output`` kills the
        command and is raised. Raises ``SandboxGone``, with what was cut off if the command had begun,
        ``SandboxElsewhere``, ``SandboxRefused`` and ``SandboxBusy``.
        """
        ...

    def write_file(self, handle: str, path: str, content: bytes) -> None:
        """Put a file into a sandbox, with the folders that it needs; a relative path is from the working folder.

        Raises as ``execute``.
        """
        ...

    def read_file(self, handle: str, path: str, *, max_bytes: int) -> bytes:
        """Give a file of a sandbox. Raises as ``execute``; one above ``max_bytes`` is refused."""
        ...

    def look(self, handle: str) -> Life:
        """Whether a sandbox runs, and how long it has lived. Raises ``SandboxElsewhere``."""
        ...

    def set_deadline(self, handle: str, *, seconds: float) -> None:
        """Let a sandbox die by itself so many seconds from now, sooner or later than was said before.

        Raises ``SandboxGone`` and ``SandboxElsewhere``.
        """
        ...

    def kill(self, handle: str) -> Life:
        """End a sandbox now and give its whole life; one that has ended stays as it is. Raises ``SandboxElsewhere``."""
        ...

    def running(self) -> Mapping[str, str]:
        """All sandboxes of this installation that run and that this process can reach: handle by our reference."""
        ...

    def close(self) -> None:
        """Let go of everything: where sandboxes do not outlive us, they end."""
        ...
