"""Short ways to the states that the tests of the double begin with."""

from typing import Any

import stripe

from tests.stripe_double.contract import Json
from tests.stripe_double.double import StripeDouble

PAGES: Json = {"success_url": "https://shop.example/thanks", "cancel_url": "https://shop.example/back"}
OFF_SESSION: Json = {
    "confirm": True,
    "off_session": True,
    "error_on_requires_action": True,
    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
}


def customer(client: stripe.StripeClient) -> str:
    return client.v1.customers.create({"email": "ann@example.com"}).id


def pack(client: stripe.StripeClient, owner: str, **more: Any) -> str:
    """Open a session for a pack of ten dollars, which saves the card; return its id."""
    price = {"currency": "usd", "unit_amount": 1000, "product_data": {"name": "Starter"}}
    asked: Any = {
        "mode": "payment",
        "customer": owner,
        "client_reference_id": "purchase-1",
        "line_items": [{"price_data": price, "quantity": 1}],
        "metadata": {"purchase_id": "purchase-1"},
        "payment_intent_data": {
            "setup_future_usage": "off_session",
            "metadata": {"purchase_id": "purchase-1"},
        },
        "invoice_creation": {"enabled": True},
        "adaptive_pricing": {"enabled": False},
    }
    return client.v1.checkout.sessions.create(asked | PAGES | more).id


def refill(owner: str, method: str, *, amount: int = 1000, **more: Any) -> Any:
    """Return the parameters of a payment with a saved card, without its owner."""
    who = {"customer": owner, "payment_method": method}
    return {"amount": amount, "currency": "usd"} | who | OFF_SESSION | more


def paid(double: StripeDouble, client: stripe.StripeClient, *, card: str = "visa") -> stripe.PaymentIntent:
    """Pay ten dollars with a saved card."""
    owner = customer(client)
    return client.v1.payment_intents.create(refill(owner, double.save_card(owner, card)["id"]))


def monthly(client: stripe.StripeClient, name: str, amount: int) -> str:
    """Make a monthly price; return its id."""
    return client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": amount,
            "recurring": {"interval": "month"},
            "product_data": {"name": name},
        }
    ).id


def subscribed(
    double: StripeDouble, client: stripe.StripeClient, price: str, *, card: str = "visa"
) -> stripe.Subscription:
    """Subscribe a new customer by a session."""
    asked: Any = {
        "mode": "subscription",
        "customer": customer(client),
        "line_items": [{"price": price, "quantity": 1}],
    }
    session = client.v1.checkout.sessions.create(asked | PAGES)
    double.complete(session.id, card)
    return client.v1.subscriptions.list({"customer": asked["customer"]}).data[0]


def types(double: StripeDouble, *beginnings: str) -> list[str]:
    """Return the types of the queued events that begin with one of some words."""
    return [event["type"] for event in double.outbox.pending() if event["type"].startswith(beginnings)]
