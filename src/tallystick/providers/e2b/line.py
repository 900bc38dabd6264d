"""The line to E2B: the SDK as we want it, with all that it would otherwise take from the environment said by us.

Its errors leave here as the port's. The pool of connections is the SDK's own, one for the process, and safe for threads.
"""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import e2b
from e2b.connection_config import ConnectionConfig

from tallystick.ports.sandboxes import SandboxOrder, SandboxRefused
from tallystick.providers.e2b.answers import GONE, asking, making, within

# The SDK's transport takes it once for sending and once for reading, and gives up after the sum.
REQUEST_SECONDS: Final = 15.0
FILE_SECONDS: Final = 150.0  # it limits the whole transfer
RETRIES: Final = 2
REFERENCE: Final = "tallystick_reference"
INSTALLATION: Final = "tallystick_installation"
_PAGE: Final = 100  # the largest there is
_OPEN: Final = 1_000  # sandboxes whose connections are kept
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A sandbox as E2B has it; times are microseconds since the epoch, by E2B's clock."""

    handle: str
    reference: str
    running: bool
    started_at: int
    ends_at: int
    vcpu: int
    memory_mib: int


class Line:
    """One account at E2B, and the sandboxes of one installation in it."""

    def __init__(
        self, api_key: str, *, installation: str, api_url: str | None, sandbox_url: str | None, network: bool
    ) -> None:
        client = e2b.E2B(
            api_key=api_key,
            api_url=api_url,
            sandbox_url=sandbox_url,
            debug=False,  # with it, nothing would be killed
            request_timeout=REQUEST_SECONDS,
            retries=RETRIES,
        )
        self._sandboxes = client.Sandbox
        self.api_url = ConnectionConfig(api_url=api_url, debug=False).api_url
        self._installation = installation
        self._network = network
        self._lock = threading.Lock()
        self._open: OrderedDict[str, e2b.Sandbox] = OrderedDict()

    # --- one sandbox -------------------------------------------------------------------------------------------------

    def create(self, order: SandboxOrder, *, template: str, key: str) -> str:
        """Make a sandbox that dies by itself; gives its handle."""
        ours = {INSTALLATION: self._installation, REFERENCE: order.reference}
        with making():
            made = self._sandboxes.create(
                template=template,
                timeout=_whole_seconds(order.seconds),
                metadata=dict(order.metadata) | ours,
                envs=dict(order.env),
                allow_internet_access=self._network,
                lifecycle={"on_timeout": "kill", "auto_resume": False},
                idempotency_key=key,
            )
        self._keep(made)
        return made.sandbox_id

    def info(self, handle: str) -> Seen:
        """A sandbox as it stands. Raises ``SandboxGone``."""
        with asking():
            return _seen(self._sandboxes.get_info(handle))

    def running(self, *, reference: str | None = None) -> Iterator[Seen]:
        """The sandboxes of this installation that run, from all pages."""
        ours = {INSTALLATION: self._installation}
        wanted = ours if reference is None else ours | {REFERENCE: reference}
        query = e2b.SandboxQuery(metadata=wanted, state=[e2b.SandboxState.RUNNING])
        with asking():
            pages = self._sandboxes.list(query=query, limit=_PAGE)
            while pages.has_next:
                yield from [_seen(each) for each in pages.next_items()]

    def kill(self, handle: str) -> bool:
        """End a sandbox; False where it was not there any more."""
        self._let_go(handle)
        with asking():
            return self._sandboxes.kill(handle)

    def set_timeout(self, handle: str, seconds: float) -> int:
        """Let a sandbox die so many seconds from now; gives how many E2B was told. Raises ``SandboxGone``."""
        whole = _whole_seconds(seconds)
        with asking():
            self._sandboxes.set_timeout(handle, whole)
        return whole

    # --- inside ------------------------------------------------------------------------------------------------------

    @contextmanager
    def inside(self, handle: str) -> Iterator[e2b.Sandbox]:
        """The SDK's way into a sandbox. Its errors are raised as ``answers.within`` does."""
        with within():
            try:
                yield self._sandbox(handle)
            except (*GONE, e2b.AuthenticationException):  # what we know of it may be out of date
                self._let_go(handle)
                raise

    def write(self, handle: str, path: str, content: bytes) -> None:
        """Put a file into a sandbox."""
        with self.inside(handle) as sandbox:
            sandbox.files.write(path, content, request_timeout=FILE_SECONDS)

    def read(self, handle: str, path: str, *, max_bytes: int) -> bytes:
        """Give a file of a sandbox, and no more of it than was asked for."""
        content = bytearray()
        with self.inside(handle) as sandbox:
            chunks = sandbox.files.read(path, format="stream", request_timeout=FILE_SECONDS)
            with chunks:
                for chunk in chunks:
                    content += chunk
                    if len(content) > max_bytes:
                        raise SandboxRefused(f"{path} is larger than {max_bytes} bytes")
        return bytes(content)

    def close(self) -> None:
        """Forget the sandboxes, which run on."""
        with self._lock:
            self._open.clear()

    # --- the SDK's objects -------------------------------------------------------------------------------------------

    def _sandbox(self, handle: str) -> e2b.Sandbox:
        """The SDK's way into a sandbox, which it must ask E2B for where another process made it."""
        with self._lock:
            sandbox = self._open.get(handle)
        if sandbox is None:
            # Connecting would prolong a life that is shorter than what is asked for, so the least is asked for.
            sandbox = self._sandboxes.connect(handle, timeout=1)
            self._keep(sandbox)
        return sandbox

    def _keep(self, sandbox: e2b.Sandbox) -> None:
        with self._lock:
            self._open[sandbox.sandbox_id] = sandbox
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)

    def _let_go(self, handle: str) -> None:
        with self._lock:
            self._open.pop(handle, None)


def _whole_seconds(seconds: float) -> int:
    """E2B counts whole seconds: a sandbox may live up to one longer than was asked for, and never shorter."""
    return max(math.ceil(seconds), 0)


def _seen(info: e2b.SandboxInfo) -> Seen:
    return Seen(
        handle=info.sandbox_id,
        reference=info.metadata.get(REFERENCE, info.sandbox_id),
        running=info.state is e2b.SandboxState.RUNNING,
        started_at=_moment(info.started_at),
        ends_at=_moment(info.end_at),
        vcpu=info.cpu_count,
        memory_mib=info.memory_mb,
    )


def _moment(time: dt.datetime) -> int:
    return (time - _EPOCH) // dt.timedelta(microseconds=1)
