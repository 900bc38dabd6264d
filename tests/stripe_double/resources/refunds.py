"""Refunds: whole or in part, until nothing is left of a charge."""

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import balance
from tests.stripe_double.resources.common import merged_metadata
from tests.stripe_double.routing import PAGING, route

COUNTED = frozenset({"succeeded", "pending", "requires_action"})


@route("POST", "/v1/refunds", "amount charge payment_intent reason metadata")
def create(account: Account, parameters: Json) -> Json:
    charge = _charge(account, parameters)
    amount = parameters.get("amount", charge["amount"] - charge["amount_refunded"])
    return made(account, charge, amount=amount, parameters=parameters)


def made(account: Account, charge: Json, *, amount: int, parameters: Json) -> Json:
    """Refund an amount of a charge."""
    _check(account, charge, amount)
    later = account.cards[charge["payment_method"]].later
    refund = account.new(
        "refund",
        "re",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={
            "type": "card",
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
        },
        metadata=merged_metadata({}, parameters),
        payment_intent=charge["payment_intent"],
        reason=parameters.get("reason"),
        status="pending" if later else "succeeded",
    )
    if later:
        refund["destination_details"] = {"type": "us_bank_transfer", "us_bank_transfer": {}}
    booked = balance.entry(
        account, amount=-amount, fee=0, currency=charge["currency"], source=refund["id"], kind="refund"
    )
    account.change(refund, balance_transaction=booked["id"])
    account.emit("refund.created", refund)
    total = charge["amount_refunded"] + amount
    account.change(
        charge, "charge.refunded", amount_refunded=total, refunded=total == charge["amount_captured"]
    )
    return refund


def succeed(account: Account, refund: Json) -> None:
    """Let a pending refund arrive."""
    account.change(refund, "refund.updated", status="succeeded")


def fail(account: Account, refund: Json, *, reason: str) -> None:
    """Let a refund come back: the money is the account's again."""
    charge = account.objects[refund["charge"]]
    booked = balance.entry(
        account,
        amount=refund["amount"],
        fee=0,
        currency=refund["currency"],
        source=refund["id"],
        kind="refund_failure",
    )
    changes = {
        "status": "failed",
        "failure_reason": reason,
        "failure_balance_transaction": booked["id"],
    }
    before = {key: refund.get(key) for key in changes}
    account.change(refund, **changes)
    account.change(charge, amount_refunded=charge["amount_refunded"] - refund["amount"], refunded=False)
    account.emit("refund.failed", refund)
    account.emit("refund.updated", refund, previous=before)
    account.emit("charge.refund.updated", refund, previous=before)


@route("GET", "/v1/refunds/{refund}")
def retrieve(account: Account, parameters: Json, refund: str) -> Json:
    del parameters
    return account.find("refund", refund)


@route("POST", "/v1/refunds/{refund}", "metadata")
def update(account: Account, parameters: Json, refund: str) -> Json:
    found = account.find("refund", refund)
    return account.change(found, "refund.updated", metadata=merged_metadata(found["metadata"], parameters))


@route("GET", "/v1/refunds", f"{PAGING} created charge payment_intent")
def listed(account: Account, parameters: Json) -> Json:
    asked = {key: parameters.get(key) for key in ("charge", "payment_intent")}
    return page(account.all("refund", **asked), parameters, url="/v1/refunds")


def _charge(account: Account, parameters: Json) -> Json:
    if "charge" in parameters:
        return account.find("charge", parameters["charge"], param="charge")
    if "payment_intent" not in parameters:
        raise errors.invalid(
            "One of the following params should be provided for this request: payment_intent or charge.",
            param="payment_intent",
        )
    intent = account.find("payment_intent", parameters["payment_intent"], param="payment_intent")
    if intent["latest_charge"] is None:
        raise errors.refused(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        )
    return account.find("charge", intent["latest_charge"])


def _check(account: Account, charge: Json, amount: int) -> None:
    if charge["status"] != "succeeded":
        raise errors.refused(f"Charge {charge['id']} has not been paid.", code="charge_not_refundable")
    for each in account.all("dispute", charge=charge["id"]):
        if not each["status"].startswith("warning") and each["status"] not in {"won", "prevented"}:
            raise errors.refused(
                f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
            )
    left = charge["amount_captured"] - charge["amount_refunded"]
    if left == 0:
        raise errors.refused(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    if amount < 1:
        raise errors.invalid("This value must be greater than or equal to 1.", param="amount")
    if amount > left:
        raise errors.refused(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).", param="amount"
        )
