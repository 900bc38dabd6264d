"""The same scenarios at E2B itself: what no emulator can prove.

Runs when ``E2B_API_KEY`` holds a key, makes a few dozen sandboxes there, one after the other, which cost a few cents, and
ends them. Without it, each test run says at its end that these tests were not run.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.providers.sandbox_conformance import SCENARIOS, Driver
from tests.providers.sandbox_drivers import RealE2B

KEY = os.environ.get("E2B_API_KEY", "")
assert KEY.startswith("e2b_"), "E2B_API_KEY: expected a key of E2B"


@pytest.fixture(scope="module")
def driver() -> Iterator[RealE2B]:
    """E2B, with an installation of this run's own, of which nothing is left."""
    driver = RealE2B(KEY)
    yield driver
    for handle in driver.provider.running().values():
        driver.provider.kill(handle)
    driver.provider.close()


@pytest.mark.parametrize("scenario", [pytest.param(each, id=each.__name__) for each in SCENARIOS])
def test_e2b_itself(driver: RealE2B, scenario: Callable[[Driver], None]) -> None:
    """The scenario's own sentence."""
    scenario(driver)
