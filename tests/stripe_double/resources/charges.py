"""Charges: each attempt to take money, made by a payment intent."""

from tests.stripe_double.account import Account, page
from tests.stripe_double.cards import TestCard
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import balance
from tests.stripe_double.resources.common import merged_metadata
from tests.stripe_double.routing import PAGING, route

FEE_FIXED = 30
FEE_PER_MILLE = 29


def made(account: Account, intent: Json, method: Json) -> Json:
    """Make the charge of an attempt; whether it succeeds is decided afterwards."""
    card = account.cards[method["id"]]
    charge = account.new(
        "charge",
        "ch" if card.type == "card" else "py",
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        billing_details=method["billing_details"],
        captured=False,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        fraud_details={},
        metadata=intent["metadata"],
        paid=False,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details=_details(method, intent["amount"]),
        receipt_email=intent["receipt_email"],
        refunded=False,
        status="pending",
    )
    account.change(intent, latest_charge=charge["id"])
    return charge


def succeed(account: Account, charge: Json) -> None:
    """Let a charge succeed."""
    fee = FEE_FIXED + charge["amount"] * FEE_PER_MILLE // 1000
    booked = balance.entry(
        account,
        amount=charge["amount"],
        fee=fee,
        currency=charge["currency"],
        source=charge["id"],
        kind="charge" if charge["id"].startswith("ch_") else "payment",
    )
    account.change(
        charge,
        amount_captured=charge["amount"],
        balance_transaction=booked["id"],
        captured=True,
        outcome=_outcome("authorized", "approved_by_network", "Payment complete."),
        paid=True,
        receipt_url=f"https://pay.stripe.test/receipts/{charge['id']}",
        status="succeeded",
    )
    account.emit("charge.succeeded", charge)


def fail(account: Account, charge: Json, card: TestCard) -> None:
    """Let a charge fail as its card says."""
    outcome = _outcome("issuer_declined", "declined_by_network", "The bank did not accept the payment.")
    outcome |= {"reason": card.decline, "advice_code": card.advice}
    account.change(
        charge, failure_code=card.code, failure_message=card.message, outcome=outcome, status="failed"
    )
    account.emit("charge.failed", charge)


@route("GET", "/v1/charges/{charge}")
def retrieve(account: Account, parameters: Json, charge: str) -> Json:
    del parameters
    return account.find("charge", charge)


@route("GET", "/v1/charges", f"{PAGING} created customer payment_intent")
def listed(account: Account, parameters: Json) -> Json:
    asked = {key: parameters.get(key) for key in ("customer", "payment_intent")}
    return page(account.all("charge", **asked), parameters, url="/v1/charges")


@route("POST", "/v1/charges/{charge}", "description metadata receipt_email")
def update(account: Account, parameters: Json, charge: str) -> Json:
    found = account.find("charge", charge)
    changes = {key: parameters[key] for key in ("description", "receipt_email") if key in parameters}
    return account.change(
        found, "charge.updated", **changes, metadata=merged_metadata(found["metadata"], parameters)
    )


def _outcome(kind: str, network: str, said: str) -> Json:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": network,
        "reason": None,
        "risk_level": "normal",
        "seller_message": said,
        "type": kind,
    }


def _details(method: Json, amount: int) -> Json:
    kind = method["type"]
    shown = method[kind]
    if kind != "card":
        bank = ("account_holder_type", "account_type", "bank_name", "fingerprint", "last4", "routing_number")
        return {"type": kind, kind: {key: shown[key] for key in bank}}
    same = (
        "brand",
        "checks",
        "country",
        "exp_month",
        "exp_year",
        "fingerprint",
        "funding",
        "last4",
        "wallet",
    )
    card = {key: shown[key] for key in same} | {"amount_authorized": amount, "network": shown["brand"]}
    return {"type": "card", "card": card}
