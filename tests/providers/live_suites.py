"""Running pytest itself, for the suites that need a key of somebody's service."""

import subprocess
import sys
from pathlib import Path

from tests.servers import clean_environ

ROOT = Path(__file__).parent.parent.parent


def pytest_run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run some tests with these settings and none of ours."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments],
        cwd=ROOT,
        env=clean_environ() | settings,
        check=False,
        capture_output=True,
        text=True,
    )


def left_out(suite: str, words: str, expected: str) -> str:
    """Collect without a key: the suite is neither run nor skipped; gives what was printed.

    Who asks for it by name is told what is missing.
    """
    run = pytest_run("tests/providers", "--collect-only")
    assert (0, True) == (run.returncode, words in run.stdout.splitlines())
    assert f"{suite}::" not in run.stdout
    assert "skipped" not in run.stdout
    asked = pytest_run(suite, "--collect-only")
    assert (False, True) == (asked.returncode == 0, expected in asked.stdout)
    return run.stdout
