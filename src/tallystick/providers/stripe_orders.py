"""What the port orders, in the parameters of Stripe.

Amounts stay as they are: the port's cents are Stripe's minor units, also of currencies that have no cents. All that we make
carries our reference, and the key it was made with, so that it can be found again.
"""

from __future__ import annotations

from typing import Final

from stripe.params import PaymentIntentCreateParams, SubscriptionUpdateParams
from stripe.params.checkout import SessionCreateParams, SessionCreateParamsLineItem

from tallystick.core.times import HOUR, MINUTE, SECOND
from tallystick.ports.payments import CardOrder, CheckoutOrder

REFERENCE: Final = "reference"
KEY: Final = "key"
PLAN: Final = "plan"
CHANGE: Final = "change"  # of a subscription: the key of its last change

_SHORTEST: Final = 30 * MINUTE
_LONGEST: Final = 24 * HOUR
_MARGIN: Final = MINUTE  # clocks differ, and a request takes its time


def checkout_parameters(order: CheckoutOrder, *, key: str, now: int) -> SessionCreateParams:
    """A Checkout Session. Its end is brought within the bounds that Stripe allows: half an hour to a day from now."""
    expires_at = min(max(order.expires_at, now + _SHORTEST + _MARGIN), now + _LONGEST - _MARGIN)
    ours = {REFERENCE: order.reference, KEY: key}
    parameters: SessionCreateParams = {
        "mode": order.mode,
        "customer": order.payer,
        "client_reference_id": order.reference,
        "metadata": ours,
        "success_url": order.success_url,
        "cancel_url": order.cancel_url,
        "expires_at": expires_at // SECOND,
    }
    if order.mode == "setup":
        return parameters | {"currency": order.currency, "setup_intent_data": {"metadata": ours}}
    parameters["line_items"] = [_line_item(order)]
    parameters["adaptive_pricing"] = {"enabled": False}  # or the amount paid is not the amount asked for
    if order.mode == "subscription":
        plan = {} if order.plan is None else {PLAN: order.plan}
        return parameters | {"subscription_data": {"metadata": ours | plan}}
    parameters["invoice_creation"] = {"enabled": True}
    parameters["payment_intent_data"] = {"metadata": ours}
    if order.save_card:
        parameters["payment_intent_data"]["setup_future_usage"] = "off_session"
    return parameters


def _line_item(order: CheckoutOrder) -> SessionCreateParamsLineItem:
    if order.price is not None:
        return {"price": order.price, "quantity": 1}
    item: SessionCreateParamsLineItem = {
        "price_data": {
            "currency": order.currency,
            "unit_amount": order.amount_cents,
            "product_data": {"name": order.title},
        },
        "quantity": 1,
    }
    if order.mode == "subscription":
        item["price_data"]["recurring"] = {"interval": "month"}
    return item


def charge_parameters(order: CardOrder, *, card: str, key: str) -> PaymentIntentCreateParams:
    """A PaymentIntent that is confirmed at once, while nobody is there to be asked anything."""
    return {
        "amount": order.amount_cents,
        "currency": order.currency,
        "customer": order.payer,
        "payment_method": card,
        "description": order.description,
        "metadata": {REFERENCE: order.reference, KEY: key},
        "off_session": True,
        "confirm": True,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "error_on_requires_action": True,
        "expand": ["latest_charge"],
    }


def change_parameters(
    *,
    item: str,
    plan: str,
    amount_cents: int,
    currency: str,
    price: str | None,
    product: str | None,
    key: str,
) -> SubscriptionUpdateParams:
    """Another price for a subscription's item: the difference is billed at once, and unless it is paid nothing changes."""
    parameters: SubscriptionUpdateParams = {
        "metadata": {PLAN: plan, CHANGE: key},
        "proration_behavior": "always_invoice",
        "payment_behavior": "error_if_incomplete",
        "off_session": True,
    }
    if price is not None:
        parameters["items"] = [{"id": item, "price": price}]
    else:
        assert product is not None
        parameters["items"] = [
            {
                "id": item,
                "price_data": {
                    "currency": currency,
                    "product": product,
                    "unit_amount": amount_cents,
                    "recurring": {"interval": "month"},
                },
            }
        ]
    return parameters
