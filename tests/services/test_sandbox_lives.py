"""Thousands of sandbox lives with stops, deaths, faults, clock jumps and services that die: billed time is lived time.

The rules, for each life that has ended: what was billed is exactly the price of its billed milliseconds; nothing is billed
that was not lived; and what was lived and not billed is at most what passed since the last heartbeat of a service that
died, always in the customer's favour. Holds of what has ended are gone, and the audit finds nothing.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.sandboxes import cost_of
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.services.context import SYSTEM
from tallystick.services.sandbox_keeper import BEAT_MICROS
from tests.services.scripted_sandboxes import ScriptedSandboxes
from tests.services.yard import Yard

BEAT_MS = BEAT_MICROS // 1000
FEW, MANY, SEEDS = 150, 10_000, 4
# No machine loses its current in these lives, so nothing has to reach a disk.
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there


class Lives:
    """A random history: at most five sandboxes at a time, and now and then something goes wrong."""

    def __init__(self, yard: Yard, seed: int) -> None:
        self.yard = yard
        self.random = random.Random(seed)
        self.open: list[str] = []
        self.begun = 0
        self.left_behind: set[str] = set()  # by a service that died, on a machine of its own

    def live(self, lives: int) -> None:
        """Go on until so many have begun and all have ended."""
        while self.begun < lives or self.open:
            self.step(begin=self.begun < lives)

    def step(self, *, begin: bool) -> None:
        """One thing happens, then some time passes."""
        chance = self.random.random()
        if begin and len(self.open) < 5 and chance < 0.5:
            self.make()
        elif self.open and chance < 0.75:
            self.use(self.random.choice(self.open))
        elif chance < 0.80:
            self.yard.provider.faults.append(OutcomeUnknown("no answer"))
        elif chance < 0.83:
            self.jump()
        elif chance < 0.86:
            self.die()
        self.pass_time(self.random.choice((0.2, 1.0, 3.7, 12.0, 40.0, 170.0)))
        self.look()

    def make(self) -> None:
        """Somebody makes one, or is refused."""
        provider = self.yard.provider
        fault = self.random.random()
        if fault < 0.03:
            provider.refusals.append(ProviderRefused("no room"))
        elif fault < 0.06:
            provider.lost_answers += 1
        timeout = self.random.choice((5, 60, 200, 900, 3600))
        size = self.random.choice(((1, 512), (2, 512), (8, 4096)))
        self.begun += 1
        refusals = (errors.SandboxFailed, errors.RateLimited, errors.PlanLimitReached)
        with contextlib.suppress(*refusals):
            self.open.append(self.yard.make(timeout=timeout, vcpu=size[0], memory_mib=size[1]))

    def use(self, sandbox: str) -> None:
        """Somebody does something with one; it may be gone by then."""
        sandboxes, ann = self.yard.tally.sandboxes, self.yard.ann
        handle = self.yard.row(sandbox).handle
        what = self.random.random()
        refusals = (errors.SandboxNotRunning, errors.SandboxFailed, errors.PlanLimitReached, errors.Conflict)
        with contextlib.suppress(*refusals):
            if what < 0.3:
                self.yard.run(sandbox)
            elif what < 0.5:
                sandboxes.stop(ann, sandbox)
            elif what < 0.6:
                sandboxes.delete(ann, sandbox)
            elif what < 0.7:
                sandboxes.extend(ann, sandbox, timeout=self.random.choice((10, 600)))
            elif what < 0.85 and handle is not None:
                self.yard.provider.crash(handle, self.random.choice(("crashed", "memory", "gone")))
            elif handle is not None:
                self.yard.provider.crash(handle, "killed")

    def jump(self) -> None:
        """The wall clock is set, which no steady clock notices."""
        self.yard.world.clock.micros += self.random.choice((-3600, -5, 5, 600)) * 1_000_000

    def die(self) -> None:
        """The service is killed; another process is there half a minute later and takes over what it left."""
        if self.yard.provider.name == "local":  # where sandboxes die with it
            self.left_behind.update(self.open)
            for handle in self.yard.provider.boxes:
                self.yard.provider.crash(handle)
        self.yard.replace_process()

    def pass_time(self, seconds: float) -> None:
        """Time passes, with a turn of the keeper each second or each beat."""
        self.yard.pass_time(seconds, turn=min(BEAT_MS / 1000, max(seconds / 4, 0.2)))

    def look(self) -> None:
        """What has ended was billed for exactly what it lived."""
        for sandbox in list(self.open):
            row = self.yard.row(sandbox)
            if row.is_open:
                continue
            self.open.remove(sandbox)
            assert row.cost == cost_of(row.size, row.metered_ms)
            if row.status == "failed":
                assert 0 == row.metered_ms
                continue
            lived = self.yard.lived(sandbox)
            assert row.metered_ms <= lived, (sandbox, row, lived)
            most = BEAT_MS if sandbox in self.left_behind else 0
            assert lived - row.metered_ms <= most, (sandbox, row, lived)


def _run(database_url: str, folder: Path, lives: int, seed: int, *, kind: str) -> None:
    with Yard(database_url, folder, provider=ScriptedSandboxes(name=kind)) as yard:
        yard.tally.grants.create(
            SYSTEM, customer="ann", amount=1_000_000, unit="USD", category="bonus", idempotency_key="lives"
        )
        yard.tally.grants.create(
            SYSTEM, customer="ann", amount=1_000_000, category="bonus", idempotency_key="l2"
        )
        Lives(yard, seed).live(lives)
        yard.pass_time(400, turn=40)
        balance = yard.world.balance("USD")
        assert (0, 0) == (balance.held, yard.world.balance("rUv").held)
        total = sum(row.cost.total for row in yard.all_rows())
        assert total == balance.spent
        yard.provider.faults.clear()
        assert {} == dict(yard.provider.running())


@pytest.mark.parametrize("kind", ["hosted", "local"])
def test_some_lives_are_billed_as_lived(database_url: str, tmp_path: Path, kind: str) -> None:
    """A short history, on both databases."""
    _run(database_url, tmp_path, FEW, 1, kind=kind)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", ["hosted", "local"])
def test_ten_thousand_lives_are_billed_as_lived(kind: str, seed: int) -> None:
    """A long one, to the millisecond."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        _run(f"sqlite:///{folder}/lives.db", Path(folder), MANY // (2 * SEEDS), 2026 + seed, kind=kind)
