"""The suite for E2B itself: said to be left out without a key, and fit to run with one."""

import pytest

from tests.providers.e2b_emulator import API_KEY, E2BEmulator
from tests.providers.live_suites import left_out, pytest_run

SUITE = "tests/providers/test_e2b_live.py"
LEFT_OUT = "E2B itself: not run (no E2B_API_KEY)"
EXPECTED = "E2B_API_KEY: expected a key of E2B"


@pytest.mark.slow
def test_a_run_without_a_key_says_so() -> None:
    """The suite is neither run nor skipped; who asks for it by name is told what is missing."""
    left_out(SUITE, LEFT_OUT, EXPECTED)


@pytest.mark.slow
def test_with_a_key_it_is_collected() -> None:
    """All of it, and nothing is said to be left out."""
    run = pytest_run("tests/providers", "--collect-only", E2B_API_KEY="e2b_x")
    assert (0, False) == (run.returncode, LEFT_OUT in run.stdout)
    assert f"{SUITE}::test_e2b_itself[deadline_comes]" in run.stdout


@pytest.mark.slow
def test_it_runs(e2b_emulator: E2BEmulator) -> None:
    """Against the emulator, found by the SDK's own settings, and leaves nothing there."""
    run = pytest_run(
        SUITE, E2B_API_KEY=API_KEY, E2B_API_URL=e2b_emulator.url, E2B_SANDBOX_URL=e2b_emulator.url
    )
    assert 0 == run.returncode, run.stdout + run.stderr
    assert " passed" in run.stdout
    assert e2b_emulator.control.created > 0
    assert {} == e2b_emulator.control.machines
