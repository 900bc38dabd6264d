"""Orders, as services give them, with what a test does not care about filled in."""

from dataclasses import replace
from typing import Any, TypeVar

from tallystick.ports.payments import CardOrder, Checkout, CheckoutOrder
from tallystick.providers.stripe import StripePayments
from tests.stripe_double import StripeDouble

HOUR = 3600 * 10**6

Found = TypeVar("Found")


def there(found: Found | None) -> Found:
    """What was looked up must be there."""
    assert found is not None
    return found


def moment(double: StripeDouble) -> int:
    """The present of the double, in microseconds."""
    return double.clock.now() * 10**6


def pack(payer: str, *, now: int, **fields: Any) -> CheckoutOrder:
    """A pack of 25 dollars, to be paid within an hour."""
    order = CheckoutOrder(
        reference="pay_1",
        mode="payment",
        payer=payer,
        title="Pro pack",
        success_url="https://tally.example.com/billing?session={CHECKOUT_SESSION_ID}",
        cancel_url="https://tally.example.com/billing",
        expires_at=now + HOUR,
        amount_cents=2500,
    )
    return replace(order, **fields)


def refill(payer: str, **fields: Any) -> CardOrder:
    """A refill of 50 dollars."""
    order = CardOrder(reference="pay_2", payer=payer, amount_cents=5000, description="Automatic refill")
    return replace(order, **fields)


def subscribe(double: StripeDouble, payments: StripePayments, payer: str, card: str = "visa") -> Checkout:
    """A plan of 29 dollars a month that was just subscribed to."""
    order = pack(payer, now=moment(double), reference="sub_1", mode="subscription", title="Pro")
    made = payments.create_checkout(replace(order, plan="pro", amount_cents=2900), key="subscribe")
    double.complete(made.id, card)
    return there(payments.checkout(made.id))
