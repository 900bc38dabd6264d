"""One server for each test, on each database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.api.door import Door


@pytest.fixture
def door(database_url: str, tmp_path: Path) -> Iterator[Door]:
    """A server with one customer, ``ann``, who has 100 credits and 5 dollars."""
    with Door(database_url, tmp_path) as found:
        yield found
