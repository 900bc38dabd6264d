"""Holding a sandbox to its size by the kernel: control groups, where this process may make them.

Groups are made beneath this process's own, so that whatever holds this process holds its sandboxes as well. Version 1 has a
tree for each controller; version 2 has one, in which a group with members cannot have groups with limits: there, this
process moves into a group of its own beside them, which is what delegating a tree to a service is for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

PERIOD_US: Final = 100_000
CONTROLLERS: Final = ("memory", "pids", "cpu")
PREFIX: Final = "tally-"
_OURS: Final = "tally-service"
_PART_FOR_SOCKETS: Final = 8  # beside the memory, where version 1 counts it
_REMOVE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a sandbox may use."""

    vcpu: int
    memory_mib: int
    pids: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The groups of one sandbox: a folder for each tree."""

    folders: tuple[Path, ...]
    memory_events: str

    def add(self, pid: int) -> None:
        """Put a process under the limits, and all that it starts from now on."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")


class Trees(Protocol):
    """Where groups are made."""

    def make(self, name: str, size: Size) -> Group:
        """Make the groups of a sandbox. Raises ``OSError``: then none is left."""
        ...


def remove(folders: Sequence[Path]) -> None:
    """Remove groups; the kernel lets go of the last member a moment after it died."""
    until = time.monotonic() + _REMOVE_SECONDS
    for folder in folders:
        while True:
            try:
                folder.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > until:
                    break
                time.sleep(0.001)
            else:
                break


def _write(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(str(value), encoding="ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesV1:
    """Version 1: the folder of this process in the tree of each controller."""

    parents: dict[str, Path] = field(default_factory=dict)

    def make(self, name: str, size: Size) -> Group:
        """Make a group in each tree."""
        folders = {controller: self.parents[controller] / f"{PREFIX}{name}" for controller in CONTROLLERS}
        own = tuple(dict.fromkeys(folders.values()))
        try:
            for folder in own:
                folder.mkdir()
            self._limit(folders, size)
        except OSError:
            remove(own)
            raise
        return Group(folders=own, memory_events=str(folders["memory"] / "memory.oom_control"))

    @staticmethod
    def _limit(folders: dict[str, Path], size: Size) -> None:
        memory = size.memory_mib << 20
        _write(folders["memory"], "memory.limit_in_bytes", memory)
        with contextlib.suppress(OSError):  # a kernel without accounting of swap has no such file
            _write(folders["memory"], "memory.memsw.limit_in_bytes", memory)
        with contextlib.suppress(OSError):  # counted apart from the memory, and not at all without a limit
            _write(folders["memory"], "memory.kmem.tcp.limit_in_bytes", memory // _PART_FOR_SOCKETS)
        _write(folders["pids"], "pids.max", size.pids)
        _write(folders["cpu"], "cpu.cfs_period_us", PERIOD_US)
        _write(folders["cpu"], "cpu.cfs_quota_us", PERIOD_US * size.vcpu)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesV2:
    """Version 2: a folder in which all controllers are switched on for the groups beneath."""

    parent: Path

    def make(self, name: str, size: Size) -> Group:
        """Make the group."""
        folder = self.parent / f"{PREFIX}{name}"
        try:
            folder.mkdir()
            _write(folder, "memory.max", size.memory_mib << 20)
            with contextlib.suppress(OSError):
                _write(folder, "memory.swap.max", 0)
            _write(folder, "pids.max", size.pids)
            _write(folder, "cpu.max", f"{PERIOD_US * size.vcpu} {PERIOD_US}")
        except OSError:
            remove((folder,))
            raise
        return Group(folders=(folder,), memory_events=str(folder / "memory.events"))


def find(*, mounts: str | None = None, memberships: str | None = None) -> Trees | None:
    """Where this process can make groups with all limits, found out by making one; None where it cannot."""
    mounts = _told("mountinfo") if mounts is None else mounts
    memberships = _told("cgroup") if memberships is None else memberships
    for found in (_first(mounts, memberships), _second(mounts, memberships)):
        if found is None:
            continue
        try:
            remove(
                found.make(
                    f"{os.getpid()}-probe-{time.monotonic_ns()}", Size(vcpu=1, memory_mib=64, pids=8)
                ).folders
            )
        except OSError:
            continue
        return found
    return None


def _told(name: str) -> str:
    """What the kernel says of this process; names of folders in it need not be text."""
    return os.fsdecode(Path("/proc/self", name).read_bytes())


def _first(mounts: str, memberships: str) -> Trees | None:
    parents = {}
    for line in memberships.splitlines():
        _, names, path = line.split(":", 2)
        for name in set(names.split(",")) & set(CONTROLLERS):
            mounted = _mounted(mounts, "cgroup", name, path)
            if mounted is not None:
                parents[name] = mounted
    return TreesV1(parents=parents) if len(parents) == len(CONTROLLERS) else None


def _second(mounts: str, memberships: str) -> Trees | None:
    path = next((line[3:] for line in memberships.splitlines() if line.startswith("0::")), None)
    parent = None if path is None else _mounted(mounts, "cgroup2", "", path)
    if parent is None:
        return None
    if parent.name == _OURS:  # another provider of this process was here before
        parent = parent.parent
    try:
        if not set(CONTROLLERS) <= set((parent / "cgroup.controllers").read_text(encoding="ascii").split()):
            return None
        _delegate(parent)
    except OSError:
        return None
    return TreesV2(parent=parent)


def _delegate(parent: Path) -> None:
    """Switch the controllers on beneath a group that is ours alone, by leaving it first."""
    active = set((parent / "cgroup.subtree_control").read_text(encoding="ascii").split())
    if set(CONTROLLERS) <= active:
        return
    members = set((parent / "cgroup.procs").read_text(encoding="ascii").split())
    if members - {str(os.getpid())}:  # others live here: this tree was not given to us
        raise PermissionError
    if members:
        ours = parent / _OURS
        ours.mkdir(exist_ok=True)
        _write(ours, "cgroup.procs", os.getpid())
    _write(parent, "cgroup.subtree_control", " ".join(f"+{name}" for name in CONTROLLERS))


def _mounted(mounts: str, kind: str, controller: str, path: str) -> Path | None:
    """The folder of a group, by where its tree is mounted: the mount may show a part of the tree only."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        found, _, options = after.split(" ", 2)  # the name of what is mounted may be empty
        if found != kind or (controller and controller not in options.split(",")):
            continue
        if root == "/":
            return Path(point + path) if path != "/" else Path(point)
        if path == root or path.startswith(f"{root}/"):
            return Path(point + path[len(root) :])
    return None
