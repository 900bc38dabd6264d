"""What several kinds of objects share."""

from tests.stripe_double import errors
from tests.stripe_double.contract import Json

MOST_KEYS, LONGEST_KEY, LONGEST_TEXT = 50, 40, 500
SMALLEST_CHARGE = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50}


def merged_metadata(found: Json, parameters: Json) -> Json:
    """Return metadata with what a request sets in it; an empty text takes a key away, or all of them."""
    asked = parameters.get("metadata")
    if asked is None:
        return found
    if asked == "":
        return {}
    merged = {key: text for key, text in (found | asked).items() if text != ""}
    if len(merged) > MOST_KEYS:
        raise errors.invalid(f"Metadata can have up to {MOST_KEYS} keys.", param="metadata")
    for key, text in merged.items():
        if len(key) > LONGEST_KEY or len(text) > LONGEST_TEXT:
            raise errors.invalid(
                f"Metadata keys and values are limited in length: {key}", param=f"metadata[{key}]"
            )
    return merged


def check_amount(amount: int, currency: str, *, param: str = "amount") -> None:
    """Refuse what Stripe does not charge: nothing, less than it costs, more than eight digits."""
    if amount < 1:
        raise errors.invalid(
            "This value must be greater than or equal to 1.", param=param, code="parameter_invalid_integer"
        )
    if amount < SMALLEST_CHARGE.get(currency, 50):
        raise errors.invalid(
            "Amount must convert to at least 50 cents.", param=param, code="amount_too_small"
        )
    if amount > 99_999_999:
        raise errors.invalid("Amount must be no more than $999,999.99", param=param, code="amount_too_large")
