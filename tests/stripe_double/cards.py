"""Stripe's test cards, by the names that its documentation gives them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TestCard:
    """How a payment with a card ends.

    ``decline`` is Stripe's ``decline_code``, ``code`` the error's own, ``advice`` what the network says about trying again.
    ``asks`` whether a payment without its owner present is refused for want of authentication, ``later`` whether the bank
    answers after the payment was begun.
    """

    __test__ = False

    name: str
    last4: str
    brand: str = "visa"
    code: str = "card_declined"
    decline: str | None = None
    advice: str | None = None
    message: str = "Your card was declined."
    asks: bool = False
    later: bool = False
    type: str = "card"

    @property
    def declines(self) -> bool:
        """Whether no payment with it succeeds."""
        return self.decline is not None and not self.asks


CARDS = {
    card.name: card
    for card in (
        TestCard("visa", "4242"),
        TestCard("mastercard", "4444", brand="mastercard"),
        TestCard("charge_declined", "0002", decline="generic_decline", advice="try_again_later"),
        TestCard(
            "insufficient_funds",
            "9995",
            decline="insufficient_funds",
            advice="try_again_later",
            message="Your card has insufficient funds.",
        ),
        TestCard("lost_card", "9987", decline="lost_card", advice="do_not_try_again"),
        TestCard("stolen_card", "9979", decline="stolen_card", advice="do_not_try_again"),
        TestCard(
            "expired_card",
            "0069",
            code="expired_card",
            decline="expired_card",
            advice="confirm_card_data",
            message="Your card has expired.",
        ),
        TestCard(
            "processing_error",
            "0119",
            code="processing_error",
            decline="processing_error",
            advice="try_again_later",
            message="An error occurred while processing your card. Try again in a little bit.",
        ),
        TestCard("do_not_honor", "0341", decline="do_not_honor", advice="do_not_try_again"),
        TestCard(
            "authentication_required",
            "3184",
            code="authentication_required",
            decline="authentication_required",
            asks=True,
        ),
        TestCard(
            "not_authenticated",
            "3184",
            code="payment_intent_authentication_failure",
            decline="authentication_not_handled",
            message="We are unable to authenticate your payment method.",
        ),
        TestCard("us_bank_account", "6789", type="us_bank_account", later=True),
    )
}


def card_named(name: str) -> TestCard:
    """Return a card by its name, with or without Stripe's prefix for test payment methods."""
    short = name.removeprefix("pm_card_").removeprefix("pm_")
    found = CARDS.get(short)
    if found is None:
        raise KeyError(f"there is no test card {name!r}; there are {', '.join(CARDS)}")
    return found
