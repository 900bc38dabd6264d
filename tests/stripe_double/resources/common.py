"""What several kinds of objects share."""

from tests.stripe_double import errors
from tests.stripe_double.contract import Json

SMALLEST_CHARGE = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50}


def merged_metadata(found: Json, parameters: Json) -> Json:
    """Return metadata with what a request sets in it; an empty text takes a key away, or all of them."""
    asked = parameters.get("metadata")
    if asked is None:
        return found
    if asked == "":
        return {}
    return {key: text for key, text in (found | asked).items() if text != ""}


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
