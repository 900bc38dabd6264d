"""Monthly plans: begun on a page, renewed by the clock, changed in the middle, tried again when they are not paid, ended."""

from __future__ import annotations

from typing import Final

from tallystick.core.times import DAY, add_months
from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Invoice, InvoiceReason, Subscription, SubscriptionStatus
from tallystick.providers.simulated import charging
from tallystick.providers.simulated.books import Books
from tallystick.providers.simulated.documents import (
    InvoiceDocument,
    PageDocument,
    PayerDocument,
    PaymentDocument,
    SubscriptionDocument,
)

# After a failed payment it is tried again so many days later, each time; then the subscription ends.
RETRY_AFTER_DAYS: Final = (3, 5, 7)


def prorate(amount_cents: int, *, rest: int, whole: int) -> int:
    """The part of a month's price for the rest of the month, to the cent, half a cent up."""
    return (2 * amount_cents * rest + whole) // (2 * whole)


def begin(books: Books, page: PageDocument, payment: PaymentDocument, *, paid: bool) -> None:
    """A page was completed: its plan begins now, or when its payment has come."""
    subscription = books.add(
        SubscriptionDocument(
            created_at=books.now,
            payer=page.payer,
            reference=page.reference,
            plan=page.plan,
            title=page.title,
            amount_cents=page.amount_cents,
            currency=page.currency,
            anchor_at=books.now,
            months=1,
            period_start=books.now,
            period_end=add_months(books.now, 1),
            status="active" if paid else "incomplete",
        )
    )
    invoice = _bill(books, subscription, "create", page.amount_cents, credit_cents=0)
    invoice.payment, payment.invoice = payment.id, invoice.id
    page.subscription, page.invoice = subscription.id, invoice.id
    books.save(payment)
    books.save(subscription)
    books.tell("customer.subscription.created", "subscription", subscription.id)
    if paid:
        mark_paid(books, invoice)
    else:
        books.save(invoice)


def _bill(
    books: Books,
    subscription: SubscriptionDocument,
    reason: InvoiceReason,
    amount_cents: int,
    *,
    credit_cents: int,
) -> InvoiceDocument:
    """A bill for the period that the subscription is in; it becomes the latest, and the caller saves both."""
    whole_period = reason != "update"
    invoice = InvoiceDocument(
        created_at=books.now,
        payer=subscription.payer,
        reference=subscription.reference,
        reason=reason,
        title=subscription.title,
        plan=subscription.plan,
        subscription=subscription.id,
        amount_cents=amount_cents,
        credit_cents=credit_cents,
        currency=subscription.currency,
        period_start=subscription.period_start if whole_period else books.now,
        period_end=subscription.period_end,
    )
    books.add(invoice)
    subscription.latest_invoice = invoice.id
    return invoice


def mark_paid(books: Books, invoice: InvoiceDocument) -> None:
    """A bill is settled."""
    invoice.paid, invoice.failure_text = True, None
    books.save(invoice)
    books.tell("invoice.paid", "invoice", invoice.id)


def come_due(books: Books, subscription: SubscriptionDocument) -> str:
    """Its moment has come: try again what is owed, end, or begin the next period. Gives what was done."""
    if subscription.retry_at is not None and subscription.retry_at <= min(books.now, subscription.period_end):
        invoice = books.get(InvoiceDocument, subscription.owed)
        _collect(books, subscription, invoice)
        books.save(subscription)
        return "simulated_retry"
    if subscription.ends_with_period:
        end(books, subscription)
        return "simulated_end"
    subscription.months += 1
    subscription.period_start = subscription.period_end
    subscription.period_end = add_months(subscription.anchor_at, subscription.months)
    payer = books.get(PayerDocument, subscription.payer)
    credit = _take_credit(books, payer, subscription.currency, subscription.amount_cents)
    invoice = _bill(books, subscription, "cycle", subscription.amount_cents - credit, credit_cents=credit)
    books.tell("customer.subscription.updated", "subscription", subscription.id)
    _collect(books, subscription, invoice)
    books.save(subscription)
    return "simulated_renewal"


def _take_credit(books: Books, payer: PayerDocument, currency: str, amount_cents: int) -> int:
    """Use what earlier changes left over for a bill; gives how much."""
    credit = min(payer.credit_cents.get(currency, 0), amount_cents)
    if credit:
        payer.credit_cents[currency] -= credit
        books.save(payer)
    return credit


def _collect(books: Books, subscription: SubscriptionDocument, invoice: InvoiceDocument) -> None:
    """Charge the payer's card for a bill; what comes of it is the subscription's state."""
    if not invoice.amount_cents:
        settled(books, subscription, invoice, succeeded=True)
        return
    payment = books.find(PaymentDocument, invoice.payment, lock=True)
    if payment is None:
        payment = books.add(
            PaymentDocument(
                created_at=books.now,
                payer=subscription.payer,
                amount_cents=invoice.amount_cents,
                currency=invoice.currency,
                description=invoice.title,
                invoice=invoice.id,
            )
        )
        invoice.payment = payment.id
    payer = books.get(PayerDocument, subscription.payer)
    tried = charging.try_alone(books, payment, payer.card())
    books.save(payment)
    if tried == "processing":
        subscription.retry_at = None
        books.save(invoice)
    else:
        invoice.failure_text = payment.failure_text
        settled(books, subscription, invoice, succeeded=tried == "succeeded", decline=payment.decline)


