"""Making a sandbox: its note, its groups, its first process, and the moment from which it lives."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import resource
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.sandboxes import Made, SandboxOrder, SandboxRefused
from tallystick.providers.local import bubblewrap, cgroups, seccomp, usage
from tallystick.providers.local.bubblewrap import Launch, Started, StartFailed
from tallystick.providers.local.cgroups import Group, Size, Trees
from tallystick.providers.local.conversation import REQUEST_MAX, address, packed
from tallystick.providers.local.folder import Note, Notes
from tallystick.providers.local.handles import Handle, now_ns, start_of, this_host
from tallystick.providers.local.images import Image, Shelf
from tallystick.providers.local.keeper import REMEMBERED, Keeper, Record, ask

MEMORY_MIN_MIB: Final = 64
_SPARE_PIDS: Final = 32  # for the agent and its workers, beyond what commands may have
_SECOND: Final = 1_000_000_000
_SECONDS_MAX: Final = 10 * 365 * 86_400
_PRIVATE_COUNTS: Final = (5, 14)  # since then the kernel counts a user's processes for each user namespace
_OTHERS_SECONDS: Final = 30.0


class Maker:
    """Makes the sandboxes of one provider."""

    def __init__(
        self,
        *,
        notes: Notes,
        keeper: Keeper,
        trees: Trees | None,
        bwrap: Path,
        shelf: Shelf,
        disk_mib: int,
        pids: int,
    ) -> None:
        self._notes = notes
        self._keeper = keeper
        self._trees = trees
        self._bwrap = bwrap
        self._shelf = shelf
        self._disk_mib, self._pids = disk_mib, pids
        self._filter = seccomp.program(platform.machine(), unwatched=trees is None)
        self._made: dict[str, Future[Made]] = {}
        self._lock = threading.Lock()

    def create(self, order: SandboxOrder, *, key: str) -> Made:
        """Make a sandbox, or give the one that was made with this key."""
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        with self._lock:
            known = self._made.get(name)
            if known is None:
                future = self._made[name] = Future[Made]()
                if len(self._made) > REMEMBERED:
                    del self._made[next(iter(self._made))]
        if known is not None:
            return known.result()
        try:
            made = self._create(name, order)
        except BaseException as error:
            with self._lock:
                self._made.pop(name, None)  # nothing was made: it may be tried again
            future.set_exception(error)
            raise
        future.set_result(made)
        return made

    def _create(self, name: str, order: SandboxOrder) -> Made:
        image, fields = self._check(order)
        note = self._claim(name, order)
        if isinstance(note, Made):
            return note
        groups: tuple[Path, ...] = ()
        try:
            group = None
            if self._trees is not None:
                size = Size(vcpu=order.vcpu, memory_mib=order.memory_mib, pids=self._pids + _SPARE_PIDS)
                group = self._trees.make(f"{os.getpid()}-{secrets.token_hex(8)}", size)
                groups = group.folders
                note = self._notes.change(name, note, groups=tuple(map(str, groups)))
            return self._start(name, order, image, fields, note, group)
        except BaseException as error:
            cgroups.remove(groups)
            self._notes.discard(name)
            if isinstance(error, StartFailed | OSError):
                raise ProviderRefused(f"the sandbox did not start: {error}", code="not_started") from error
            raise

    def _check(self, order: SandboxOrder) -> tuple[Image, dict[str, Mapping[str, str]]]:
        """What to start, and what the agent is told. Raises ``ProviderRefused``."""
        shelf = self._shelf.all()
        image = shelf.get(order.template)
        if image is None:
            known = ", ".join(sorted(shelf))
            raise ProviderRefused(f"there is no template {order.template}, only {known}", code="template")
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        if not MEMORY_MIN_MIB <= order.memory_mib <= total:
            raise ProviderRefused(f"memory has to be {MEMORY_MIN_MIB} to {total} MiB", code="memory_mib")
        processors = len(os.sched_getaffinity(0))
        if not 1 <= order.vcpu <= processors:
            raise ProviderRefused(f"vcpu has to be 1 to {processors}", code="vcpu")
        if not 0 < order.seconds <= _SECONDS_MAX:
            raise ProviderRefused("a sandbox has to live for more than 0 seconds", code="timeout")
        fields: dict[str, Mapping[str, str]] = {
            "env": {**image.env, **order.env},
            "limit": self._limits(order),
            "language": {str(name): command for name, command in image.commands.items()},
        }
        try:
            size = len(packed(fields))
        except SandboxRefused as error:
            raise ProviderRefused(error.detail, code="env_vars") from error
        if size > REQUEST_MAX:
            raise ProviderRefused(f"the environment has more than {REQUEST_MAX} bytes", code="env_vars")
        return image, fields

    def _limits(self, order: SandboxOrder) -> dict[str, str]:
        """The limits of each process in the sandbox, which it sets itself once it is there."""
        limits = {
            "CORE": 1,  # not 0: that is ignored where this machine has a program for dumps, and 1 is not
            "FSIZE": self._home_bytes(order),
            "NOFILE": 1024,
            "STACK": 8 << 20,
        }
        release = tuple(int(part) for part in platform.release().split(".")[:2] if part.isdigit())
        if os.geteuid() == 0 or release >= _PRIVATE_COUNTS:
            limits["NPROC"] = self._pids
        if self._trees is None:
            limits["DATA"] = order.memory_mib << 20
        return {name: str(_at_most(value, name)) for name, value in limits.items()}

    def _home_bytes(self, order: SandboxOrder) -> int:
        return min(self._disk_mib << 20, order.memory_mib << 19)

    # --- once for each key -------------------------------------------------------------------------------------------

    def _claim(self, name: str, order: SandboxOrder) -> Note | Made:
        """Note that we make it, unless another process did or does."""
        for owner in self._notes.owners():
            if owner != self._keeper.name:
                found = self._ask(owner, name)
                if found is not None:
                    return found
        until = time.monotonic() + _OTHERS_SECONDS
        while time.monotonic() < until:
            claimed = self._claim_once(name, order)
            if claimed is not None:
                return claimed
            time.sleep(0.005)
        raise OutcomeUnknown("another process is making this sandbox and has not finished")

    def _claim_once(self, name: str, order: SandboxOrder) -> Note | Made | None:
        note = self._notes.claim(
            name, reference=order.reference, vcpu=order.vcpu, memory_mib=order.memory_mib
        )
        if note is not None:
            return note
        found = self._notes.get(name)
        if found is None or found.is_left_over:
            list(self._notes.all())  # sweeps
            return None
        if not found.handle:
            return None
        return Made(handle=found.handle, vcpu=found.vcpu, memory_mib=found.memory_mib)

    def _ask(self, owner: str, name: str) -> Made | None:
        try:
            answer = ask(str(self._notes.folder), owner, op="life", name=name)
        except TimeoutError as error:
            raise OutcomeUnknown("a process that may have made this sandbox does not answer") from error
        return Made(**answer["made"]) if answer else None

    # --- the process -------------------------------------------------------------------------------------------------

    def _start(
        self,
        name: str,
        order: SandboxOrder,
        image: Image,
        fields: Mapping[str, Mapping[str, str]],
        note: Note,
        group: Group | None,
    ) -> Made:
        launch = Launch(
            bwrap=self._bwrap,
            image=image,
            home_bytes=self._home_bytes(order),
            tmp_bytes=order.memory_mib << 17,
            seccomp=self._filter,
        )
        with _listening(self._notes.folder, name) as listener:
            spawned = self._keeper.call(lambda: bubblewrap.spawn(launch, listener))
            started = bubblewrap.wait_for_child(*spawned)
            try:
                told = packed({**fields, "what": {"listener": str(listener.fileno())}})
                return self._begin(name, order, note, group, started, told)
            except BaseException:
                started.abandon()
                raise

    def _begin(
        self, name: str, order: SandboxOrder, note: Note, group: Group | None, started: Started, told: bytes
    ) -> Made:
        """Let the first process go, once it is held to its size."""
        if group is not None:
            group.add(started.pid)
        else:
            allowed = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(started.pid, secrets.SystemRandom().sample(allowed, order.vcpu))
        pidfd = os.pidfd_open(started.pid)
        try:
            bubblewrap.let_go(started, told)
            handle = self._handle(name, started.pid, group)
            made = Made(handle=handle.dump(), vcpu=order.vcpu, memory_mib=order.memory_mib)
            self._notes.change(name, note, handle=made.handle)
            self._keeper.adopt(
                Record(
                    handle=handle,
                    made=made,
                    process=started.process,
                    pidfd=pidfd,
                    groups=() if group is None else group.folders,
                    bounds=usage.bounds_of(order.memory_mib, held=group is not None),
                    deadline_ns=handle.ready_ns + int(order.seconds * _SECOND),
                )
            )
        except BaseException:
            os.close(pidfd)
            raise
        started.close()
        return made

    def _handle(self, name: str, pid: int, group: Group | None) -> Handle:
        """Name a sandbox that is ready at this moment."""
        ready_ns = now_ns()
        began = start_of(pid)
        if began is None:
            raise StartFailed("it ended at once")
        return Handle(
            host=this_host(),
            name=name,
            folder=str(self._notes.folder),
            owner=self._keeper.name,
            pid=pid,
            started=began,
            ready_ns=ready_ns,
            memory_events="" if group is None else group.memory_events,
        )


def _at_most(value: int, name: str) -> int:
    """A limit that may be set, for nobody raises what this process is held to itself."""
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
    if hard == resource.RLIM_INFINITY:
        return value
    return min(value, hard - _SPARE_PIDS) if name == "NPROC" else min(value, hard)


@contextlib.contextmanager
def _listening(folder: Path, name: str) -> Iterator[socket.socket]:
    """A socket for the agent, in the folder that only our user may enter."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        with address(str(folder), f"{name}.sock") as path:
            listener.bind(path)
        listener.listen(64)
        yield listener
