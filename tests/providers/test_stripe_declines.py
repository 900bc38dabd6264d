"""What may help after a decline: a later try, another card, or the card's owner."""

import pytest

from tallystick.ports.payments import Decline
from tallystick.providers.stripe_declines import decline_of, word_of


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        # no reason, or one that passes
        ("soft", {}),
        ("soft", {"code": "card_declined"}),
        ("soft", {"code": "card_declined", "decline_code": None, "advice_code": None}),
        ("soft", {"code": "card_declined", "decline_code": "generic_decline"}),
        ("soft", {"code": "card_declined", "decline_code": "insufficient_funds"}),
        ("soft", {"code": "card_declined", "decline_code": "do_not_honor", "advice_code": "try_again_later"}),
        ("soft", {"code": "card_declined", "decline_code": "issuer_not_available"}),
        ("soft", {"code": "card_declined", "decline_code": "withdrawal_count_limit_exceeded"}),
        ("soft", {"code": "processing_error"}),
        ("soft", {"code": "a_code_of_the_future", "advice_code": "an_advice_of_the_future"}),
        # the card is no good any more
        ("hard", {"code": "card_declined", "decline_code": "lost_card"}),
        ("hard", {"code": "card_declined", "decline_code": "stolen_card"}),
        ("hard", {"code": "card_declined", "decline_code": "pickup_card"}),
        ("hard", {"code": "card_declined", "decline_code": "fraudulent"}),
        ("hard", {"code": "expired_card"}),
        ("hard", {"code": "expired_card", "decline_code": "expired_card"}),
        ("hard", {"code": "incorrect_number"}),
        ("hard", {"code": "card_declined", "decline_code": "lost_card", "advice_code": "try_again_later"}),
        # the network says so
        (
            "hard",
            {"code": "card_declined", "decline_code": "do_not_honor", "advice_code": "do_not_try_again"},
        ),
        (
            "hard",
            {"code": "card_declined", "decline_code": "generic_decline", "advice_code": "confirm_card_data"},
        ),
        # its owner is asked for, whatever else is said
        ("authentication", {"code": "authentication_required"}),
        ("authentication", {"code": "card_declined", "decline_code": "authentication_required"}),
        ("authentication", {"code": "authentication_required", "advice_code": "do_not_try_again"}),
        ("authentication", {"code": "payment_intent_authentication_failure"}),
    ],
)
def test_what_may_help(expected: Decline, error: dict[str, str | None]) -> None:
    """By the error's code, the bank's and the network's, of which any may be missing or new."""
    assert expected == decline_of(error)


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        ("lost_card", {"type": "card_error", "code": "card_declined", "decline_code": "lost_card"}),
        ("expired_card", {"type": "card_error", "code": "expired_card", "decline_code": None}),
        ("idempotency_error", {"type": "idempotency_error"}),
        (None, {}),
    ],
)
def test_the_most_exact_word(expected: str | None, error: dict[str, str | None]) -> None:
    """The bank's, else the error's own, else its kind."""
    assert expected == word_of(error)
