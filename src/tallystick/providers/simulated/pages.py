"""The checkout page: made, paid once, in time or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tallystick.core.times import HOUR, MINUTE
from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Checkout, CheckoutOrder, Paid
from tallystick.providers.simulated import charging, subscriptions
from tallystick.providers.simulated.books import Books
from tallystick.providers.simulated.cards import UNCONFIRMED, TestCard, sentence_of
from tallystick.providers.simulated.documents import (
    InvoiceDocument,
    PageDocument,
    PayerDocument,
    PaymentDocument,
    SubscriptionDocument,
)

SHORTEST_MICROS: Final = 30 * MINUTE
LONGEST_MICROS: Final = 24 * HOUR
_CURRENCY: Final = re.compile(r"[a-z]{3}")
_ADDRESS: Final = re.compile(r"https?://[!-~]{1,2000}")
_OWN_ID: Final = "{CHECKOUT_SESSION_ID}"

Outcome: TypeAlias = Literal["done", "declined", "unconfirmed", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """A page as it is shown to whoever pays. ``problem`` is why the last try failed."""

    id: str
    open: bool
    complete: bool
    mode: str
    title: str
    amount_cents: int
    currency: str
    email: str | None
    monthly: bool
    saves_card: bool
    success_url: str
    cancel_url: str
    expires_at: int
    problem: str | None


def check_address(address: str) -> None:
    """Refuse what no browser should be sent to."""
    if not _ADDRESS.fullmatch(address):
        raise ProviderRefused(f"not a valid address: {address[:100]}", code="url_invalid")


def create(books: Books, order: CheckoutOrder) -> PageDocument:
    """A new page. Raises ``ProviderRefused`` for what no provider would offer."""
    books.get(PayerDocument, order.payer)
    if not _CURRENCY.fullmatch(order.currency):
        raise ProviderRefused(f"no such currency: {order.currency}", code="invalid_currency")
    check_address(order.success_url)
    check_address(order.cancel_url)
    if order.mode != "setup":
        if order.price is not None and not order.amount_cents:
            raise ProviderRefused(f"no such price: {order.price}", code="resource_missing")
        charging.check_amount(order.amount_cents)
    return books.add(
        PageDocument(
            created_at=books.now,
            payer=order.payer,
            reference=order.reference,
            mode=order.mode,
            title=order.title,
            amount_cents=0 if order.mode == "setup" else order.amount_cents,
            currency=order.currency,
            plan=order.plan,
            save_card=order.save_card or order.mode != "payment",
            success_url=order.success_url,
            cancel_url=order.cancel_url,
            expires_at=min(max(order.expires_at, books.now + SHORTEST_MICROS), books.now + LONGEST_MICROS),
        )
    )


def is_open(books: Books, page: PageDocument) -> bool:
    """Whether somebody may pay on it: it ends at its moment, whether or not that was written down yet."""
    return page.status == "open" and books.now < page.expires_at


def pay(books: Books, page_id: str, number: str, *, confirmed: bool) -> Outcome:
    """Pay, subscribe or save a card with a test card. A second click finds the page closed and does nothing."""
    page = books.get(PageDocument, page_id, lock=True)
    if not is_open(books, page):
        return "closed"
    payer = books.get(PayerDocument, page.payer)
    card = charging.known_card(number)
    if card.here == "authenticate" and not confirmed:
        return "unconfirmed"
    if page.mode == "setup":
        return _save_only(books, page, payer, card)
    payment = _payment(books, page)
    tried = charging.try_here(books, payment, card)
    if tried == "failed":
        page.problem = payment.failure_text
        _keep(books, page, payment)
        return "declined"
    page.problem = None
    if page.save_card:
        page.card = payment.card = charging.save_card(books, payer, card.number).id
    page.status = "complete"
    _keep(books, page, payment)
    _complete(books, page, payment, paid=tried == "succeeded")
    return "done"


def _save_only(books: Books, page: PageDocument, payer: PayerDocument, card: TestCard) -> Outcome:
    """Save a card without charging it; one that would be declined here is not saved."""
    if card.here == "decline":
        page.problem = sentence_of(card.here_code)
        books.save(page)
        return "declined"
    page.card = charging.save_card(books, payer, card.number).id
    page.status, page.problem = "complete", None
    books.save(page)
    books.tell("checkout.session.completed", "checkout", page.id)
    return "done"


def refuse(books: Books, page_id: str) -> Outcome:
    """The card's owner did not confirm the payment."""
    page = books.get(PageDocument, page_id, lock=True)
    if not is_open(books, page):
        return "closed"
    page.problem = sentence_of(UNCONFIRMED)
    if page.mode == "setup":
        books.save(page)
        return "declined"
    payment = _payment(books, page)
    charging.fail(books, payment, UNCONFIRMED)
    _keep(books, page, payment)
    return "declined"


