"""What a payment or a bill came to, for whoever has its address."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.providers.simulated.books import Books
from tallystick.providers.simulated.cards import card_of
from tallystick.providers.simulated.documents import InvoiceDocument, PayerDocument, PaymentDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A payment or a bill. ``card`` is how it was paid, such as ``visa •••• 4242``."""

    id: str
    title: str
    status: str
    amount_cents: int
    credit_cents: int
    refunded_cents: int
    currency: str
    email: str | None
    card: str | None
    created_at: int
    period: tuple[int, int] | None


def find(books: Books, subject_id: str) -> Receipt | None:
    """The receipt of a payment that succeeded, or a bill; None for anything else."""
    invoice = books.find(InvoiceDocument, subject_id)
    payment = books.find(PaymentDocument, subject_id if invoice is None else invoice.payment)
    if invoice is None and (payment is None or payment.status != "succeeded"):
        return None
    main = invoice or payment
    assert main is not None
    payer = books.find(PayerDocument, main.payer)
    card = None if payment is None or payment.number is None else card_of(payment.number)
    monthly = invoice is not None and invoice.period_end > invoice.period_start
    return Receipt(
        id=main.id,
        title=invoice.title if invoice is not None else payment.description if payment is not None else "",
        status="paid" if invoice is None or invoice.paid else "unpaid",
        amount_cents=main.amount_cents,
        credit_cents=0 if invoice is None else invoice.credit_cents,
        refunded_cents=0 if payment is None else payment.refunded_cents,
        currency=main.currency,
        email=None if payer is None else payer.email,
        card=None if card is None else f"{card.brand} •••• {card.last4}",
        created_at=main.created_at,
        period=(invoice.period_start, invoice.period_end) if invoice is not None and monthly else None,
    )
