"""E2B (by its emulator) and this machine do what every provider of sandboxes must do."""

from collections.abc import Callable, Iterator

import pytest

from tallystick.providers.local import LocalSandboxes
from tests.providers import sandbox_conformance
from tests.providers.e2b_emulator import E2BEmulator
from tests.providers.sandbox_conformance import SCENARIOS, Driver
from tests.providers.sandbox_drivers import EmulatedE2B, ThisMachine

SLOW = (sandbox_conformance.time_is_over, sandbox_conformance.listener_fails)
SLOW_IN_REAL_TIME = (
    *SLOW,
    sandbox_conformance.life_is_measured,
    sandbox_conformance.deadline_comes,
    sandbox_conformance.deadline_is_moved,
)


@pytest.fixture
def emulated(e2b_emulator: E2BEmulator) -> Iterator[EmulatedE2B]:
    """E2B by its emulator."""
    driver = EmulatedE2B(e2b_emulator)
    yield driver
    driver.provider.close()


def cases(slow: tuple[Callable[[Driver], None], ...]) -> list[object]:
    """The scenarios by their names."""
    return [
        pytest.param(each, id=each.__name__, marks=[pytest.mark.slow] if each in slow else [])
        for each in SCENARIOS
    ]


@pytest.mark.parametrize("scenario", cases(SLOW))
def test_e2b(emulated: EmulatedE2B, scenario: Callable[[Driver], None]) -> None:
    """The scenario's own sentence."""
    scenario(emulated)


@pytest.mark.parametrize("scenario", cases(SLOW_IN_REAL_TIME))
def test_this_machine(local_sandboxes: LocalSandboxes, scenario: Callable[[Driver], None]) -> None:
    """The scenario's own sentence."""
    scenario(ThisMachine(local_sandboxes))
