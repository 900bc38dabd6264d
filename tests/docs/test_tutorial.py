"""The tutorial, as a reader follows it."""

from pathlib import Path

import pytest

from tests.docs.console import Shell, read

TUTORIAL = Path(__file__).parent.parent.parent / "docs" / "tutorial.md"


@pytest.mark.slow
def test_the_tutorial_works_and_shows_what_it_says(database_url: str, tmp_path: Path) -> None:
    """Every file is saved and every command run, in order, and prints what stands below it."""
    with Shell(tmp_path, database_url) as shell:
        for step in read(TUTORIAL):
            shell.do(step)
