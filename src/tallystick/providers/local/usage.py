"""Watching what a sandbox uses, where the kernel does not hold it: its memory, and the files in its memory.

Everything is seen through the sandbox's own ``/proc`` and mounts, which those inside cannot change. What no process has
mapped and no file or socket holds is not seen: that is why the filter forbids the calls that make such memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick.ports.sandboxes import EndReason

WRITABLE: Final = ("home/user", "tmp", "dev/shm")  # all of them file systems in memory, of a limited size
_FEW_SOCKETS: Final = 16  # in all of a sandbox: they are not looked at, for that is slow on a large machine
_UNIX_BYTES: Final = 256 << 10  # what one may keep; nothing tells what it does
_INODES_PER_MIB: Final = 128  # about 1 KiB of the kernel's memory each: an eighth of what the sandbox has


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What ends a sandbox: more files than this, and more memory than this where no group holds it (else None)."""

    inodes: int
    memory_bytes: int | None


def bounds_of(memory_mib: int, *, held: bool) -> Bounds:
    """What a sandbox of this size may use."""
    return Bounds(inodes=memory_mib * _INODES_PER_MIB, memory_bytes=None if held else memory_mib << 20)


def beyond(pid: int, bounds: Bounds) -> EndReason | None:
    """Why a sandbox has to end now, told by its first process."""
    root = f"/proc/{pid}/root"
    files = 0
    for folder in WRITABLE:
        try:
            found = os.statvfs(f"{root}/{folder}")
        except OSError:  # it ends at this moment
            return None
        if found.f_files - found.f_ffree > bounds.inodes:
            return "disk"
        files += (found.f_blocks - found.f_bfree) * found.f_frsize
    if bounds.memory_bytes is None:
        return None
    kept = files + _in_sockets(pid)
    processes = _processes(root)
    # What processes share is counted once for each at first, and exactly only where that is too much.
    much = kept + sum(map(_resident, processes)) > bounds.memory_bytes
    return "memory" if much and kept + sum(map(_proportional, processes)) > bounds.memory_bytes else None


def _in_sockets(pid: int) -> int:
    """What waits to be read from sockets; a Unix socket is taken for full."""
    network = Path(f"/proc/{pid}/net")
    if not any(int(line.split()[2]) > _FEW_SOCKETS for line in _lines(network / "sockstat", b"sockets:")):
        return 0
    waiting = 0
    for family in ("tcp", "tcp6", "udp", "udp6"):
        for line in _lines(network / family)[1:]:
            sent, _, received = line.split()[4].partition(b":")
            waiting += int(sent, 16) + int(received, 16)
    return waiting + _UNIX_BYTES * len(_lines(network / "unix")[1:])


def _processes(root: str) -> list[Path]:
    try:
        return [Path(f"{root}/proc/{name}") for name in os.listdir(f"{root}/proc") if name.isdigit()]  # noqa: PTH208
    except OSError:
        return []


def _resident(process: Path) -> int:
    return _sum(process / "status", (b"RssAnon:", b"RssShmem:", b"VmPTE:"))


def _proportional(process: Path) -> int:
    return _sum(process / "smaps_rollup", (b"Pss:",)) + _sum(process / "status", (b"VmPTE:",))


def _sum(file: Path, names: tuple[bytes, ...]) -> int:
    return sum(int(line.split()[1]) for line in _lines(file, names)) << 10


def _lines(file: Path, names: bytes | tuple[bytes, ...] = b"") -> list[bytes]:
    """The lines that begin so; none where it ends at this moment."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return []
    return [line for line in lines if line.startswith(names)]
