"""Sandboxes that an earlier process left at a provider that is not used any more, as when the operator chose another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tests.services.scripted_sandboxes import ScriptedSandboxes
from tests.services.yard import Yard


def _replace(yard: Yard, provider: ScriptedSandboxes | None) -> None:
    """The service is killed, and started anew with another provider or with none."""
    yard.tally.context.commit.close()
    yard.tally.database.close()
    yard.world.sandboxes = provider
    yard.tally = yard.world.tally = yard.world.open()
    if provider is None:
        yard.tally.use_sandboxes(None)
    else:
        yard.provider = provider


@pytest.mark.parametrize("after", ["hosted", None])
def test_local_ones_end_with_their_process(database_url: str, tmp_path: Path, after: str | None) -> None:
    """They are billed as far as they were seen, and hold nothing any more."""
    with Yard(database_url, tmp_path, provider=ScriptedSandboxes(name="local")) as yard:
        sandbox = yard.make(timeout=3600)
        yard.pass_time(20, turn=5)
        _replace(yard, None if after is None else ScriptedSandboxes(name=after))
        yard.pass_time(60, turn=5)
        assert (("stopped", "host_restart"), 20_000) == (yard.state(sandbox), yard.row(sandbox).metered_ms)
        assert 0 == yard.world.balance("USD").held


def test_a_local_one_that_is_gone_ended_with_its_process(database_url: str, tmp_path: Path) -> None:
    """Whoever sees it first, be it somebody who uses it; and what was running in it costs nothing."""
    with Yard(database_url, tmp_path, provider=ScriptedSandboxes(name="local")) as yard:
        sandbox = yard.make(timeout=3600)
        yard.provider.during = lambda: yard.provider.crash(yard.row(sandbox).handle or "", "gone")
        with pytest.raises(errors.SandboxNotRunning):
            yard.run(sandbox)
        assert ("stopped", "host_restart") == yard.state(sandbox)
        assert 355 * MICROS == yard.available("rUv")


@pytest.mark.parametrize("after", ["local", None])
def test_hosted_ones_are_closed_when_they_must_have_died(
    database_url: str, tmp_path: Path, after: str | None
) -> None:
    """Until then whoever uses their provider may come back; nobody is told that they were stopped."""
    with Yard(database_url, tmp_path) as yard:
        sandbox = yard.make(timeout=3600)
        yard.pass_time(20, turn=5)
        _replace(yard, None if after is None else ScriptedSandboxes(name=after))
        yard.pass_time(600, turn=30)
        assert "running" == yard.state(sandbox)[0]
        with pytest.raises(errors.SandboxFailed, match="runs at hosted, which this server does not use"):
            yard.tally.sandboxes.stop(yard.ann, sandbox)
        with pytest.raises(errors.SandboxFailed if after else errors.SandboxesUnavailable):
            yard.run(sandbox)
        assert 0 == yard.world.balance("rUv").held
        yard.pass_time(3600, turn=60)
        assert (("stopped", "provider_gone"), 20_000) == (yard.state(sandbox), yard.row(sandbox).metered_ms)
        assert 0 == yard.world.balance("USD").held


def test_a_provider_that_is_back_goes_on_with_its_own(database_url: str, tmp_path: Path) -> None:
    """Nothing was lost while another was used for a while."""
    with Yard(database_url, tmp_path) as yard:
        hosted = yard.provider
        sandbox = yard.make(timeout=3600)
        yard.pass_time(20, turn=5)
        _replace(yard, ScriptedSandboxes(name="local"))
        yard.pass_time(60, turn=5)
        hosted.advance(60_000)
        _replace(yard, hosted)
        yard.pass_time(900, turn=5)
        assert ("running", None) == yard.state(sandbox)
        yard.tally.sandboxes.stop(yard.ann, sandbox)
        assert 980_000 == yard.row(sandbox).metered_ms == yard.lived(sandbox)
