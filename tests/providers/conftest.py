"""The provider under test, with the real SDK, talking to the double."""

import pytest

from tallystick.core.times import SECOND
from tallystick.providers.stripe import StripePayments
from tests.stripe_double import StripeDouble


@pytest.fixture
def payments(stripe_double: StripeDouble) -> StripePayments:
    """Our side of the account, on the double's clock."""
    stripe_double.outbox.signing_time = stripe_double.clock.now
    return StripePayments(
        stripe_double.api_key,
        webhook_secrets=[stripe_double.outbox.secret],
        api_base=stripe_double.url,
        now=lambda: stripe_double.clock.now() * SECOND,
    )


@pytest.fixture
def payer(payments: StripePayments) -> str:
    """A customer of ours at Stripe."""
    return payments.create_payer(reference="cus_1", email="ann@example.com", key="payer:cus_1")
