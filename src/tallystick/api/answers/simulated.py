"""What became of a simulated payment that somebody had a hand in."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.api.answers.common import Number, Time
from tallystick.api.rendering import cents
from tallystick.core.times import format_rfc3339
from tallystick.ports.payments import Payment


@dataclass(slots=True)
class SimulatedDispute:
    """A dispute: ``withdrawn`` is what the provider has taken back for it and not returned."""

    id: str
    status: str
    amount: Number
    withdrawn: Number
    reason: str


@dataclass(slots=True)
class SimulatedPaymentAnswer:
    """A payment as the simulated provider has it now. ``id`` is the provider's, ``reference`` ours."""

    id: str
    reference: str | None
    status: str
    amount: Number
    currency: str
    refunded: Number
    disputes: list[SimulatedDispute]
    failure: str | None
    created_at: Time


def simulated_payment(payment: Payment) -> SimulatedPaymentAnswer:
    """A payment."""
    return SimulatedPaymentAnswer(
        id=payment.id,
        reference=payment.reference,
        status=payment.status,
        amount=cents(payment.amount_cents),
        currency=payment.currency,
        refunded=cents(payment.refunded_cents),
        disputes=[
            SimulatedDispute(
                each.id, each.status, cents(each.amount_cents), cents(each.withdrawn_cents), each.reason
            )
            for each in payment.disputes
        ],
        failure=payment.failure,
        created_at=format_rfc3339(payment.created_at),
    )
