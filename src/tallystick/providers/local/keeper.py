"""The thread that owns the sandboxes of this process: it starts them, sees their ends, and ends them in time.

The kernel ends a sandbox with the thread that started it, so there is one thread for all of them. It sees each end by a
descriptor of the sandbox's first process, with which all others of it are dead, and notes the moment. Other processes ask
it by its socket, for what only the owner knows.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from tallystick.ports.sandboxes import EndReason, Life, Made
from tallystick.providers.local import cgroups, usage
from tallystick.providers.local.conversation import address, connect, killed_for_memory
from tallystick.providers.local.folder import Notes
from tallystick.providers.local.handles import Handle, end, has_ended, now_ns

REMEMBERED: Final = 10_000  # ends, and repeats of a key: for services that ask again
ANSWER_SECONDS: Final = 5.0
_WATCH_SECONDS: Final = 0.1
_MESSAGE: Final = 1 << 16
_SECOND: Final = 1_000_000_000
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Record:
    """A sandbox of this process. ``cause`` is why we ended it, where we did."""

    handle: Handle
    made: Made
    process: subprocess.Popen[bytes]
    pidfd: int
    groups: tuple[Path, ...]
    bounds: usage.Bounds
    deadline_ns: int
    cause: EndReason | None = None
    ended_ns: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    finished: threading.Event = field(default_factory=threading.Event)

    def life(self) -> Life:
        """Its life as it is at this moment."""
        with self.lock:
            if self.ended_ns is None and has_ended(self.pidfd):
                self.ended_ns = now_ns()
                if self.cause is None:
                    lacked = killed_for_memory(self.handle.memory_events) > 0
                    self.cause = "memory" if lacked else "crashed"
            if self.ended_ns is None:
                return Life(running=True, lived_ms=self.handle.lived_ms(now_ns()))
            return Life(running=False, lived_ms=self.handle.lived_ms(self.ended_ns), reason=self.cause)

    def kill(self, cause: EndReason) -> None:
        """End it, for a reason; whoever was first has said why."""
        self.life()
        with self.lock:
            if self.ended_ns is None:
                self.cause = self.cause or cause
                end(self.pidfd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What is remembered of a sandbox."""

    made: Made
    life: Life


class Keeper:
    """Owns the sandboxes of one provider."""

    def __init__(self, notes: Notes) -> None:
        self.name = notes.new_owner()
        self._notes = notes
        self._records: dict[str, Record] = {}
        self._ended: OrderedDict[str, Ended] = OrderedDict()
        self._todo: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with address(str(notes.folder), self.name) as path:
            self._socket.bind(path)
        self._socket.listen(64)
        self._socket.setblocking(False)  # noqa: FBT003 - takes no keyword
        self._selector.register(self._wake, selectors.EVENT_READ, self._work)
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        self._thread = threading.Thread(target=self._run, name="sandboxes", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """Have something done by the thread."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
                future.set_exception(error)

        with self._lock:
            if self._closing:
                raise RuntimeError("this provider is closed")
            self._todo.append(work)
        os.eventfd_write(self._wake, 1)
        return future.result()

    def adopt(self, record: Record) -> None:
        """Watch a sandbox from now on."""

        def adopted() -> None:
            self._records[record.handle.name] = record
            self._selector.register(record.pidfd, selectors.EVENT_READ, lambda: self._over(record))

        self.call(adopted)

    def record(self, name: str) -> Record | None:
        """A sandbox of this process that has not been taken away yet."""
        return self._records.get(name)

    def ended(self, name: str) -> Ended | None:
        """What is remembered of one that has."""
        return self._ended.get(name)

    def life(self, name: str) -> Life | None:
        """The life of a sandbox of this process; None where it is not known."""
        record = self.record(name)
        if record is not None:
            return record.life()
        ended = self.ended(name)
        return None if ended is None else ended.life

    def made(self, name: str) -> Made | None:
        """What was made under a name, whether it runs or not."""
        found = self.record(name) or self.ended(name)
        return None if found is None else found.made

    def set_deadline(self, name: str, seconds: float) -> bool:
        """Let a sandbox end so many seconds from now; False where it has ended."""
        record = self.record(name)
        if record is None or not record.life().running:
            return False
        record.deadline_ns = now_ns() + int(seconds * _SECOND)
        os.eventfd_write(self._wake, 1)
        return True

    def close(self) -> None:
        """End everything, and the thread."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        os.close(self._wake)
        with contextlib.suppress(FileNotFoundError):
            (self._notes.folder / self.name).unlink()

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._records or not self._closing:
            for key, _ in self._selector.select(self._pause()):
                key.data()
            self._enforce()

    def _pause(self) -> float | None:
        if not self._records:
            return None
        first = min(record.deadline_ns for record in self._records.values())
        return min(_WATCH_SECONDS, max(0.0, (first - now_ns()) / _SECOND))

    def _work(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        with self._lock:
            todo, self._todo = self._todo, []
        for work in todo:
            work()

    def _enforce(self) -> None:
        now = now_ns()
        for record in tuple(self._records.values()):
            if self._closing:
                record.kill("killed")
            elif record.deadline_ns <= now:
                record.kill("deadline")
                record.deadline_ns = now + _SECOND  # it is dying, and told again if that takes so long
            else:
                reason = usage.beyond(record.handle.pid, record.bounds)
                if reason is not None:
                    record.kill(reason)

    def _over(self, record: Record) -> None:
        """Take away what an ended sandbox leaves."""
        life = record.life()
        name = record.handle.name
        self._selector.unregister(record.pidfd)
        try:
            record.process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:  # bubblewrap should end with its child
            record.process.kill()
            record.process.wait()
        cgroups.remove(record.groups)
        self._notes.discard(name)
        self._ended[name] = Ended(made=record.made, life=life)
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        with record.lock:
            del self._records[name]
            os.close(record.pidfd)
        record.finished.set()

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        connection.setblocking(False)  # noqa: FBT003 - takes no keyword
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._answer(connection))

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            asked = json.loads(connection.recv(_MESSAGE))
            connection.send(json.dumps(self._answer_to(asked)).encode())
        self._selector.unregister(connection)
        connection.close()

    def _answer_to(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = str(asked["name"])
        if asked["op"] == "deadline":
            return {"set": self.set_deadline(name, float(asked["seconds"]))}
        if asked["op"] == "kill" and (record := self.record(name)) is not None:
            record.kill("killed")
        made, life = self.made(name), self.life(name)
        if made is None or life is None:
            return {}
        return {
            "made": {"handle": made.handle, "vcpu": made.vcpu, "memory_mib": made.memory_mib},
            "life": {"running": life.running, "lived_ms": life.lived_ms, "reason": life.reason},
        }


# --- asking the keeper of another process ----------------------------------------------------------------------------


def ask(folder: str, owner: str, **asked: object) -> dict[str, Any] | None:
    """Ask an owner; None where it is not there any more. Raises ``TimeoutError``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connect(connection, folder, owner, seconds=ANSWER_SECONDS)
            connection.send(json.dumps(asked).encode())
            answer = connection.recv(_MESSAGE)
        except TimeoutError:
            raise
        except OSError:
            return None
    return cast("dict[str, Any]", json.loads(answer)) if answer else None
