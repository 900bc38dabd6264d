"""Payment methods: the test cards, of nobody or of a customer."""

from typing import Any

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page
from tests.stripe_double.cards import TestCard, card_named
from tests.stripe_double.contract import Json
from tests.stripe_double.resources.common import merged_metadata
from tests.stripe_double.routing import PAGING, route

NAMELESS = {
    "address": {
        "city": None,
        "country": None,
        "line1": None,
        "line2": None,
        "postal_code": None,
        "state": None,
    },
    "email": None,
    "name": None,
    "phone": None,
    "tax_id": None,
}


def made(account: Account, card: TestCard, *, email: str | None = None) -> Json:
    """Make a payment method of nobody, from a test card."""
    method = account.new(
        "payment_method",
        "pm",
        allow_redisplay="limited",
        type=card.type,
        billing_details=NAMELESS | {"email": email},
        metadata={},
    )
    kinds = set(account.contract.blank("payment_method")) - {
        "allow_redisplay",
        "customer",
        "customer_account",
        "metadata",
    }
    for key in kinds:
        del method[key]  # Stripe shows the group of the method's own type only
    method[card.type] = _details(account, card)
    account.cards[method["id"]] = card
    return method


def named(account: Account, name: str, *, param: str = "payment_method") -> Json:
    """Return a payment method by its id, or a new one by the name of a test card (``pm_card_visa``)."""
    if name not in account.objects:
        try:
            return made(account, card_named(name))
        except KeyError:
            raise errors.missing("PaymentMethod", name, param=param) from None
    return account.find("payment_method", name, param=param)


def keep(account: Account, method: Json, customer: str) -> None:
    """Attach a method to a customer, if it is not yet."""
    if method["customer"] != customer:
        account.change(method, customer=customer)
        account.emit("payment_method.attached", method)


def release(account: Account, method: Json) -> Json:
    """Detach a method: it can never be used again."""
    customer = method["customer"]
    owner = account.objects.get(customer)
    if owner is not None and owner["invoice_settings"]["default_payment_method"] == method["id"]:
        settings = owner["invoice_settings"] | {"default_payment_method": None}
        account.change(owner, "customer.updated", invoice_settings=settings)
    for each in account.all("subscription", customer=customer, default_payment_method=method["id"]):
        account.change(each, "customer.subscription.updated", default_payment_method=None)
    before = {"customer": customer}
    account.change(method, customer=None)
    account.emit("payment_method.detached", method, previous=before)
    return method


@route("POST", "/v1/payment_methods", "type card.token metadata billing_details.email")
def create(account: Account, parameters: Json) -> Json:
    token = parameters.get("card", {}).get("token", "tok_visa")
    try:
        card = card_named(token.removeprefix("tok_"))
    except KeyError:
        raise errors.missing("token", token, param="card[token]") from None
    method = made(account, card, email=parameters.get("billing_details", {}).get("email"))
    return account.change(method, metadata=merged_metadata({}, parameters))


@route("GET", "/v1/payment_methods/{payment_method}")
def retrieve(account: Account, parameters: Json, payment_method: str) -> Json:
    del parameters
    return account.find("payment_method", payment_method)


@route("POST", "/v1/payment_methods/{payment_method}/attach", "customer")
def attach(account: Account, parameters: Json, payment_method: str) -> Json:
    method = named(account, payment_method)
    customer = account.find("customer", parameters["customer"], param="customer")
    if method["customer"] not in {None, customer["id"]}:
        raise errors.refused("The payment method you provided has already been attached to a customer.")
    card = account.cards[method["id"]]
    if card.declines and card.last4 != "0341":
        raise declined(card, method)
    keep(account, method, customer["id"])
    return method


@route("POST", "/v1/payment_methods/{payment_method}/detach")
def detach(account: Account, parameters: Json, payment_method: str) -> Json:
    del parameters
    method = account.find("payment_method", payment_method)
    if method["customer"] is None:
        raise errors.refused(
            "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    return release(account, method)


@route("GET", "/v1/payment_methods", f"{PAGING} customer type")
@route("GET", "/v1/customers/{customer}/payment_methods", f"{PAGING} type")
def listed(account: Account, parameters: Json, customer: str | None = None) -> Json:
    owner = customer or parameters.get("customer")
    if owner is None:
        return page([], parameters, url="/v1/payment_methods")
    account.find("customer", owner, param="customer")
    rows = account.all("payment_method", customer=owner, type=parameters.get("type"))
    return page(
        rows,
        parameters,
        url="/v1/payment_methods" if customer is None else f"/v1/customers/{owner}/payment_methods",
    )


def declined(card: TestCard, method: Json, **fields: Any) -> errors.Refusal:
    """The refusal that a card leads to."""
    return errors.Refusal(
        card.message,
        kind="card_error",
        executed=True,
        code=card.code,
        decline_code=card.decline,
        advice_code=card.advice,
        param="" if card.type == "card" else None,
        payment_method=method,
        **fields,
    )


def _details(account: Account, card: TestCard) -> Json:
    if card.type == "us_bank_account":
        return {
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": "STRIPE TEST BANK",
            "financial_connections_account": None,
            "fingerprint": account.new_id("fp"),
            "last4": card.last4,
            "networks": {"preferred": "ach", "supported": ["ach"]},
            "routing_number": "110000000",
            "status_details": {},
        }
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": card.brand,
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": account.new_id("fp"),
        "funding": "credit",
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
