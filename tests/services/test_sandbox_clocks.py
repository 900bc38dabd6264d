"""Sandboxes while the clock of the machine is set: kept and billed as before, and no process is taken to be gone."""

from __future__ import annotations

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.services.context import SYSTEM
from tests.services.yard import Yard


def _set_clock(yard: Yard, seconds: int) -> None:
    """Only the clock on the wall; what lives goes on as before."""
    yard.world.clock.micros += seconds * MICROS


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_sandbox_is_kept_when_the_clock_is_set(yard: Yard, seconds: int) -> None:
    """Its leases are renewed and it is seen at each beat, whatever the clock says."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(20, turn=1)
    _set_clock(yard, seconds)
    yard.pass_time(20, turn=1)
    assert yard.row(sandbox).beat_ms >= 35_000
    yard.pass_time(1000, turn=5)
    assert "running" == yard.state(sandbox)[0]
    yard.tally.sandboxes.stop(yard.ann, sandbox)
    assert 1_040_000 == yard.row(sandbox).metered_ms == yard.lived(sandbox)


def test_what_a_lost_creation_held_comes_back_when_the_clock_is_set_back(yard: Yard) -> None:
    """Within minutes, and not an hour later."""
    yard.provider.lost_answers = 1
    with pytest.raises(errors.SandboxFailed):
        yard.make()
    _set_clock(yard, -3600)
    yard.pass_time(180, turn=5)
    assert {} == yard.provider.running()
    assert (356 * MICROS, 100 * MICROS) == (yard.available("rUv"), yard.available())


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_set_makes_no_process_silent(yard: Yard, seconds: int) -> None:
    """Two processes beat by turns: each keeps what is its own."""
    sandbox = yard.make(timeout=3600)
    first = yard.row(sandbox).process_id
    other = yard.world.open()
    try:
        for leap in (0, seconds, 0):
            _set_clock(yard, leap)
            for _ in range(60):
                other.sandbox_keeper.run_once()
                yard.pass_time(1)
        assert first == yard.row(sandbox).process_id
    finally:
        other.close()


def test_one_that_died_before_the_clock_was_set_back_is_missed_soon(yard: Yard) -> None:
    """That its last word lies in the future does not keep it alive."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(20, turn=1)
    first = yard.row(sandbox).process_id
    other = yard.world.open()
    try:
        other.sandbox_keeper.run_once()
        _set_clock(yard, -3600)
        for _ in range(60):
            yard.pass_time(1, keep=False)
            other.sandbox_keeper.run_once()
        assert first != yard.row(sandbox).process_id
    finally:
        other.close()


def test_sandboxes_can_be_made_after_the_clock_was_set_back(yard: Yard) -> None:
    """Those that seem to be of the future are not of this second."""
    yard.tally.plans.change(SYSTEM, customer="ann", plan="pro")
    for _ in range(5):
        yard.make()
    _set_clock(yard, -3600)
    yard.make()