def settled(
    books: Books,
    subscription: SubscriptionDocument,
    invoice: InvoiceDocument,
    *,
    succeeded: bool,
    decline: str | None = None,
) -> None:
    """A bill was paid, or could not be. The caller saves the subscription."""
    if succeeded:
        mark_paid(books, invoice)
        if subscription.owed in {None, invoice.id}:
            subscription.owed, subscription.retries, subscription.retry_at = None, 0, None
            _become(books, subscription, "active")
        return
    books.save(invoice)
    books.tell("invoice.payment_failed", "invoice", invoice.id)
    if decline == "authentication":
        books.tell("invoice.payment_action_required", "invoice", invoice.id)
    if subscription.status == "canceled":
        return
    if subscription.status == "incomplete" or subscription.retries == len(RETRY_AFTER_DAYS):
        end(books, subscription)
        return
    subscription.owed = invoice.id
    subscription.retry_at = books.now + RETRY_AFTER_DAYS[subscription.retries] * DAY
    subscription.retries += 1
    _become(books, subscription, "past_due")


def _become(books: Books, subscription: SubscriptionDocument, status: SubscriptionStatus) -> None:
    if subscription.status not in {status, "canceled"}:
        subscription.status = status
        books.tell("customer.subscription.updated", "subscription", subscription.id)


def end(books: Books, subscription: SubscriptionDocument) -> None:
    """No more periods."""
    subscription.status, subscription.canceled_at, subscription.retry_at = "canceled", books.now, None
    books.save(subscription)
    books.tell("customer.subscription.deleted", "subscription", subscription.id)


def end_with_period(books: Books, subscription: SubscriptionDocument, *, ends: bool) -> None:
    """Let the period that is paid be the last, or take that back."""
    _check_running(subscription)
    subscription.ends_with_period = ends
    books.save(subscription)
    books.tell("customer.subscription.updated", "subscription", subscription.id)


def cancel(books: Books, subscription: SubscriptionDocument, *, at_period_end: bool) -> None:
    """End it now, or with its period. One that has ended stays as it is."""
    if subscription.status == "canceled":
        return
    if at_period_end:
        end_with_period(books, subscription, ends=True)
    else:
        end(books, subscription)


def _check_running(subscription: SubscriptionDocument) -> None:
    if subscription.status == "canceled":
        raise ProviderRefused("the subscription has ended", code="resource_missing")


def change(
    books: Books, subscription: SubscriptionDocument, *, plan: str, title: str, amount_cents: int
) -> None:
    """Another plan from now on; what the rest of the period costs more is paid now, what it costs less is kept as credit.

    Raises ``ProviderRefused`` with the card's code when the difference cannot be paid; then nothing has changed.
    """
    _check_running(subscription)
    if subscription.status == "incomplete":
        raise ProviderRefused(
            "the subscription's first payment has not come yet", code="subscription_incomplete"
        )
    charging.check_amount(amount_cents)
    whole = subscription.period_end - subscription.period_start
    rest = subscription.period_end - books.now
    new, old = (prorate(each, rest=rest, whole=whole) for each in (amount_cents, subscription.amount_cents))
    subscription.plan, subscription.title, subscription.amount_cents = plan, title, amount_cents
    subscription.ends_with_period = False
    if new != old:
        _bill_difference(books, subscription, new - old)
    books.save(subscription)
    books.tell("customer.subscription.updated", "subscription", subscription.id)


def _bill_difference(books: Books, subscription: SubscriptionDocument, difference: int) -> None:
    payer = books.get(PayerDocument, subscription.payer)
    currency = subscription.currency
    if difference < 0:
        payer.credit_cents[currency] = payer.credit_cents.get(currency, 0) - difference
        books.save(payer)
        mark_paid(books, _bill(books, subscription, "update", 0, credit_cents=0))
        return
    credit = _take_credit(books, payer, currency, difference)
    invoice = _bill(books, subscription, "update", difference - credit, credit_cents=credit)
    _collect(books, subscription, invoice)
    if invoice.failure_text is not None:
        payment = books.get(PaymentDocument, invoice.payment)
        raise ProviderRefused(invoice.failure_text, code=payment.failure)


def shown_subscription(subscription: SubscriptionDocument) -> Subscription:
    """A subscription as the port shows it."""
    return Subscription(
        id=subscription.id,
        status=subscription.status,
        payer=str(subscription.payer),
        plan=subscription.plan,
        reference=subscription.reference,
        amount_cents=subscription.amount_cents,
        currency=subscription.currency,
        period_start=subscription.period_start,
        period_end=subscription.period_end,
        live=False,
        ends_at=subscription.period_end if subscription.ends_with_period else None,
        canceled_at=subscription.canceled_at,
        latest_invoice=subscription.latest_invoice,
    )


def shown_invoice(books: Books, invoice: InvoiceDocument) -> Invoice:
    """A bill as the port shows it."""
    return Invoice(
        id=invoice.id,
        paid=invoice.paid,
        reason=invoice.reason,
        payer=invoice.payer,
        subscription=invoice.subscription,
        plan=invoice.plan,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        amount_cents=invoice.amount_cents,
        currency=invoice.currency,
        live=False,
        url=f"{books.public_url}/simulated/receipt/{invoice.id}",
        payment=invoice.payment,
        failure_text=invoice.failure_text,
    )
