"""The pictures of the documentation: made by one command, small, and all of them shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.screenshots import FOLDER, take

LARGEST = 150_000


@pytest.mark.slow
def test_the_pictures_can_be_made_anew(tmp_path: Path) -> None:
    """The command makes exactly the pictures that there are."""
    made = take(tmp_path)
    assert sorted(each.name for each in FOLDER.iterdir()) == sorted(each.name for each in made)
    assert b"\x89PNG" == made[0].read_bytes()[:4]


def test_the_pictures_are_small() -> None:
    """Whoever clones the repository gets them all."""
    assert [] == [each.name for each in FOLDER.iterdir() if each.stat().st_size > LARGEST]
