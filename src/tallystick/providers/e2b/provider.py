"""The provider: E2B's sandboxes as the port has them.

E2B fixes a sandbox's size by its template: an order for another size gets what the template has, and is told so. Sandboxes
carry the installation's id and our reference; they outlive this process, and die by themselves at their deadline.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from tallystick.core.times import SECOND
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.sandboxes import (
    Capabilities,
    Command,
    Execution,
    Life,
    Made,
    OnOutput,
    SandboxesUnavailable,
    SandboxGone,
    SandboxOrder,
    Template,
)
from tallystick.providers.e2b.events import Events
from tallystick.providers.e2b.lives import Lives

if TYPE_CHECKING:
    from tallystick.providers.e2b.executing import Runner
    from tallystick.providers.e2b.line import Line, Seen

SESSION_SECONDS_MAX: Final = 3_600  # of the smallest plan there; others allow a day
_DISK_MIB: Final = 10_240  # of the smallest plan there
_NS_PER_MICROSECOND: Final = 1_000
_CLOCKS_DIFFER: Final = 5 * SECOND
FULL: Final = "concurrency_limit"
_BASE: Final = "base"
_ALIASES: Final = {"bash": _BASE, "python": _BASE, "node": _BASE}  # E2B's own template has all three
_DEBUG: Final = "E2B_DEBUG"
_POOL: Final = {  # read by the SDK once, when it is imported
    "E2B_CONNECTION_RETRIES": "2",
    "E2B_MAX_CONNECTIONS": "200",
    "E2B_MAX_KEEPALIVE_CONNECTIONS": "20",
    "E2B_KEEPALIVE_EXPIRY": "300",
}
TEMPLATES: Final = (
    Template(
        name=_BASE,
        description="E2B's own: Debian with Python and Node.js",
        languages=("bash", "python", "javascript"),
    ),
    Template(name="bash", description="E2B's base", languages=("bash", "python", "javascript")),
    Template(name="node", description="E2B's base", languages=("javascript", "bash", "python")),
    Template(name="python", description="E2B's base", languages=("python", "bash", "javascript")),
)
_WARNINGS: Final = (
    "A sandbox has the size of its template, whatever size was ordered.",
    "Output is text: bytes that are no UTF-8 become replacement characters.",
    "A command that ran out of memory is not told apart: it ends with the exit code 137.",
    "Deadlines are rounded up to whole seconds.",
)


class E2BSandboxes:
    """An account at E2B. Raises ``SandboxesUnavailable`` where the SDK is missing or would not kill.

    ``installation`` tells our sandboxes from others of the same account: it is the same in all processes of ours. ``now``
    is the real time (microseconds), ``steady`` a clock that is never set (nanoseconds). ``session_seconds_max`` is what
    the plan at E2B allows. ``templates`` are shown; E2B decides which there are.
    """

    def __init__(
        self,
        api_key: str,
        *,
        installation: str,
        now: Callable[[], int],
        steady: Callable[[], int] = time.monotonic_ns,
        api_url: str | None = None,
        sandbox_url: str | None = None,
        network: bool = True,
        session_seconds_max: int = SESSION_SECONDS_MAX,
        templates: Sequence[Template] = TEMPLATES,
    ) -> None:
        assert api_key, "a key of E2B"
        assert installation, "an id of this installation"
        self._now = now
        self._steady = steady
        self._installation = installation
        self._line, self._runner = _open(
            api_key,
            installation=installation,
            api_url=api_url,
            sandbox_url=sandbox_url,
            network=network,
            steady=steady,
        )
        self._events = Events(self._line.api_url, api_key)
        self._lives = Lives(steady)
        self._lock = threading.Lock()
        self._unknown: set[str] = set()  # keys of which nobody knows what came of them
        self._templates = tuple(templates)
        self._capabilities = Capabilities(
            isolation="a virtual machine each, on machines of E2B",
            limits="enforced",
            limits_by="E2B: the size of the virtual machine",
            network=network,
            disk_mib=_DISK_MIB,
            session_seconds_max=session_seconds_max,
            warnings=_WARNINGS,
        )

    @property
    def name(self) -> str:
        """What sandboxes are filed under."""
        return "e2b"

    @property
    def capabilities(self) -> Capabilities:
        """What E2B does."""
        return self._capabilities

    def templates(self) -> Sequence[Template]:
        """What sandboxes can start from."""
        return self._templates

    # --- making ------------------------------------------------------------------------------------------------------

    def create(self, order: SandboxOrder, *, key: str) -> Made:
        """Make a sandbox, or find the one that an earlier try has made whose answer was lost."""
        token = hashlib.sha256(f"{self._installation}\n{key}".encode()).hexdigest()
        with self._lock:
            repeated = token in self._unknown
        try:
            made = self._find(order) if repeated else None
            made = made or self._make(order, token)
        except OutcomeUnknown:
            with self._lock:
                self._unknown.add(token)
            raise
        with self._lock:
            self._unknown.discard(token)
        return made

    def _make(self, order: SandboxOrder, token: str) -> Made:
        template = _ALIASES.get(order.template, order.template)
        asked_at = self._now()
        try:
            handle = self._line.create(order, template=template, key=token)
        except ProviderRefused as refused:
            # An earlier try, by another process, may have made it, and it is what fills the account.
            made = self._find(order) if refused.code == FULL else None
            if made is None:
                raise
            return made
        ready, known = self._steady(), self._lives.known(handle)
        try:
            oldest = self._find_oldest(order) or self._line.info(handle)
        except (OutcomeUnknown, SandboxGone) as error:
            self._line.kill(
                handle
            )  # what cannot be measured must not run; where this is not known either, it is said
            raise ProviderRefused(
                f"a sandbox was made, its size is not known, so it was ended: {error}", code="size_unknown"
            ) from error
        if oldest.handle == handle and not known and not _is_older(oldest, asked_at):
            self._lives.begun(handle, ready=ready, span_ns=_span_ns(oldest))
        return _made(oldest)

    def _find(self, order: SandboxOrder) -> Made | None:
        """The sandbox of an order that was made before."""
        oldest = self._find_oldest(order)
        return None if oldest is None else _made(oldest)

    def _find_oldest(self, order: SandboxOrder) -> Seen | None:
        """The first sandbox with the order's reference; others, which nobody knows of, are ended."""
        found = sorted(
            self._line.running(reference=order.reference), key=lambda seen: (seen.started_at, seen.handle)
        )
        for other in found[1:]:
            self._line.kill(other.handle)
        if not found:
            return None
        self._hear(found[0])
        return found[0]

    # --- inside ------------------------------------------------------------------------------------------------------

    def execute(self, handle: str, command: Command, *, on_output: OnOutput | None = None) -> Execution:
        """Run code and wait for its end."""
        return self._runner.run(handle, command, on_output)

    def write_file(self, handle: str, path: str, content: bytes) -> None:
        """Put a file into a sandbox."""
        self._line.write(handle, path, content)

    def read_file(self, handle: str, path: str, *, max_bytes: int) -> bytes:
        """Give a file of a sandbox."""
        return self._line.read(handle, path, max_bytes=max_bytes)

    # --- lives -------------------------------------------------------------------------------------------------------

    def look(self, handle: str) -> Life:
        """Ask E2B, unless we know of its end. A sandbox that was paused there by somebody does not run."""
        ended = self._lives.ended(handle)
        if ended is not None and ended.lived_ms is not None:
            return ended
        try:
            seen = self._line.info(handle)
        except SandboxGone:
            return self._gone(handle)
        self._hear(seen)
        return (
            self._lives.running(handle) if seen.running else Life(running=False, lived_ms=None, reason="gone")
        )

    def set_deadline(self, handle: str, *, seconds: float) -> None:
        """Let a sandbox die by itself so many seconds from now."""
        self._lives.deadline(handle, seconds=self._line.set_timeout(handle, seconds))

    def kill(self, handle: str) -> Life:
        """End a sandbox; one that another process made is looked at first, since only E2B knows of its beginning."""
        ended = self._lives.ended(handle)
        if ended is not None and ended.lived_ms is not None:
            return ended
        if not self._lives.known(handle):
            life = self.look(handle)
            if not self._lives.known(handle):
                return life
        first = self._lives.ending(handle)
        if self._line.kill(handle):
            return self._lives.killed(handle)
        if first:
            self._lives.was_not_there(handle)
        return self._gone(handle)

    def running(self) -> Mapping[str, str]:
        """All sandboxes of this installation that run.

        A second one with the same reference is one that nobody knows of, and is listed under a reference that nobody knows.
        """
        found: dict[str, str] = {}
        for seen in sorted(self._line.running(), key=lambda each: (each.started_at, each.handle)):
            name = seen.reference if seen.reference not in found else f"{seen.reference}+{seen.handle}"
            found[name] = seen.handle
        return found

    def close(self) -> None:
        """Let go of the connections; the sandboxes run on until their deadlines."""
        self._line.close()
        self._events.close()

    def _hear(self, seen: Seen) -> None:
        lived = (self._now() - seen.started_at) * _NS_PER_MICROSECOND
        self._lives.seen(seen.handle, lived_ns=lived, span_ns=_span_ns(seen))

    def _gone(self, handle: str) -> Life:
        return self._lives.gone(handle, told_ms=self._events.lived_ms(handle))


