"""What else happens to a payment: things that a bank, a payer or an operator at the provider's own pages does."""

from __future__ import annotations

import re
from typing import Final

from tallystick.ports import ProviderRefused
from tallystick.providers.simulated import pages, reversals
from tallystick.providers.simulated.books import Books
from tallystick.providers.simulated.documents import PayerDocument, PaymentDocument

_OURS: Final = re.compile(r"[!-~]{1,200}")


def find(books: Books, payment: str) -> PaymentDocument | None:
    """A payment by its id, or the newest one that was made for an id of ours."""
    found = books.find(PaymentDocument, payment, lock=True)
    if found is None and _OURS.fullmatch(payment):
        newest = books.newest(PaymentDocument, reference=payment)
        found = books.find(PaymentDocument, newest[0].id, lock=True) if newest else None
    return found


def act(books: Books, payment: PaymentDocument, action: str, *, amount_cents: int | None) -> None:
    """Do one thing to a payment. Raises ``ProviderRefused`` when the payment's state does not allow it."""
    if action in {"dispute", "inquiry"}:
        reversals.open_dispute(books, payment, inquiry=action == "inquiry")
    elif action in {"win", "lose"}:
        reversals.end_dispute(books, payment, won=action == "win")
    elif action == "refund":
        left = payment.amount_cents - payment.refunded_cents
        reversals.refund(
            books, payment, amount_cents=left if amount_cents is None else amount_cents, reference=None
        )
    elif action == "fail-refund":
        reversals.fail_refund(books, payment)
    elif action in {"settle", "fail"}:
        pages.settle_late(books, payment, succeeded=action == "settle")
    elif action == "detach-card":
        _detach(books, payment)
    else:
        raise ProviderRefused(f"no such action: {action}", code="unknown_action")


def _detach(books: Books, payment: PaymentDocument) -> None:
    """The card that this was paid with is no longer saved."""
    payer = books.get(PayerDocument, payment.payer)
    card = payer.card(payment.card) if payment.card is not None else None
    if card is None:
        raise ProviderRefused("the card of this payment is not saved", code="resource_missing")
    payer.cards.remove(card)
    if payer.default == card.id:
        payer.default = None
    books.save(payer)
    books.tell("payment_method.detached", "payer", payer.id, object=card.id)
