"""Payment intents: one payment, however many attempts it takes.

What an attempt did stays done when the answer is a refusal: the intent is there, waiting for another payment method.
"""

from typing import Any

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page
from tests.stripe_double.cards import CARDS, TestCard
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import charges, payment_methods
from tests.stripe_double.resources.common import check_amount, merged_metadata
from tests.stripe_double.routing import PAGING, route

CONFIRMING = (
    "error_on_requires_action off_session payment_method receipt_email return_url setup_future_usage "
    "automatic_payment_methods.enabled automatic_payment_methods.allow_redirects"
)
CREATING = "amount confirm currency customer description metadata statement_descriptor_suffix"
OPEN = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})
MISSING_AUTHENTICATION = "Your card was declined. This transaction requires authentication."


@route("POST", "/v1/payment_intents", f"{CREATING} {CONFIRMING}")
def create(account: Account, parameters: Json) -> Json:
    check_amount(parameters["amount"], parameters["currency"])
    for name in ("off_session", "error_on_requires_action"):
        if parameters.get(name) and not parameters.get("confirm"):
            raise errors.invalid(f"`{name}` can only be passed when `confirm=true`.", param=name)
    method = _method(account, parameters.get("payment_method"), parameters.get("customer"))
    intent = made(account, parameters, method=None if method is None else method["id"])
    return _confirmed(account, intent, parameters) if parameters.get("confirm") else intent


def made(account: Account, parameters: Json, *, method: str | None = None) -> Json:
    """Make an intent that nobody has tried to pay yet."""
    customer = parameters.get("customer")
    if customer is not None:
        account.find("customer", customer, param="customer")
    asked = parameters.get("automatic_payment_methods", {"enabled": True})
    intent = account.new(
        "payment_intent",
        "pi",
        amount=parameters["amount"],
        amount_capturable=0,
        amount_received=0,
        automatic_payment_methods={"allow_redirects": "always"} | asked,
        capture_method="automatic_async",
        client_secret="",
        confirmation_method="automatic",
        currency=parameters["currency"],
        customer=customer,
        description=parameters.get("description"),
        metadata=merged_metadata({}, parameters),
        payment_method=method,
        payment_method_options={},
        payment_method_types=["card"],
        receipt_email=parameters.get("receipt_email"),
        setup_future_usage=parameters.get("setup_future_usage"),
        statement_descriptor_suffix=parameters.get("statement_descriptor_suffix"),
        status="requires_payment_method" if method is None else "requires_confirmation",
    )
    account.change(intent, client_secret=f"{intent['id']}_secret_{account.new_id('s')}")
    account.emit("payment_intent.created", intent)
    return intent


@route("POST", "/v1/payment_intents/{intent}/confirm", CONFIRMING)
def confirm(account: Account, parameters: Json, intent: str) -> Json:
    found = account.find("payment_intent", intent)
    method = _method(account, parameters.get("payment_method"), found["customer"])
    if method is not None:
        account.change(found, payment_method=method["id"])
    return _confirmed(account, found, parameters)


@route("GET", "/v1/payment_intents/{intent}")
def retrieve(account: Account, parameters: Json, intent: str) -> Json:
    del parameters
    return account.find("payment_intent", intent)


@route("GET", "/v1/payment_intents", f"{PAGING} created customer")
def listed(account: Account, parameters: Json) -> Json:
    rows = account.all("payment_intent", customer=parameters.get("customer"))
    return page(rows, parameters, url="/v1/payment_intents")


@route("POST", "/v1/payment_intents/{intent}", "description metadata receipt_email")
def update(account: Account, parameters: Json, intent: str) -> Json:
    found = account.find("payment_intent", intent)
    changes = {key: parameters[key] for key in ("description", "receipt_email") if key in parameters}
    return account.change(found, **changes, metadata=merged_metadata(found["metadata"], parameters))


@route("POST", "/v1/payment_intents/{intent}/cancel", "cancellation_reason")
def cancel(account: Account, parameters: Json, intent: str) -> Json:
    return canceled(
        account, account.find("payment_intent", intent), reason=parameters.get("cancellation_reason")
    )


