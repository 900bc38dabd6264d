"""The simulated provider does what every provider must do."""

from collections.abc import Callable

import pytest

from tallystick.ports.payments import PaymentProvider
from tests.providers.conformance import SCENARIOS, Driver
from tests.providers.simulated.simulation import Simulation


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: str(scenario.__name__))
def test_scenario(simulation: Simulation, scenario: Callable[[Driver], None]) -> None:
    """The scenario's own sentence."""
    scenario(simulation)


def test_it_is_a_provider(simulation: Simulation) -> None:
    """It has the port's methods with the port's types, moves no real money, and says its name."""
    provider: PaymentProvider = simulation.provider
    assert ("simulated", False) == (provider.name, provider.live)
