"""Sandboxes on this machine: how soon one is ready, answers and is gone, twenty at once, and what a thousand leave."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from bench.results import Result
from bench.settings import Settings
from tallystick.ports.sandboxes import Command, SandboxOrder
from tallystick.providers.local import LocalSandboxes, cgroups

AT_ONCE: Final = 20
_TRUE: Final = Command(language="bash", code="true", timeout_seconds=10.0)
_TARGETS_MS: Final = {"create": 100, "execute": 10, "kill": 20}
_BESIDE: Final = {
    "create": ("Python alone", ("/usr/bin/python3", "-I", "-S", "-c", "")),
    "execute": ("without a sandbox", ("bash", "-c", "true")),
    "kill": ("", ()),
}
_WHAT: Final = {
    "create": "a sandbox from the order to ready",
    "execute": "`true` in a sandbox that runs",
    "kill": "the end of a sandbox, with all that it leaves taken away",
}
_numbers = itertools.count()
T = TypeVar("T")


def measure_sandboxes(settings: Settings) -> list[Result]:
    """Medians over lives, one after the other; twenty at once; and many in a row, of which nothing is left."""
    with TemporaryDirectory(dir=settings.folder) as folder:
        local = LocalSandboxes(state_dir=Path(folder) / "state")
        try:
            return [
                *_one_by_one(local, settings.sandbox_lives),
                _at_once(local),
                _in_a_row(local, Path(folder) / "state", settings.sandboxes_in_a_row),
            ]
        finally:
            local.close()


def _one_by_one(local: LocalSandboxes, lives: int) -> list[Result]:
    found: dict[str, list[float]] = {name: [] for name in _TARGETS_MS}
    beside: dict[str, list[float]] = {name: [] for name in _TARGETS_MS}
    for _ in range(lives):
        for name, (_, command) in _BESIDE.items():
            if command:
                _timed(beside[name], partial(subprocess.run, command, check=True))
        handle = _timed(found["create"], partial(_create, local))
        for _ in range(5):
            _timed(found["execute"], partial(local.execute, handle, _TRUE))
        _timed(found["kill"], partial(local.kill, handle))
    return [
        Result(
            name=f"sandboxes_{name}",
            what=f"{_WHAT[name]}, median of {len(times)}",
            figure=round(median(times), 1),
            unit="ms",
            beside=_BESIDE[name][0],
            beside_figure=round(median(beside[name]), 1) if beside[name] else None,
            target=f"below {_TARGETS_MS[name]} ms",
            met=median(times) < _TARGETS_MS[name],
            details={"p95": round(quantiles(times, n=20)[-1], 1), "limits": local.capabilities.limits},
        )
        for name, times in found.items()
    ]


def _at_once(local: LocalSandboxes) -> Result:
    """Twenty made, used and ended by as many threads."""

    def live(_: int) -> None:
        handle = _create(local)
        if local.execute(handle, _TRUE).exit_code != 0:
            raise RuntimeError("a command failed")
        ready.wait()
        local.kill(handle)

    ready = threading.Barrier(AT_ONCE)  # so that all of them run at the same time
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(live, range(AT_ONCE)))
    seconds = time.perf_counter() - started
    return Result(
        name="sandboxes_at_once",
        what=f"{AT_ONCE} sandboxes at once: made, used and ended",
        figure=round(seconds * 1_000, 1),
        unit="ms",
        beside="",
        beside_figure=None,
        target="all of them",
        met=True,
    )


def _in_a_row(local: LocalSandboxes, state: Path, row: int) -> Result:
    before = leftovers(state)
    started = time.perf_counter()
    for _ in range(row):
        handle = _create(local)
        local.execute(handle, _TRUE)
        local.kill(handle)
    seconds = time.perf_counter() - started
    after = leftovers(state)
    return Result(
        name="sandboxes_in_a_row",
        what=f"{row:,} sandboxes made, used and ended in a row",
        figure=round(row / seconds, 1),
        unit="sandboxes/s",
        beside="",
        beside_figure=None,
        target="nothing is left",
        met=after == before,
        details={"before": before, "after": after},
    )


def leftovers(state: Path) -> dict[str, int]:
    """How much there is on this machine of all that a sandbox of this process could leave."""
    trees = cgroups.find()
    folders: set[Path] = set()
    if isinstance(trees, cgroups.TreesV1):
        folders = set(trees.parents.values())
    elif isinstance(trees, cgroups.TreesV2):
        folders = {trees.parent}
    return {
        "processes": sum(_is_ours(path) for path in Path("/proc").glob("[0-9]*/stat")),
        "mounts": len(Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()),
        "groups": sum(1 for folder in folders for _ in folder.glob(f"{cgroups.PREFIX}{os.getpid()}-*")),
        "files": sum(1 for _ in state.iterdir()),
        "descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "threads": threading.active_count(),
    }


def _is_ours(stat: Path) -> bool:
    """Whether a process is a child of this one, dead or alive."""
    try:
        return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1] == str(
            os.getpid()
        )
    except OSError:
        return False


def _create(local: LocalSandboxes) -> str:
    number = f"bench:{next(_numbers)}"
    order = SandboxOrder(reference=number, template="python", vcpu=1, memory_mib=128, seconds=600.0)
    return local.create(order, key=number).handle


def _timed(times: list[float], act: Callable[[], T]) -> T:
    started = time.perf_counter()
    answer = act()
    times.append((time.perf_counter() - started) * 1_000)
    return answer
