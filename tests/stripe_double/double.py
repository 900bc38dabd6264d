"""The double: a server, what it knows, and what a test can let happen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import stripe

from tests.stripe_double import resources
from tests.stripe_double.account import Account
from tests.stripe_double.clock import Clock, real_seconds
from tests.stripe_double.contract import shared_contract
from tests.stripe_double.controls import Controls
from tests.stripe_double.execution import Execution, Request
from tests.stripe_double.faults import Faults
from tests.stripe_double.outbox import Outbox
from tests.stripe_double.server import Server

API_KEY = "sk_test_of_the_double"
SECRET = "whsec_of_the_double"


class StripeDouble(Controls):
    """Stripe, on this machine, for one test.

    ``violations`` lists what broke the contract on either side; the fixture fails the test if there is anything. The
    clock runs with the real time, or stands at ``start`` until it is moved.
    """

    def __init__(self, *, start: int | None = None, api_key: str = API_KEY, secret: str = SECRET) -> None:
        resources.load()
        self.api_key = api_key
        self.clock = Clock(real_seconds if start is None else lambda: start)
        self.faults = Faults()
        self.outbox = Outbox(secret=secret)
        self.account = Account(clock=self.clock, contract=shared_contract(), notify=self.outbox.add)
        super().__init__(self.account)
        self._execution = Execution(self.account, self.faults, api_key=api_key)
        self._server = Server(self._execution)
        self.url = self._server.url

    @property
    def violations(self) -> list[str]:
        """What broke the contract so far; a test that breaks it on purpose clears the list."""
        return self.account.violations

    @property
    def requests(self) -> list[Request]:
        """What was asked so far, refused and repeated requests included."""
        return self._execution.requests

    def client(self, *, retries: int = 2) -> stripe.StripeClient:
        """Return a client of the real SDK that talks to the double."""
        return stripe.StripeClient(
            self.api_key, base_addresses={"api": self.url}, max_network_retries=retries
        )

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def judged_double() -> Iterator[StripeDouble]:
    """A double for the length of a block, which fails at its end if anybody broke the contract."""
    with StripeDouble() as double:
        yield double
    assert not double.violations, "\n".join(double.violations)
