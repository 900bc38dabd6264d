"""A simulated provider for each test, on each database."""

from collections.abc import Iterator

import pytest

from tests.providers.simulated.simulation import Simulation


@pytest.fixture
def simulation(database_url: str) -> Iterator[Simulation]:
    """A simulated provider on an empty database."""
    found = Simulation(database_url)
    yield found
    found.close()
