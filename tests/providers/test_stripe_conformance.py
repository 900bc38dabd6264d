"""Stripe, by its real SDK against the double, does what every provider must do."""

from collections.abc import Callable

import pytest

from tallystick.ports import PaymentProvider
from tests.providers.conformance import SCENARIOS, Driver
from tests.providers.stripe_driver import StripeDriver
from tests.stripe_double import StripeDouble


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: str(scenario.__name__))
def test_scenario(stripe_double: StripeDouble, scenario: Callable[[Driver], None]) -> None:
    """The scenario's own sentence."""
    scenario(StripeDriver(stripe_double))


def test_it_is_a_provider(stripe_double: StripeDouble) -> None:
    """It has the port's methods with the port's types, moves no real money with a test key, and says its name."""
    provider: PaymentProvider = StripeDriver(stripe_double).provider
    assert ("stripe", False) == (provider.name, provider.live)
