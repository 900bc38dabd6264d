"""What becomes due by itself: renewals, further attempts, cancellations, expiries."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from tests.stripe_double import errors
from tests.stripe_double.account import Account
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import invoices, payment_intents, payment_methods, sessions
from tests.stripe_double.resources.periods import period_at

DAY = 24 * 60 * 60
WAITS = (3 * DAY, 5 * DAY, 7 * DAY)  # before each further attempt; after the last, the subscription ends
RENEWED = frozenset({"active", "past_due", "trialing"})

Due: TypeAlias = tuple[int, str, Callable[[], None]]


def advance(account: Account, moment: int) -> None:
    """Move the clock to a moment; whatever became due by then happens at its own time, in order."""
    while True:
        due = min((each for each in _due(account) if each[0] <= moment), key=_order, default=None)
        if due is None:
            break
        account.clock.hold(due[0])
        due[2]()
    account.clock.go_on(moment)
    account.caught_up = account.now()


def catch_up(account: Account) -> None:
    """Let happen what became due as time went by."""
    if account.caught_up != account.now():
        advance(account, account.now())


def bill(
    account: Account,
    subscription: Json,
    lines: list[Json],
    *,
    reason: str,
    period: tuple[int, int] | None = None,
) -> errors.Refusal | None:
    """Draw up an invoice of a subscription and collect it; say what that makes of the subscription.

    The period of an invoice is the one that has ended; what is paid for is in the periods of its lines.
    """
    customer = account.objects[subscription["customer"]]
    invoice = invoices.drawn_up(
        account,
        customer,
        lines,
        reason=reason,
        subscription=subscription,
        period=period,
    )
    account.change(subscription, latest_invoice=invoice["id"])
    return _collected(account, invoice, subscription, method=_method(account, subscription))


def pay(account: Account, invoice: Json, *, method: str | None = None) -> errors.Refusal | None:
    """Try to collect an open invoice, with a method of its own if one is given."""
    name = invoices.subscription_of(invoice)
    chosen = None if method is None else payment_methods.named(account, method)["id"]
    for payment in account.all("invoice_payment", invoice=invoice["id"]):
        if account.objects[payment["payment"]["payment_intent"]]["status"] == "processing":
            return errors.refused("This invoice has a payment that is still processing.")
    if name is None:
        return invoices.collect(account, invoice, method=chosen)
    subscription = account.objects[name]
    return _collected(account, invoice, subscription, method=chosen or _method(account, subscription))


def bank_answered(account: Account, invoice: Json, *, paid: bool) -> None:
    """Let the bank answer about an invoice whose payment is processing."""
    [payment] = account.all("invoice_payment", invoice=invoice["id"])
    payment_intents.settle(account, account.objects[payment["payment"]["payment_intent"]], paid=paid)
    name = invoices.subscription_of(invoice)
    if paid:
        invoices.settle_later(account, invoice)
        if name is not None:
            _paid_up(account, account.objects[name])
    else:
        invoices.fail(account, invoice)
        if name is not None:
            _past_due(account, invoice, account.objects[name])


def _due(account: Account) -> Iterator[Due]:
    for session in account.all("checkout.session", status="open"):
        yield session["expires_at"], session["id"], partial(_expire, account, session)
    for subscription in account.all("subscription"):
        if subscription["status"] in RENEWED:
            ends = subscription["items"]["data"][0]["current_period_end"]
            yield ends, subscription["id"], partial(_renew, account, subscription)
    for invoice in account.all("invoice", status="open"):
        if invoice["next_payment_attempt"] is not None:
            yield invoice["next_payment_attempt"], invoice["id"], partial(_try_again, account, invoice)


def _order(due: Due) -> tuple[int, str]:
    return due[:2]


def _expire(account: Account, session: Json) -> None:
    sessions.expired(account, session)


def _renew(account: Account, subscription: Json) -> None:
    from tests.stripe_double.resources import subscriptions

    if subscription["cancel_at_period_end"]:
        subscriptions.end(account, subscription, reason="cancellation_requested")
        return
    items = subscription["items"]
    recurring = items["data"][0]["price"]["recurring"]
    start, end = period_at(subscription["billing_cycle_anchor"], recurring, account.now())
    rows = [each | {"current_period_start": start, "current_period_end": end} for each in items["data"]]
    latest = subscription["latest_invoice"]
    account.change(subscription, items=items | {"data": rows})
    lines = account.pending_lines.pop(subscription["id"], []) + subscriptions.full_lines(
        account, subscription
    )
    ended = (items["data"][0]["current_period_start"], start)
    bill(account, subscription, lines, reason="subscription_cycle", period=ended)
    previous = {"items": items, "latest_invoice": latest}
    account.emit("customer.subscription.updated", subscription, previous=previous)


def _try_again(account: Account, invoice: Json) -> None:
    pay(account, invoice)


def _collected(
    account: Account, invoice: Json, subscription: Json, *, method: str | None
) -> errors.Refusal | None:
    refusal = invoices.collect(account, invoice, method=method)
    if refusal is not None:
        _past_due(account, invoice, subscription)
    else:
        _paid_up(account, subscription)
    return refusal


def _paid_up(account: Account, subscription: Json) -> None:
    if subscription["status"] == "past_due" and not open_invoices(account, subscription):
        account.change(subscription, "customer.subscription.updated", status="active")


def _past_due(account: Account, invoice: Json, subscription: Json) -> None:
    from tests.stripe_double.resources import subscriptions

    if subscription["status"] in subscriptions.ENDED:
        return
    attempt = invoice["attempt_count"] - 1
    if attempt < len(WAITS):
        account.change(invoice, "invoice.updated", next_payment_attempt=account.now() + WAITS[attempt])
        account.change(subscription, "customer.subscription.updated", status="past_due")
        return
    account.change(invoice, "invoice.updated", next_payment_attempt=None, auto_advance=False)
    subscriptions.end(account, subscription, reason="payment_failed")


def open_invoices(account: Account, subscription: Json) -> list[Json]:
    """Return what a subscription still owes."""
    rows = account.all("invoice", customer=subscription["customer"], status="open")
    return [each for each in rows if invoices.subscription_of(each) == subscription["id"]]


def _method(account: Account, subscription: Json) -> str | None:
    owner = account.objects[subscription["customer"]]
    found: str | None = (
        subscription["default_payment_method"] or owner["invoice_settings"]["default_payment_method"]
    )
    return found
