"""What requests about payments look like."""

from __future__ import annotations

from pydantic import Field

from tallystick.api.models import Amount, AmountOrZero, Body, CustomerName


class CheckoutBody(Body):
    """What is to be bought: a package by its name, or credits for an amount of US dollars."""

    package: str | None = None
    amount: Amount | None = Field(default=None, description="US dollars, with at most two decimals")
    customer: CustomerName | None = None


class AutoRefillBody(Body):
    """Whether and how credits are bought automatically. What is left out stays as it was."""

    enabled: bool
    threshold: AmountOrZero | None = Field(default=None, description="Credits: below this, buy")
    amount: Amount | None = Field(default=None, description="US dollars: for how much")
    customer: CustomerName | None = None


class CardBody(Body):
    """Whose card is to be saved."""

    customer: CustomerName | None = None


class PaymentRefundBody(Body):
    """How many US dollars go back; without an amount, everything that is left of the payment."""

    amount: Amount | None = None
    reason: str | None = None


class ReconcileBody(Body):
    """From which moment on payments are compared; 30 days ago where none is given."""

    since: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
