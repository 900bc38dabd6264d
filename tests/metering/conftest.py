"""The wallet that tests of adapters charge."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.metering.till import WAYS, Till, opened


@pytest.fixture(params=WAYS)
def till(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Till]:
    """Embedded on each database, and by a billing server."""
    engine = "sqlite" if request.param == "elsewhere" else request.param
    with opened(request.param, request.getfixturevalue(f"{engine}_url"), tmp_path) as made:
        yield made