def _payment(books: Books, page: PageDocument) -> PaymentDocument:
    """The payment of a page: one, however often it is tried. It gets its id now, and is kept when it was tried."""
    found = books.find(PaymentDocument, page.payment, lock=True)
    if found is not None:
        return found
    return PaymentDocument(
        id=books.making.token(PaymentDocument.prefix),
        created_at=books.now,
        payer=page.payer,
        reference=page.reference if page.mode == "payment" else None,
        amount_cents=page.amount_cents,
        currency=page.currency,
        description=page.title,
        page=page.id,
    )


def _keep(books: Books, page: PageDocument, payment: PaymentDocument) -> None:
    if page.payment is None:
        page.payment = books.add(payment).id
    else:
        books.save(payment)
    books.save(page)


def _complete(books: Books, page: PageDocument, payment: PaymentDocument, *, paid: bool) -> None:
    """What was bought begins, or waits for its payment."""
    if page.mode == "subscription":
        subscriptions.begin(books, page, payment, paid=paid)
        books.save(page)
    elif page.mode == "payment" and paid:
        _bill(books, page, payment)
    books.tell("checkout.session.completed", "checkout", page.id)


def _bill(books: Books, page: PageDocument, payment: PaymentDocument) -> None:
    """The bill for what was bought once, paid already."""
    invoice = books.add(
        InvoiceDocument(
            created_at=books.now,
            payer=page.payer,
            reference=page.reference,
            reason="other",
            title=page.title,
            plan=None,
            subscription=None,
            amount_cents=page.amount_cents,
            currency=page.currency,
            period_start=books.now,
            period_end=books.now,
            payment=payment.id,
        )
    )
    page.invoice = payment.invoice = invoice.id
    books.save(page)
    books.save(payment)
    subscriptions.mark_paid(books, invoice)


def settle_late(books: Books, payment: PaymentDocument, *, succeeded: bool) -> None:
    """A payment that took its time has come, or not: its page and its bill follow."""
    if payment.status != "processing":
        raise ProviderRefused("the payment does not wait for anything", code="payment_not_processing")
    if succeeded:
        charging.succeed(books, payment)
    else:
        charging.fail(books, payment, "payment_failed_later")
    books.save(payment)
    page = books.find(PageDocument, payment.page, lock=True)
    if page is not None and page.mode == "payment" and succeeded:
        _bill(books, page, payment)
    elif payment.invoice is not None:
        _settle_bill(books, payment, succeeded=succeeded)
    if page is not None:
        outcome = "succeeded" if succeeded else "failed"
        books.tell(f"checkout.session.async_payment_{outcome}", "checkout", page.id)


def _settle_bill(books: Books, payment: PaymentDocument, *, succeeded: bool) -> None:
    invoice = books.get(InvoiceDocument, payment.invoice, lock=True)
    invoice.failure_text = payment.failure_text
    subscription = books.get(SubscriptionDocument, invoice.subscription, lock=True)
    subscriptions.settled(books, subscription, invoice, succeeded=succeeded, decline=payment.decline)
    books.save(subscription)


def expire(books: Books, page: PageDocument | None) -> None:
    """Nobody can pay on it any more, and what was tried on it is over. One that is done, or not there, stays so."""
    if page is None or page.status != "open":
        return
    page.status = "expired"
    books.save(page)
    payment = books.find(PaymentDocument, page.payment, lock=True)
    if payment is not None:
        payment.status = "canceled"
        books.save(payment)
    books.tell("checkout.session.expired", "checkout", page.id)


def shown(books: Books, page: PageDocument) -> Checkout:
    """A page as the port shows it."""
    still_open = is_open(books, page)
    payment = books.find(PaymentDocument, page.payment)
    paid: Paid = "unpaid"
    if page.mode == "setup":
        paid = "nothing_due"
    elif page.status == "complete" and payment is not None and payment.status == "succeeded":
        paid = "paid"
    return Checkout(
        id=page.id,
        mode=page.mode,
        status="expired" if page.status == "open" and not still_open else page.status,
        paid=paid,
        reference=page.reference,
        payer=page.payer,
        amount_cents=None if page.mode == "setup" else page.amount_cents,
        currency=None if page.mode == "setup" else page.currency,
        url=f"{books.public_url}/simulated/checkout/{page.id}" if still_open else None,
        live=False,
        expires_at=page.expires_at,
        payment=page.payment if page.mode == "payment" else None,
        subscription=page.subscription,
        invoice=page.invoice,
        card=page.card,
    )


def view(books: Books, page: PageDocument) -> PageView:
    """A page as it is shown to whoever pays."""
    payer = books.get(PayerDocument, page.payer, lock=False)
    return PageView(
        id=page.id,
        open=is_open(books, page),
        complete=page.status == "complete",
        mode=page.mode,
        title=page.title,
        amount_cents=page.amount_cents,
        currency=page.currency,
        email=payer.email,
        monthly=page.mode == "subscription",
        saves_card=page.save_card,
        success_url=page.success_url.replace(_OWN_ID, page.id),
        cancel_url=page.cancel_url,
        expires_at=page.expires_at,
        problem=page.problem,
    )
