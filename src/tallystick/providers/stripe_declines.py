"""Why a bank said no, and what may help: a later try, another card, or the card's owner.

Stripe tells it in up to three words: the error's ``code``, the bank's ``decline_code``, and the network's ``advice_code``.
What asks for the owner comes first, then what no later try can change. All else is worth a later try.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.ports.payments import Decline

_AUTHENTICATION: Final = frozenset(
    {
        "authentication_not_handled",
        "authentication_required",
        "mobile_device_authentication_required",
        "payment_intent_authentication_failure",
        "subscription_payment_intent_requires_action",
    }
)
_HARD_ADVICE: Final = frozenset({"confirm_card_data", "do_not_try_again"})
_HARD: Final = frozenset(
    {
        # the card is gone or not valid
        "expired_card",
        "incorrect_cvc",
        "incorrect_number",
        "incorrect_zip",
        "invalid_account",
        "invalid_cvc",
        "invalid_expiry_month",
        "invalid_expiry_year",
        "invalid_number",
        "lost_card",
        "new_account_information_available",
        "pickup_card",
        "stolen_card",
        # the card or the account behind it does not do such payments
        "card_not_supported",
        "currency_not_supported",
        "not_permitted",
        "restricted_card",
        "service_not_allowed",
        "transaction_not_allowed",
        # its owner or the bank has forbidden them
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "stop_payment_order",
        # suspicion: a repeat makes it worse
        "fraudulent",
        "highest_risk_level",
        "merchant_blacklist",
        "security_violation",
        # a card of the other mode
        "live_mode_test_card",
        "test_mode_live_card",
        "testmode_decline",
    }
)


def decline_of(error: Mapping[str, Any]) -> Decline:
    """What may help after an error of Stripe's, given its fields; those that are null may be left out."""
    words = {error.get("code"), error.get("decline_code")}
    if words & _AUTHENTICATION:
        return "authentication"
    if error.get("advice_code") in _HARD_ADVICE or words & _HARD:
        return "hard"
    return "soft"


def word_of(error: Mapping[str, Any]) -> str | None:
    """Stripe's most exact word for what was wrong."""
    return error.get("decline_code") or error.get("code") or error.get("type")
