"""Invoices: drawn up, finalized and paid, for subscriptions and for sessions that asked for one."""

from typing import Any

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page, whole_list
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import payment_intents
from tests.stripe_double.routing import PAGING, route


def line(
    account: Account, price: Json, *, amount: int, quantity: int, period: tuple[int, int], **more: Any
) -> Json:
    """Return a line of an invoice."""
    unit = {"price_details": {"price": price["id"], "product": price["product"]}, "type": "price_details"}
    return (
        account.contract.blank("line_item")
        | {
            "id": account.new_id("il"),
            "object": "line_item",
            "amount": amount,
            "currency": price["currency"],
            "description": account.objects[price["product"]]["name"],
            "discount_amounts": [],
            "discountable": True,
            "discounts": [],
            "livemode": False,
            "metadata": {},
            "period": {"start": period[0], "end": period[1]},
            "pretax_credit_amounts": [],
            "pricing": unit | {"unit_amount_decimal": price["unit_amount_decimal"]},
            "quantity": quantity,
            "subtotal": amount,
            "taxes": [],
        }
        | more
    )


def drawn_up(
    account: Account,
    customer: Json,
    lines: list[Json],
    *,
    reason: str,
    subscription: Json | None = None,
    period: tuple[int, int] | None = None,
    metadata: Json | None = None,
    description: str | None = None,
) -> Json:
    """Make an invoice and finalize it; what the customer has at credit is used first."""
    currency = lines[0]["currency"]
    subtotal = sum(each["amount"] for each in lines)
    start, end = period or (account.now(), account.now())
    parent = None
    if subscription is not None:
        details = {
            "metadata": subscription["metadata"],
            "subscription": subscription["id"],
            "subscription_proration_date": None,
        }
        parent = {"quote_details": None, "subscription_details": details, "type": "subscription_details"}
    invoice = account.new(
        "invoice",
        "in",
        account_country="US",
        account_name="A test account",
        amount_due=0,
        amount_overpaid=0,
        amount_paid=0,
        amount_remaining=0,
        amount_shipping=0,
        attempt_count=0,
        attempted=False,
        auto_advance=True,
        automatic_tax={
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        billing_reason=reason,
        collection_method="charge_automatically",
        currency=currency,
        customer=customer["id"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_tax_exempt="none",
        customer_tax_ids=[],
        default_tax_rates=[],
        description=description,
        discounts=[],
        issuer={"type": "self"},
        lines=whole_list([], url=""),
        metadata=metadata or {},
        parent=parent,
        payment_settings={
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        period_end=end,
        period_start=start,
        post_payment_credit_notes_amount=0,
        pre_payment_credit_notes_amount=0,
        starting_balance=customer["balance"],
        status="draft",
        status_transitions=dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal,
        total=subtotal,
        total_discount_amounts=[],
        total_excluding_tax=subtotal,
        total_pretax_credit_amounts=[],
        total_taxes=[],
    )
    rows = [each | {"invoice": invoice["id"]} for each in lines]
    account.change(invoice, lines=whole_list(rows, url=f"/v1/invoices/{invoice['id']}/lines"))
    account.emit("invoice.created", invoice)
    _finalize(account, invoice, customer)
    return invoice


def _finalize(account: Account, invoice: Json, customer: Json) -> None:
    due = max(0, invoice["total"] + customer["balance"])
    left = min(0, invoice["total"] + customer["balance"])
    account.change(customer, "customer.updated", balance=left)
    account.change(customer, next_invoice_sequence=customer["next_invoice_sequence"] + 1)
    account.change(
        invoice,
        amount_due=due,
        amount_remaining=due,
        effective_at=account.now(),
        ending_balance=left,
        hosted_invoice_url=f"https://invoice.stripe.test/i/{invoice['id']}",
        invoice_pdf=f"https://pay.stripe.test/invoice/{invoice['id']}/pdf",
        number=f"{customer['invoice_prefix']}-{customer['next_invoice_sequence'] - 1:04d}",
        status="open",
        status_transitions=invoice["status_transitions"] | {"finalized_at": account.now()},
    )
    account.emit("invoice.finalized", invoice)


def collect(
    account: Account, invoice: Json, *, method: str | None, present: bool = False, intent: Json | None = None
) -> errors.Refusal | None:
    """Take the money of an open invoice, with a method or by an intent that is paid already; return a refusal."""
    attempts = invoice["attempt_count"] + 1
    account.change(invoice, attempted=True, attempt_count=attempts, next_payment_attempt=None)
    if invoice["amount_due"] == 0:
        settle(account, invoice)
        return None
    if intent is None and method is None:
        fail(account, invoice)
        return errors.refused(
            "This customer has no attached payment source or default payment method.", code="resource_missing"
        )
    payment = _payment(account, invoice, intent)
    paid_by = account.objects[payment["payment"]["payment_intent"]]
    if intent is not None:
        _paid(account, invoice, payment)
        return None
    account.change(paid_by, payment_method=method)
    refusal = payment_intents.attempt(account, paid_by, present=present, off_session=not present)
    if refusal is not None:
        fail(account, invoice, refusal)
        return refusal
    if paid_by["status"] == "succeeded":
        _paid(account, invoice, payment)
    return None


def settle(account: Account, invoice: Json) -> None:
    """Mark an invoice as paid, and say so."""
    account.change(
        invoice,
        amount_paid=invoice["amount_due"],
        amount_remaining=0,
        attempted=True,
        auto_advance=False,
        next_payment_attempt=None,
        status="paid",
        status_transitions=invoice["status_transitions"] | {"paid_at": account.now()},
    )
    account.emit("invoice.paid", invoice)
    account.emit("invoice.payment_succeeded", invoice)


def settle_later(account: Account, invoice: Json) -> None:
    """Mark an invoice as paid whose payment was processing until now."""
    [payment] = account.all("invoice_payment", invoice=invoice["id"])
    _paid(account, invoice, payment)


def fail(account: Account, invoice: Json, refusal: errors.Refusal | None = None) -> None:
    """Say that the money of an invoice could not be taken."""
    account.emit("invoice.payment_failed", invoice)
    if refusal is not None and refusal.body()["error"].get("decline_code") == "authentication_required":
        account.emit("invoice.payment_action_required", invoice)


@route("GET", "/v1/invoices/{invoice}")
def retrieve(account: Account, parameters: Json, invoice: str) -> Json:
    del parameters
    return account.find("invoice", invoice)


@route("GET", "/v1/invoices", f"{PAGING} created customer status subscription")
def listed(account: Account, parameters: Json) -> Json:
    asked = {key: parameters.get(key) for key in ("customer", "status")}
    rows = account.all("invoice", **asked)
    if "subscription" in parameters:
        rows = [each for each in rows if subscription_of(each) == parameters["subscription"]]
    return page(rows, parameters, url="/v1/invoices")


@route("POST", "/v1/invoices/{invoice}/pay", "payment_method off_session")
def pay(account: Account, parameters: Json, invoice: str) -> Json:
    from tests.stripe_double.resources import renewals

    found = account.find("invoice", invoice)
    if found["status"] != "open":
        raise errors.refused(
            "Invoice is already paid." if found["status"] == "paid" else "This invoice is not open."
        )
    refusal = renewals.pay(account, found, method=parameters.get("payment_method"))
    if refusal is not None:
        raise refusal
    return found


@route("GET", "/v1/invoice_payments", f"{PAGING} created invoice status payment.type payment.payment_intent")
def payments(account: Account, parameters: Json) -> Json:
    asked = {key: parameters.get(key) for key in ("invoice", "status")}
    wanted = parameters.get("payment", {}).get("payment_intent")
    rows = [
        each
        for each in account.all("invoice_payment", **asked)
        if wanted is None or each["payment"]["payment_intent"] == wanted
    ]
    return page(rows, parameters, url="/v1/invoice_payments")


@route("GET", "/v1/invoice_payments/{invoice_payment}")
def retrieve_payment(account: Account, parameters: Json, invoice_payment: str) -> Json:
    del parameters
    return account.find("invoice_payment", invoice_payment)


def subscription_of(invoice: Json) -> str | None:
    """Return the subscription that an invoice is for, if it is for one."""
    parent = invoice["parent"]
    return None if parent is None else parent["subscription_details"]["subscription"]


def _payment(account: Account, invoice: Json, intent: Json | None) -> Json:
    """Return what ties an invoice to its payment intent, made at the first attempt."""
    for each in account.all("invoice_payment", invoice=invoice["id"]):
        return each
    if intent is None:
        asked = {
            "amount": invoice["amount_due"],
            "currency": invoice["currency"],
            "customer": invoice["customer"],
            "description": {
                "subscription_create": "Subscription creation",
                "subscription_cycle": "Subscription update",
            }.get(invoice["billing_reason"]),
        }
        intent = payment_intents.made(account, asked)
    return account.new(
        "invoice_payment",
        "inpay",
        amount_requested=invoice["amount_due"],
        currency=invoice["currency"],
        invoice=invoice["id"],
        is_default=True,
        payment={"payment_intent": intent["id"], "type": "payment_intent"},
        status="open",
        status_transitions={"canceled_at": None, "paid_at": None},
    )


def _paid(account: Account, invoice: Json, payment: Json) -> None:
    account.change(
        payment,
        amount_paid=payment["amount_requested"],
        status="paid",
        status_transitions={"canceled_at": None, "paid_at": account.now()},
    )
    account.emit("invoice_payment.paid", payment)
    settle(account, invoice)
