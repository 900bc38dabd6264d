"""Taking a payment with a test card, now or later, and what it looks like from outside."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from tallystick.core.times import MINUTE, to_datetime
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.payments import Card, Dispute, Payment, Refund
from tallystick.providers.simulated.books import Books
from tallystick.providers.simulated.cards import Behaviour, TestCard, card_of, decline_of, sentence_of
from tallystick.providers.simulated.documents import (
    HeldCard,
    PayerDocument,
    PaymentDocument,
    RefundDocument,
    Settles,
)

SETTLES_AFTER_MICROS: Final = 10 * MINUTE
# Cards are good for some years yet.
_CARD_YEARS: Final = 5
LEAST_CENTS: Final = 50
MOST_CENTS: Final = 99_999_999

Tried: TypeAlias = Literal["succeeded", "processing", "failed"]
_SETTLES: Final[dict[Behaviour, Settles]] = {
    "settle_later": "succeed",
    "fail_later": "fail",
    "wait": "by_hand",
}


def check_amount(amount_cents: int) -> None:
    """Refuse what no card can be charged."""
    if amount_cents < LEAST_CENTS:
        raise ProviderRefused(f"the amount must be at least {LEAST_CENTS} cents", code="amount_too_small")
    if amount_cents > MOST_CENTS:
        raise ProviderRefused(f"the amount must be at most {MOST_CENTS} cents", code="amount_too_large")


def known_card(number: str | None) -> TestCard:
    """A test card. Raises ``ProviderRefused`` for any other number: a real card has no business here."""
    found = card_of(number or "")
    if found is None:
        raise ProviderRefused("this is not one of the test cards", code="incorrect_number")
    return found


def save_card(books: Books, payer: PayerDocument, number: str) -> HeldCard:
    """Keep a card with its payer for later; one that is there already is the last saved from now on."""
    found = next((card for card in payer.cards if card.number == number), None)
    if found is None:
        found = HeldCard(
            id=books.making.token("pm"),
            number=number,
            exp_month=12,
            exp_year=to_datetime(books.now).year + _CARD_YEARS,
        )
    payer.cards = [card for card in payer.cards if card.number != number] + [found]
    books.save(payer)
    return found


def shown_card(card: HeldCard) -> Card:
    """A saved card as people know it."""
    kind = known_card(card.number)
    return Card(
        id=card.id, brand=kind.brand, last4=kind.last4, exp_month=card.exp_month, exp_year=card.exp_year
    )


def try_here(books: Books, payment: PaymentDocument, card: TestCard) -> Tried:
    """Try a card while its owner looks on, and has confirmed the payment where that is wanted."""
    payment.number = card.number
    behaviour = "succeed" if card.here == "authenticate" else card.here
    return _try(books, payment, behaviour, card.here_code)


def try_alone(books: Books, payment: PaymentDocument, held: HeldCard | None) -> Tried:
    """Try a saved card while nobody is there."""
    if held is None:
        return _try(books, payment, "decline", "no_card")
    card = known_card(held.number)
    payment.card, payment.number = held.id, held.number
    behaviour = "succeed" if card.later in {"answer_lost", "request_lost"} else card.later
    return _try(books, payment, behaviour, card.later_code)


def _try(books: Books, payment: PaymentDocument, behaviour: Behaviour, code: str) -> Tried:
    """What a card does to a payment; the caller saves it."""
    settles = _SETTLES.get(behaviour)
    if behaviour == "decline":
        fail(books, payment, code)
        return "failed"
    payment.decline = payment.failure = payment.failure_text = None
    if settles is not None:
        payment.status, payment.late, payment.settles = "processing", True, settles
        payment.settles_at = None if settles == "by_hand" else books.now + SETTLES_AFTER_MICROS
        return "processing"
    succeed(books, payment)
    return "succeeded"


def succeed(books: Books, payment: PaymentDocument) -> None:
    """The money came."""
    payment.status, payment.settles_at = "succeeded", None
    books.tell("payment_intent.succeeded", "payment", payment.id)


def fail(books: Books, payment: PaymentDocument, code: str) -> None:
    """No money came, and why."""
    payment.status, payment.settles_at = "failed", None
    payment.failure, payment.failure_text, payment.decline = code, sentence_of(code), decline_of(code)
    books.tell("payment_intent.payment_failed", "payment", payment.id)


def lost_request(held: HeldCard | None) -> bool:
    """Whether the first request to charge this card gets lost on its way."""
    return held is not None and known_card(held.number).later == "request_lost"


def check_answer(payment: PaymentDocument) -> None:
    """Lose the answer to a charge that was made, where the card is for that. Raises ``OutcomeUnknown``."""
    if payment.number is not None and known_card(payment.number).later == "answer_lost":
        raise OutcomeUnknown("the connection broke before the answer came (a test card for that)")


def shown_refund(payment: PaymentDocument, refund: RefundDocument) -> Refund:
    """A refund as the port shows it."""
    return Refund(
        id=refund.id,
        payment=payment.id,
        status=refund.status,
        amount_cents=refund.amount_cents,
        reference=refund.reference,
        failure=refund.failure,
    )


def shown_payment(books: Books, payment: PaymentDocument) -> Payment:
    """A payment as the port shows it."""
    receipt = f"{books.public_url}/simulated/receipt/{payment.id}"
    disputes = tuple(
        Dispute(
            id=each.id,
            status=each.status,
            amount_cents=each.amount_cents,
            withdrawn_cents=each.withdrawn_cents,
            reason=each.reason,
            evidence_due_at=each.evidence_due_at,
        )
        for each in payment.disputes
    )
    return Payment(
        id=payment.id,
        status=payment.status,
        reference=payment.reference,
        payer=payment.payer,
        amount_cents=payment.amount_cents,
        currency=payment.currency,
        live=False,
        created_at=payment.created_at,
        refunded_cents=payment.refunded_cents,
        disputes=disputes,
        decline=payment.decline,
        failure=payment.failure,
        failure_text=payment.failure_text,
        receipt_url=receipt if payment.status == "succeeded" else None,
        invoice=payment.invoice,
        invoice_url=None
        if payment.invoice is None
        else f"{books.public_url}/simulated/receipt/{payment.invoice}",
    )
