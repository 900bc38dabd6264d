"""The Stripe provider does what every provider must do, on the double."""

from collections.abc import Callable
from typing import Final

import pytest

from tallystick.core.times import SECOND
from tallystick.ports.payments import Checkout, Event, Subscription
from tallystick.providers.stripe import StripePayments
from tallystick.providers.stripe_calls import RETRIES
from tests.providers.conformance import (
    SCENARIOS,
    CardWord,
    Driver,
    refill_answer_lost,
    refill_request_lost,
)
from tests.stripe_double import StripeDouble
from tests.stripe_double.faults import When

ON_THE_PAGE: Final[dict[CardWord, str]] = {
    "good": "visa",
    "authentication": "authentication_required",
    "later": "us_bank_account",
    "then_soft": "visa",
    "then_hard": "visa",
    "then_unknown_done": "visa",
    "then_unknown_lost": "visa",
}
DECLINED: Final[dict[CardWord, str]] = {"soft": "insufficient_funds", "hard": "lost_card"}
LATER: Final[dict[CardWord, str]] = {"then_soft": "insufficient_funds", "then_hard": "lost_card"}
LOST: Final[dict[CardWord, When]] = {"then_unknown_done": When.AFTER, "then_unknown_lost": When.BEFORE}
SLOW: Final = (refill_answer_lost, refill_request_lost)  # the SDK waits before it asks again


class Stripe:
    """The driver: the provider, and the double in the hands of others."""

    def __init__(self, double: StripeDouble, provider: StripePayments) -> None:
        self.double = double
        self.provider = provider

    def now(self) -> int:
        """The double's time."""
        return self.double.clock.now() * SECOND

    def pay(self, checkout: Checkout, card: CardWord) -> None:
        """Somebody pays on the page, or tries to; what the card does later begins then."""
        if card in DECLINED:
            self.double.decline(checkout.id, DECLINED[card])
            return
        self.double.complete(checkout.id, ON_THE_PAGE[card])
        if card in LATER:
            [method, *_] = self.double.account.all("payment_method", customer=checkout.payer)
            self.double.change_card(method["id"], LATER[card])
        if card in LOST:
            self.double.faults.fail("/v1/payment_intents", status=None, when=LOST[card], times=1 + RETRIES)

    def settle(self, payment: str, *, succeeded: bool) -> None:
        """The bank answers; the page that the payment was made on hears of it too."""
        pages = self.double.account.all("checkout.session", payment_intent=payment)
        self.double.bank_answers(pages[0]["id"] if pages else payment, paid=succeeded)

    def dispute(self, payment: str) -> None:
        """The bank takes the money back."""
        self.double.dispute(self._charge(payment))

    def inquire(self, payment: str) -> None:
        """The bank asks."""
        self.double.dispute(self._charge(payment), inquiry=True)

    def decide(self, payment: str, *, won: bool) -> None:
        """The bank decides, or drops its inquiry."""
        [dispute, *_] = self.double.account.all("dispute", payment_intent=payment)
        if dispute["status"].startswith("warning"):
            self.double.close_inquiry(dispute["id"])
        elif won:
            self.double.win(dispute["id"])
        else:
            self.double.lose(dispute["id"])

    def let_expire(self, checkout: Checkout) -> None:
        """Time passes."""
        self.double.advance_to(checkout.expires_at // SECOND)

    def end_period(self, subscription: Subscription) -> None:
        """Time passes."""
        self.double.advance_to(subscription.period_end // SECOND)

    def told(self) -> list[Event]:
        """The events since the last call."""
        found: list[Event] = []

        def receive(body: bytes, signature: str) -> int:
            found.append(self.provider.read_event(body, signature))
            return 200

        self.double.outbox.deliver_all(receive)
        return found

    def _charge(self, payment: str) -> str:
        found: str = self.double.account.objects[payment]["latest_charge"]
        return found


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(
            scenario,
            id=scenario.__name__,
            marks=[pytest.mark.slow] if scenario in SLOW else [],
        )
        for scenario in SCENARIOS
    ],
)
def test_scenario(
    stripe_double: StripeDouble, payments: StripePayments, scenario: Callable[[Driver], None]
) -> None:
    """The scenario's own sentence."""
    scenario(Stripe(stripe_double, payments))
