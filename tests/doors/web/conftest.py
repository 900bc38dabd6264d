"""A server with all its doors, and somebody at a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.web.browser import Site


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """A server with simulated payments."""
    with Site(database_url, tmp_path) as found:
        yield found