def _span_ns(seen: Seen) -> int:
    """By E2B's clock alone, which may differ from ours."""
    return (seen.ends_at - seen.started_at) * _NS_PER_MICROSECOND


def _is_older(seen: Seen, asked_at: int) -> bool:
    """Whether it was there before we asked, since E2B knew the key. More than its whole life it is not: clocks differ."""
    return _CLOCKS_DIFFER < asked_at - seen.started_at < seen.ends_at - seen.started_at


def _made(seen: Seen) -> Made:
    return Made(handle=seen.handle, vcpu=seen.vcpu, memory_mib=seen.memory_mib)


def _open(
    api_key: str,
    *,
    installation: str,
    api_url: str | None,
    sandbox_url: str | None,
    network: bool,
    steady: Callable[[], int],
) -> tuple[Line, Runner]:
    """The line to E2B, where there can be one."""
    if os.environ.get(_DEBUG):
        raise SandboxesUnavailable(
            f"{_DEBUG} is set: E2B's SDK would end no sandbox, and they would cost on; unset it"
        )
    for name, text in _POOL.items():
        os.environ.setdefault(name, text)
    try:
        from tallystick.providers.e2b.executing import Runner  # noqa: PLC0415 - see __init__
        from tallystick.providers.e2b.line import Line  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "e2b":
            raise
        raise SandboxesUnavailable("sandboxes at E2B need its SDK: pip install 'tallystick[e2b]'") from error
    line = Line(api_key, installation=installation, api_url=api_url, sandbox_url=sandbox_url, network=network)
    return line, Runner(line, steady)
