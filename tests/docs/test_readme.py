"""The README's commands, as a new user runs them."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.console import Command, Shell, read

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"


@pytest.mark.slow
def test_the_quick_start_works_and_shows_what_it_says(database_url: str, tmp_path: Path) -> None:
    """Every command of the README, in order, against a real server, prints what stands below it."""
    with Shell(tmp_path, database_url) as shell:
        steps = read(README)
        for step in steps:
            shell.do(step)
    done = [step.text.partition(" ")[0] for step in steps if isinstance(step, Command)]
    assert {"make", "tally", "curl"} <= set(done)


def test_make_serve_runs_the_server_that_the_readme_promises() -> None:
    """`make serve` ends with `tally serve` on 127.0.0.1:8080, and its overrides reach the server."""
    command = ["make", "--dry-run", "serve", "ECONOMY=flux", "DATABASE_URL=sqlite:///other.db"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert re.search(r'tally serve --host 127\.0\.0\.1 --port "8080"$', done.stdout, re.MULTILINE)
    assert 'TALLY_ECONOMY="$ECONOMY"' in done.stdout
    assert 'TALLY_DATABASE_URL="$DATABASE_URL"' in done.stdout
