"""Balance transactions: what each payment, refund and dispute did to the account's own balance."""

from tests.stripe_double.account import Account, page
from tests.stripe_double.contract import Json
from tests.stripe_double.routing import PAGING, route

DISPUTE_FEE = 1500
CATEGORIES = {"payment": "charge", "adjustment": "dispute"}


def entry(account: Account, *, amount: int, fee: int, currency: str, source: str, kind: str) -> Json:
    """Book an amount; ``fee`` is what Stripe keeps of it."""
    details = [
        {
            "amount": fee,
            "application": None,
            "currency": currency,
            "description": "Stripe fees",
            "type": "stripe_fee",
        }
    ]
    return account.new(
        "balance_transaction",
        "txn",
        amount=amount,
        available_on=account.now(),
        balance_type="payments",
        currency=currency,
        fee=fee,
        fee_details=details if fee else [],
        net=amount - fee,
        reporting_category=CATEGORIES.get(kind, kind),
        source=source,
        status="available",
        type=kind,
    )


@route("GET", "/v1/balance_transactions/{id}")
def retrieve(account: Account, parameters: Json, id: str) -> Json:  # noqa: A002 - Stripe's name
    del parameters
    return account.find("balance_transaction", id)


@route("GET", "/v1/balance_transactions", f"{PAGING} created source type currency")
def listed(account: Account, parameters: Json) -> Json:
    asked = {key: parameters.get(key) for key in ("source", "type", "currency")}
    return page(account.all("balance_transaction", **asked), parameters, url="/v1/balance_transactions")
