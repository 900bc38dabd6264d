"""What time alone makes happen at the provider, one thing after the other, each as of its own moment."""

from __future__ import annotations

from dataclasses import replace

from tallystick.providers.simulated import pages, reversals, subscriptions
from tallystick.providers.simulated.books import Books, read
from tallystick.providers.simulated.documents import PageDocument, PaymentDocument, SubscriptionDocument
from tallystick.store import simulated


def run(books: Books) -> str | None:
    """Do what has been due longest, as if it were its moment now; gives what it was, or None when nothing is due.

    So a jump over months goes through every one of them. Several processes may do this at once.
    """
    row = simulated.earliest_due(books.connection, now=books.now)
    if row is None or row.due_at is None:
        return None
    then = replace(books, now=row.due_at)
    if row.kind == PageDocument.kind:
        pages.expire(then, read(PageDocument, row))
        return "simulated_expiry"
    if row.kind == SubscriptionDocument.kind:
        return subscriptions.come_due(then, read(SubscriptionDocument, row))
    payment = read(PaymentDocument, row)
    if payment.status == "processing" and payment.settles_at == row.due_at:
        pages.settle_late(then, payment, succeeded=payment.settles == "succeed")
        return "simulated_settlement"
    reversals.settle_refunds(then, payment)
    return "simulated_refund"
