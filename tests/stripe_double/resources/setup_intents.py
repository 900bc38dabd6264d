"""Setup intents: saving a payment method for later, without a payment."""

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import payment_methods
from tests.stripe_double.resources.common import merged_metadata
from tests.stripe_double.routing import PAGING, route

GROUPS = "automatic_payment_methods.enabled automatic_payment_methods.allow_redirects"
OPEN = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})


@route("POST", "/v1/setup_intents", f"confirm customer description metadata payment_method usage {GROUPS}")
def create(account: Account, parameters: Json) -> Json:
    intent = made(account, parameters)
    if "payment_method" in parameters:
        method = payment_methods.named(account, parameters["payment_method"])
        account.change(intent, payment_method=method["id"], status="requires_confirmation")
    if parameters.get("confirm"):
        return _confirmed(account, intent)
    return intent


def made(account: Account, parameters: Json) -> Json:
    """Make an intent that nothing was tried with yet."""
    intent = account.new(
        "setup_intent",
        "seti",
        automatic_payment_methods={"enabled": True, "allow_redirects": "always"},
        client_secret="",
        customer=parameters.get("customer"),
        description=parameters.get("description"),
        metadata=merged_metadata({}, parameters),
        payment_method_options={},
        payment_method_types=["card"],
        status="requires_payment_method",
        usage=parameters.get("usage", "off_session"),
    )
    account.change(intent, client_secret=f"{intent['id']}_secret_{account.new_id('s')}")
    account.emit("setup_intent.created", intent)
    return intent


@route("POST", "/v1/setup_intents/{intent}/confirm", "payment_method")
def confirm(account: Account, parameters: Json, intent: str) -> Json:
    found = account.find("setup_intent", intent)
    if "payment_method" in parameters:
        method = payment_methods.named(account, parameters["payment_method"])
        account.change(found, payment_method=method["id"])
    return _confirmed(account, found)


@route("GET", "/v1/setup_intents/{intent}")
def retrieve(account: Account, parameters: Json, intent: str) -> Json:
    del parameters
    return account.find("setup_intent", intent)


@route("GET", "/v1/setup_intents", f"{PAGING} created customer payment_method")
def listed(account: Account, parameters: Json) -> Json:
    asked = {key: parameters.get(key) for key in ("customer", "payment_method")}
    return page(account.all("setup_intent", **asked), parameters, url="/v1/setup_intents")


@route("POST", "/v1/setup_intents/{intent}/cancel", "cancellation_reason")
def cancel(account: Account, parameters: Json, intent: str) -> Json:
    found = account.find("setup_intent", intent)
    if found["status"] not in OPEN:
        raise _unexpected(found, "cancel")
    account.change(found, status="canceled", cancellation_reason=parameters.get("cancellation_reason"))
    account.emit("setup_intent.canceled", found)
    return found


def attempt(account: Account, intent: Json) -> errors.Refusal | None:
    """Save the intent's method for its customer; return the refusal if the card cannot be saved."""
    method = account.objects[intent["payment_method"]]
    card = account.cards[method["id"]]
    if card.declines:
        refusal = payment_methods.declined(card, method)
        failed = {"last_setup_error": refusal.body()["error"], "payment_method": None}
        account.change(intent, status="requires_payment_method", **failed)
        account.emit("setup_intent.setup_failed", intent)
        return payment_methods.declined(card, method, setup_intent=intent)
    account.change(intent, status="succeeded", last_setup_error=None)
    account.emit("setup_intent.succeeded", intent)
    if intent["customer"] is not None:
        payment_methods.keep(account, method, intent["customer"])
    return None


def _confirmed(account: Account, intent: Json) -> Json:
    if intent["status"] not in OPEN or intent["payment_method"] is None:
        raise _unexpected(intent, "confirm")
    refusal = attempt(account, intent)
    if refusal is not None:
        raise refusal
    return intent


def _unexpected(intent: Json, verb: str) -> errors.Refusal:
    return errors.refused(
        f"You cannot {verb} this SetupIntent because it has a status of {intent['status']}.",
        code="setup_intent_unexpected_state",
        setup_intent=intent,
    )
