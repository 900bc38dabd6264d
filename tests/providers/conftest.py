"""The providers under test: Stripe by its real SDK at the double, and sandboxes."""

import os
from collections.abc import Iterator

import pytest

from tallystick.core.times import SECOND
from tallystick.providers.e2b import E2BSandboxes
from tallystick.providers.local import LocalSandboxes
from tallystick.providers.stripe import StripePayments
from tests.providers.e2b_emulator import E2BEmulator, running_emulator
from tests.providers.sandbox_drivers import provider_at
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


@pytest.fixture(scope="session")
def local_sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSandboxes]:
    """Sandboxes on this machine, which must have bubblewrap."""
    provider = LocalSandboxes(state_dir=tmp_path_factory.mktemp("sandboxes"))
    yield provider
    provider.close()


@pytest.fixture
def e2b_emulator(local_sandboxes: LocalSandboxes, monkeypatch: pytest.MonkeyPatch) -> Iterator[E2BEmulator]:
    """An emulator of E2B whose commands run in sandboxes on this machine; no setting of ours leads elsewhere."""
    for name in [name for name in os.environ if name.startswith("E2B_")]:
        monkeypatch.delenv(name)
    with running_emulator(local_sandboxes, host_template="bash") as emulator:
        yield emulator


@pytest.fixture
def e2b_sandboxes(e2b_emulator: E2BEmulator) -> Iterator[E2BSandboxes]:
    """Our side of the emulator."""
    provider = provider_at(e2b_emulator)
    yield provider
    provider.close()
