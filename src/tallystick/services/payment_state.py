"""What a payment's row becomes when the provider has said how things stand: pure decisions, nothing is asked or written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tallystick.core.ids import to_text
from tallystick.core.payments import credits_lost
from tallystick.core.times import DAY, HOUR, MINUTE, SECOND
from tallystick.ports.payments import Checkout, Invoice, Payment
from tallystick.store.payments import PaymentRow

# How long after the last answer the next is asked for, while nothing is final.
_LOOKS: Final = (30 * SECOND, MINUTE, 5 * MINUTE, 30 * MINUTE, HOUR, 6 * HOUR, DAY)
_AFTER_EXPIRY: Final = MINUTE


@dataclass(frozen=True, slots=True)
class Facts:
    """What the provider said: the page, the payment that it made, the bill. None: there is none, or it is not known."""

    checkout: Checkout | None = None
    payment: Payment | None = None
    invoice: Invoice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the row becomes. ``clawed_back`` is the micro-credits that must have been taken back in all."""

    status: str
    failure: str | None = None
    failure_text: str | None = None
    refunded_cents: int = 0
    disputed_cents: int = 0
    clawed_back: int = 0
    look_at: int | None = None


def judge(row: PaymentRow, facts: Facts, now: int) -> Verdict:
    """The state of a payment by what the provider said. What was paid once stays paid; refunds and disputes count apart."""
    status, failure, text = _status(row, facts)
    if status == "paid" and row.status != "paid" and (differences := _differences(row, facts)):
        status, failure, text = "mismatch", "mismatch", "; ".join(differences)
    payment = facts.payment
    refunded = row.refunded_cents if payment is None else payment.refunded_cents
    disputed = (
        row.disputed_cents if payment is None else sum(each.withdrawn_cents for each in payment.disputes)
    )
    lost = min(refunded + disputed, row.amount_cents) if status == "paid" else 0
    return Verdict(
        status=status,
        failure=failure,
        failure_text=text,
        refunded_cents=refunded,
        disputed_cents=disputed,
        clawed_back=credits_lost(row.credits, row.amount_cents, lost) if lost else 0,
        look_at=_look_at(row, status, now),
    )


def _status(row: PaymentRow, facts: Facts) -> tuple[str, str | None, str | None]:
    if row.status in {"paid", "mismatch"}:
        return row.status, row.failure, row.failure_text
    if row.kind == "refill":
        return _of_payment(row, facts.payment)
    if (
        row.kind == "invoice"
    ):  # Who follows subscriptions books a paid bill with its period; here it may only go back.
        return row.status, row.failure, row.failure_text
    if facts.checkout is None:
        return row.status, row.failure, row.failure_text
    return _of_page(row, facts.checkout, facts.payment)


def _of_page(
    row: PaymentRow, checkout: Checkout, payment: Payment | None
) -> tuple[str, str | None, str | None]:
    if checkout.status == "complete":
        if checkout.paid == "paid" or (checkout.paid == "nothing_due" and row.amount_cents == 0):
            return "paid", None, None
        status, failure, text = _of_payment(row, payment)
        return ("failed" if status == "failed" else "processing"), failure, text
    return ("expired" if checkout.status == "expired" else "open"), None, None


def _of_payment(row: PaymentRow, payment: Payment | None) -> tuple[str, str | None, str | None]:
    if payment is None:
        return row.status, row.failure, row.failure_text
    if payment.status == "succeeded":
        return "paid", None, None
    if payment.status == "processing":
        return "processing", None, None
    return "failed", payment.failure or payment.status, payment.failure_text


def _differences(row: PaymentRow, facts: Facts) -> list[str]:
    """What was paid must be what was ordered: in every figure, by the same payer, for the same row."""
    seen: list[tuple[str, object, object]] = []
    reference = to_text("pay", row.id)
    for each in (facts.checkout, facts.payment if row.kind == "refill" else None):
        if each is not None:
            seen += [
                ("reference", reference, each.reference),
                ("payer", row.payer, each.payer),
                ("amount", row.amount_cents, each.amount_cents),
                ("currency", row.currency, each.currency),
                ("live", row.live, each.live),
            ]
    return [f"{name}: ordered {ordered}, paid {paid}" for name, ordered, paid in seen if ordered != paid]


def _look_at(row: PaymentRow, status: str, now: int) -> int | None:
    if status in {"paid", "failed", "expired", "mismatch"}:
        return None
    if status == "open" and row.expires_at is not None and row.expires_at + _AFTER_EXPIRY > now:
        return row.expires_at + _AFTER_EXPIRY
    return next_look(row.looks, now)


def next_look(looks: int, now: int) -> int:
    """When to ask again after having asked so many times for nothing."""
    return now + _LOOKS[min(looks, len(_LOOKS) - 1)]