def canceled(account: Account, intent: Json, *, reason: str | None) -> Json:
    """End an intent that was not paid."""
    if intent["status"] not in OPEN | {"processing"}:
        raise _unexpected(intent, "cancel")
    account.change(
        intent, status="canceled", canceled_at=account.now(), cancellation_reason=reason, next_action=None
    )
    account.emit("payment_intent.canceled", intent)
    return intent


def _method(account: Account, name: str | None, owner: str | None) -> Json | None:
    if name is None:
        return None
    method = payment_methods.named(account, name)
    if method["customer"] is not None and method["customer"] != owner:
        raise errors.invalid(
            "The payment method belongs to a customer; include that customer, and no other.",
            param="payment_method",
        )
    return method


def _confirmed(account: Account, intent: Json, parameters: Json) -> Json:
    if intent["status"] not in OPEN:
        raise _unexpected(intent, "confirm")
    if intent["payment_method"] is None:
        raise errors.refused(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
            payment_intent=intent,
        )
    off_session = bool(parameters.get("off_session"))
    owner = account.objects[intent["payment_method"]]["customer"]
    if off_session and owner is None:
        raise errors.refused(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, or was "
            "detached from a Customer. It may not be used again.",
            payment_intent=intent,
        )
    refusal = attempt(
        account,
        intent,
        present=False,
        off_session=off_session,
        strict=bool(parameters.get("error_on_requires_action")),
    )
    if refusal is not None:
        raise refusal
    return intent


def attempt(
    account: Account, intent: Json, *, present: bool, off_session: bool = False, strict: bool = False
) -> errors.Refusal | None:
    """Try to take the money with the intent's method; return the refusal if the card leads to one.

    ``present`` tells that the owner of the card is there and authenticates if asked to.
    """
    method = account.objects[intent["payment_method"]]
    card = account.cards[method["id"]]
    if card.asks and not present and not (off_session or strict):
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        account.change(intent, status="requires_action", next_action=action)
        account.emit("payment_intent.requires_action", intent)
        return None
    charge = charges.made(account, intent, method)
    if card.declines or (card.asks and not present):
        return _declined(account, intent, charge, method, card)
    if card.later:
        account.change(intent, status="processing")
        account.emit("payment_intent.processing", intent)
        return None
    _succeeded(account, intent, charge, method)
    return None


def authenticate(account: Account, intent: Json, *, succeeds: bool) -> errors.Refusal | None:
    """Let the owner of a card answer the question that a payment waits for."""
    if intent["status"] != "requires_action":
        raise ValueError(f"{intent['id']} is {intent['status']}")
    if succeeds:
        return attempt(account, intent, present=True)
    method = account.objects[intent["payment_method"]]
    return _declined(
        account, intent, charges.made(account, intent, method), method, CARDS["not_authenticated"]
    )


def settle(account: Account, intent: Json, *, paid: bool) -> None:
    """Let the bank answer about a payment that is processing."""
    if intent["status"] != "processing":
        raise ValueError(f"{intent['id']} is {intent['status']}")
    charge = account.objects[intent["latest_charge"]]
    method = account.objects[intent["payment_method"]]
    if paid:
        _succeeded(account, intent, charge, method)
    else:
        _declined(account, intent, charge, method, CARDS["insufficient_funds"])


def _succeeded(account: Account, intent: Json, charge: Json, method: Json) -> None:
    charges.succeed(account, charge)
    account.change(
        intent,
        status="succeeded",
        amount_received=intent["amount"],
        last_payment_error=None,
        next_action=None,
    )
    account.emit("payment_intent.succeeded", intent)
    if intent["setup_future_usage"] and intent["customer"] in account.objects:
        payment_methods.keep(account, method, intent["customer"])


def _declined(account: Account, intent: Json, charge: Json, method: Json, card: TestCard) -> errors.Refusal:
    charges.fail(account, charge, card)
    refusal = payment_methods.declined(card, method, charge=charge["id"])
    error: dict[str, Any] = refusal.body()["error"]
    account.change(
        intent,
        status="requires_payment_method",
        payment_method=None,
        last_payment_error=error,
        next_action=None,
    )
    account.emit("payment_intent.payment_failed", intent)
    return payment_methods.declined(card, method, charge=charge["id"], payment_intent=intent)


def _unexpected(intent: Json, verb: str) -> errors.Refusal:
    return errors.refused(
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
        code="payment_intent_unexpected_state",
        payment_intent=intent,
    )
