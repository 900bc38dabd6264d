"""What happens on the page of a checkout session: somebody pays, fails to, or pays later."""

from tests.stripe_double import errors
from tests.stripe_double.account import Account
from tests.stripe_double.cards import TestCard
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import (
    customers,
    invoices,
    payment_intents,
    payment_methods,
    renewals,
    setup_intents,
    subscriptions,
)


def submitted(account: Account, session: Json, card: TestCard, *, email: str) -> errors.Refusal | None:
    """Submit the page with a card; return the refusal that the page shows, after which one may try again."""
    if session["status"] != "open":
        raise ValueError(f"the session is {session['status']}")
    owner = account.objects.get(session["customer"] or "")
    if session["customer"] is not None and owner is None:
        raise ValueError("the customer of the session was deleted")
    method = payment_methods.made(account, card, email=email)
    match session["mode"]:
        case "payment":
            refusal = _paid(account, session, method, email)
        case "subscription":
            refusal = _subscribed(account, session, method, email)
        case _:
            refusal = _saved(account, session, method, email)
    if refusal is None:
        _completed(account, session, email)
    return refusal


def bank_answered(account: Account, session: Json, *, paid: bool) -> None:
    """Let the bank answer about a session that was completed without being paid yet."""
    if session["status"] != "complete" or session["payment_status"] != "unpaid":
        raise ValueError(f"the session is {session['status']} and {session['payment_status']}")
    invoice = account.objects.get(session["invoice"] or "")
    if session["mode"] == "subscription" and invoice is not None:
        renewals.bank_answered(account, invoice, paid=paid)
    else:
        intent = account.objects[session["payment_intent"]]
        payment_intents.settle(account, intent, paid=paid)
        if paid:
            _invoiced(account, session, intent)
    if paid:
        account.change(session, payment_status="paid")
    account.emit(f"checkout.session.async_payment_{'succeeded' if paid else 'failed'}", session)


def _paid(account: Account, session: Json, method: Json, email: str) -> errors.Refusal | None:
    if session["amount_total"] == 0:
        account.change(session, payment_status="no_payment_required")
        return None
    if session["customer"] is None and session["customer_creation"] == "always":
        account.change(session, customer=_new_customer(account, email)["id"])
    intent = account.objects.get(session["payment_intent"] or "")
    if intent is None:
        asked = account.wishes[session["id"]].get("payment_intent_data", {})
        amount = {
            "amount": session["amount_total"],
            "currency": session["currency"],
            "customer": session["customer"],
        }
        intent = payment_intents.made(account, asked | amount)
        account.change(session, payment_intent=intent["id"])
    account.change(intent, payment_method=method["id"])
    refusal = payment_intents.attempt(account, intent, present=True)
    if refusal is None and intent["status"] == "succeeded":
        account.change(session, payment_status="paid")
        _invoiced(account, session, intent)
    return refusal


def _invoiced(account: Account, session: Json, intent: Json) -> None:
    """Draw up the invoice that a session asked for, already paid."""
    wanted = session["invoice_creation"]
    if not wanted or not wanted["enabled"] or session["customer"] is None:
        return
    now = account.now()
    lines = [
        invoices.line(
            account, item["price"], amount=item["amount_total"], quantity=item["quantity"], period=(now, now)
        )
        for item in account.line_items[session["id"]]
    ]
    data = wanted["invoice_data"]
    owner = account.objects[session["customer"]]
    invoice = invoices.drawn_up(
        account, owner, lines, reason="manual", metadata=data["metadata"], description=data["description"]
    )
    account.change(session, invoice=invoice["id"])
    invoices.collect(account, invoice, method=None, intent=intent)


def _subscribed(account: Account, session: Json, method: Json, email: str) -> errors.Refusal | None:
    card = account.cards[method["id"]]
    if card.declines:
        return payment_methods.declined(card, method)
    owner = account.objects.get(session["customer"] or "") or _new_customer(account, email)
    payment_methods.keep(account, method, owner["id"])
    wishes = account.wishes[session["id"]].get("subscription_data", {})
    rows = account.line_items[session["id"]]
    now = account.now()
    subscription = subscriptions.begun(
        account,
        owner,
        [each for each in rows if each["price"]["recurring"]],
        method=method,
        metadata=wishes.get("metadata", {}),
        description=wishes.get("description"),
    )
    once = [
        invoices.line(
            account, each["price"], amount=each["amount_total"], quantity=each["quantity"], period=(now, now)
        )
        for each in rows
        if not each["price"]["recurring"]
    ]
    account.emit("customer.subscription.created", subscription)
    invoice = invoices.drawn_up(
        account,
        owner,
        subscriptions.full_lines(account, subscription) + once,
        reason="subscription_create",
        subscription=subscription,
    )
    account.change(subscription, latest_invoice=invoice["id"])
    account.change(session, customer=owner["id"], invoice=invoice["id"], subscription=subscription["id"])
    refusal = invoices.collect(account, invoice, method=method["id"], present=True)
    if refusal is None and invoice["status"] == "paid":
        account.change(session, payment_status="paid")
    return refusal


def _saved(account: Account, session: Json, method: Json, email: str) -> errors.Refusal | None:
    if session["customer"] is None:
        account.change(session, customer=_new_customer(account, email)["id"])
    intent = account.objects.get(session["setup_intent"] or "")
    if intent is None:
        asked = account.wishes[session["id"]].get("setup_intent_data", {})
        intent = setup_intents.made(account, asked | {"customer": session["customer"]})
        account.change(session, setup_intent=intent["id"])
    account.change(intent, payment_method=method["id"])
    return setup_intents.attempt(account, intent)


def _completed(account: Account, session: Json, email: str) -> None:
    details = account.contract.blank("checkout.session", "customer_details")
    details |= {"email": email, "tax_exempt": "none", "tax_ids": []}
    account.change(session, customer_details=details, status="complete", url=None)
    account.emit("checkout.session.completed", session)


def _new_customer(account: Account, email: str) -> Json:
    return customers.create(account, {"email": email})
