"""What tests of services share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.yard import Yard


@pytest.fixture
def yard(database_url: str, tmp_path: Path) -> Iterator[Yard]:
    """Ann has 356 rUv and 100 dollars."""
    with Yard(database_url, tmp_path) as yard:
        yield yard
