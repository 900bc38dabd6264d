"""The suite for E2B itself: said to be left out without a key, and fit to run with one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.providers.e2b_emulator import API_KEY, E2BEmulator
from tests.servers import clean_environ

SUITE = "tests/providers/test_e2b_live.py"
LEFT_OUT = "E2B itself: not run (no E2B_API_KEY)"
EXPECTED = "E2B_API_KEY: expected a key of E2B"
ROOT = Path(__file__).parent.parent.parent


def pytest_run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments],
        cwd=ROOT,
        env=clean_environ() | settings,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_run_without_a_key_says_so() -> None:
    """The suite is neither run nor skipped; who asks for it by name is told what is missing."""
    run = pytest_run("tests/providers", "--collect-only")
    assert (0, True) == (run.returncode, LEFT_OUT in run.stdout.splitlines())
    assert f"{SUITE}::" not in run.stdout
    assert "skipped" not in run.stdout
    asked = pytest_run(SUITE, "--collect-only")
    assert (False, True) == (asked.returncode == 0, EXPECTED in asked.stdout)


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
