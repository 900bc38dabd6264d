"""Stripe by its real SDK against the double, and the driver that the conformance scenarios want."""

from typing import Final

from tallystick.core.times import SECOND
from tallystick.ports.payments import Checkout, Event, Subscription
from tallystick.providers.stripe import StripePayments
from tests.providers.conformance import CardWord
from tests.stripe_double import StripeDouble
from tests.stripe_double.contract import Json
from tests.stripe_double.faults import When

PAGE_CARDS: Final[dict[CardWord, str]] = {
    "soft": "insufficient_funds",
    "hard": "lost_card",
    "authentication": "authentication_required",
    "later": "us_bank_account",
}
LATER_CARDS: Final[dict[CardWord, str]] = {"then_soft": "insufficient_funds", "then_hard": "lost_card"}
LOST: Final[dict[CardWord, When]] = {
    "then_unknown_done": When.AFTER,
    "then_unknown_lost": When.BEFORE,
}
TRIES: Final = 3  # the SDK's own repeats included
CHARGES: Final = "/v1/payment_intents"


class StripeDriver:
    """The driver: a provider, the double's clock, and the hands of others."""

    def __init__(self, double: StripeDouble) -> None:
        self.double = double
        double.outbox.signing_time = double.clock.now
        self.provider = StripePayments(
            double.api_key, webhook_secrets=[double.outbox.secret], api_base=double.url, now=self.now
        )

    def now(self) -> int:
        """Stripe's time."""
        return self.double.clock.now() * SECOND

    def pay(self, checkout: Checkout, card: CardWord) -> None:
        """Somebody pays on the page, and confirms where that is wanted."""
        name = PAGE_CARDS.get(card, "visa")
        if card in {"soft", "hard"}:
            self.double.decline(checkout.id, name)
            return
        self.double.complete(checkout.id, name)
        if card in LATER_CARDS:
            self.change_card(str(checkout.payer), LATER_CARDS[card])
        if card in LOST:
            self.double.faults.fail(CHARGES, status=None, when=LOST[card], times=TRIES)

    def change_card(self, payer: str, card: str) -> None:
        """The card that would be charged now behaves like another test card."""
        held = self.provider.default_card(payer)
        assert held is not None
        self.double.change_card(held.id, card)

    def settle(self, payment: str, *, succeeded: bool) -> None:
        """A late payment comes, or does not: what it belongs to follows."""
        owners = self.double.account.all("checkout.session", payment_intent=payment)
        self.double.bank_answers(owners[0]["id"] if owners else payment, paid=succeeded)

    def dispute(self, payment: str) -> None:
        """The bank takes the money back; who has only asked takes it now."""
        asked = self._disputes(payment, "warning")
        if asked:
            self.double.escalate(asked[0]["id"])
        else:
            self.double.dispute(self.charge_of(payment))

    def inquire(self, payment: str) -> None:
        """The bank asks."""
        self.double.dispute(self.charge_of(payment), inquiry=True)

    def decide(self, payment: str, *, won: bool) -> None:
        """The bank decides."""
        asked = self._disputes(payment, "warning")
        if asked:
            assert won
            self.double.close_inquiry(asked[0]["id"])
            return
        [found] = self._disputes(payment, "needs_response")
        (self.double.win if won else self.double.lose)(found["id"])

    def _disputes(self, payment: str, status: str) -> list[Json]:
        return [
            each
            for each in self.double.account.all("dispute", payment_intent=payment)
            if each["status"].startswith(status) and not each["status"].endswith("closed")
        ]

    def charge_of(self, payment: str) -> str:
        """The charge of a payment intent."""
        found: str = self.double.account.objects[payment]["latest_charge"]
        return found

    def let_expire(self, checkout: Checkout) -> None:
        """Time passes."""
        self.double.advance_to(checkout.expires_at // SECOND)

    def end_period(self, subscription: Subscription) -> None:
        """Time passes."""
        self.double.advance_to(subscription.period_end // SECOND)

    def told(self) -> list[Event]:
        """The events since the last call."""
        outbox = self.double.outbox
        queued = outbox.pending()
        outbox.drop()
        messages = [outbox.message(each) for each in queued]
        return [self.provider.read_event(each.body, each.signature) for each in messages]
