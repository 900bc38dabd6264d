"""Shops for tests: each test runs with both providers, on both databases."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from tallystick.core.times import SECOND, parse_rfc3339
from tests.payments.economy import economy_file
from tests.payments.hands import Hands, SimulatedHands, StripeHands
from tests.payments.shop import Shop
from tests.stripe_double import StripeDouble
from tests.tallies import FakeClock

AT = "2027-01-10T12:00:00Z"

Open: TypeAlias = Callable[..., Shop]


@contextmanager
def hands_of(name: str) -> Iterator[Hands]:
    """A provider on a clock that stands still. Whoever broke Stripe's contract fails here."""
    if name == "simulated":
        yield SimulatedHands(FakeClock(AT))
        return
    with StripeDouble(start=parse_rfc3339(AT) // SECOND) as double:
        yield StripeHands(double)
        assert [] == double.violations


@pytest.fixture(params=["simulated", "stripe"])
def hands(request: pytest.FixtureRequest) -> Iterator[Hands]:
    """A payment provider, and what others do there."""
    with hands_of(request.param) as found:
        yield found


@pytest.fixture
def open_shop(hands: Hands, database_url: str, tmp_path: Path) -> Iterator[Open]:
    """Opens a shop as a test wants it; its books are audited at the end."""
    with ExitStack() as stack:

        def opened(*, freeze: bool = False) -> Shop:
            return stack.enter_context(
                Shop(database_url, hands, economy=economy_file(tmp_path, freeze=freeze))
            )

        yield opened


@pytest.fixture
def shop(open_shop: Open) -> Shop:
    """A shop."""
    return open_shop()
