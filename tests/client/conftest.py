"""Clients of a running server, with one customer, ``ann``, who has 100 credits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.client import TallyClient
from tests.doors.api.door import ADMIN, Door


@pytest.fixture
def door(sqlite_url: str, tmp_path: Path) -> Iterator[Door]:
    """A server; what it does with its database is shown elsewhere."""
    with Door(sqlite_url, tmp_path, test_mode=True) as found:
        yield found


@pytest.fixture
def client(door: Door) -> Iterator[TallyClient]:
    """An admin's client."""
    with TallyClient(api_key=ADMIN, base_url=door.url) as found:
        yield found
