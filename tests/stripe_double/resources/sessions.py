"""Checkout sessions, as the API makes, shows and expires them; what happens on their page is in `checkout`."""

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import catalog
from tests.stripe_double.resources.common import check_amount, merged_metadata
from tests.stripe_double.routing import PAGING, route

SHORTEST_SECONDS = 30 * 60
LONGEST_SECONDS = 24 * 60 * 60
LONGEST_REFERENCE = 200
TAKEN = """
    adaptive_pricing.enabled allow_promotion_codes billing_address_collection cancel_url client_reference_id currency
    customer customer_creation customer_email expires_at invoice_creation.enabled invoice_creation.invoice_data.metadata
    invoice_creation.invoice_data.description locale metadata mode payment_method_collection success_url submit_type
    line_items.price line_items.quantity line_items.price_data.currency line_items.price_data.product
    line_items.price_data.product_data.name line_items.price_data.product_data.description
    line_items.price_data.product_data.metadata line_items.price_data.recurring.interval
    line_items.price_data.recurring.interval_count line_items.price_data.unit_amount
    line_items.price_data.unit_amount_decimal line_items.price_data.tax_behavior
    payment_intent_data.description payment_intent_data.metadata payment_intent_data.receipt_email
    payment_intent_data.setup_future_usage payment_intent_data.statement_descriptor_suffix
    setup_intent_data.description setup_intent_data.metadata
    subscription_data.description subscription_data.metadata
"""
ONLY_IN = {
    "invoice_creation": "payment",
    "payment_intent_data": "payment",
    "setup_intent_data": "setup",
    "subscription_data": "subscription",
    "payment_method_collection": "subscription",
}


@route("POST", "/v1/checkout/sessions", TAKEN)
def create(account: Account, parameters: Json) -> Json:
    _check(account, parameters)
    mode = parameters["mode"]
    items = [_line_item(account, each, mode) for each in parameters.get("line_items", [])]
    currency = parameters.get("currency") or (items[0]["currency"] if items else None)
    if any(each["currency"] != currency for each in items):
        raise errors.invalid("All line items must have the same currency.", param="line_items")
    if mode == "subscription" and not any(each["price"]["recurring"] for each in items):
        raise errors.invalid(
            "You must provide at least one recurring price in `subscription` mode.", param="line_items"
        )
    total = sum(each["amount_total"] for each in items) if items else None
    if mode == "payment" and total:
        check_amount(total, currency or "usd", param="line_items")
    session = _made(account, parameters, currency=currency, total=total)
    account.line_items[session["id"]] = items
    account.wishes[session["id"]] = parameters
    return session


@route("GET", "/v1/checkout/sessions/{session}")
def retrieve(account: Account, parameters: Json, session: str) -> Json:
    del parameters
    return account.find("checkout.session", session)


@route("GET", "/v1/checkout/sessions/{session}/line_items", PAGING)
def line_items(account: Account, parameters: Json, session: str) -> Json:
    account.find("checkout.session", session)
    return page(account.line_items[session], parameters, url=f"/v1/checkout/sessions/{session}/line_items")


@route("GET", "/v1/checkout/sessions", f"{PAGING} created customer payment_intent status subscription")
def listed(account: Account, parameters: Json) -> Json:
    asked = {key: parameters.get(key) for key in ("customer", "payment_intent", "status", "subscription")}
    return page(account.all("checkout.session", **asked), parameters, url="/v1/checkout/sessions")


@route("POST", "/v1/checkout/sessions/{session}/expire")
def expire(account: Account, parameters: Json, session: str) -> Json:
    del parameters
    found = account.find("checkout.session", session)
    if found["status"] != "open":
        raise errors.refused(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"{found['status']}."
        )
    return expired(account, found)


def expired(account: Account, session: Json) -> Json:
    """End a session that nobody completed."""
    account.change(session, status="expired", url=None)
    if session["payment_intent"] is not None:
        from tests.stripe_double.resources import payment_intents

        intent = account.objects[session["payment_intent"]]
        payment_intents.canceled(account, intent, reason="automatic")
    account.emit("checkout.session.expired", session)
    return session


def _check(account: Account, parameters: Json) -> None:
    mode = parameters.get("mode")
    if mode is None:
        raise errors.invalid("You must specify `mode`.", param="mode", code="parameter_missing")
    for name, only in ONLY_IN.items():
        if name in parameters and mode != only:
            raise errors.invalid(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    if "success_url" not in parameters:
        raise errors.invalid(
            "Missing required param: success_url.", param="success_url", code="parameter_missing"
        )
    if mode == "setup" and ("line_items" in parameters or "currency" not in parameters):
        raise errors.invalid("In `setup` mode a `currency` is needed, and no `line_items`.", param="currency")
    if mode != "setup" and not parameters.get("line_items"):
        raise errors.invalid(f"`line_items` are required in `{mode}` mode.", param="line_items")
    _check_customer(account, parameters)
    left = parameters.get("expires_at", account.now() + LONGEST_SECONDS) - account.now()
    if not SHORTEST_SECONDS <= left <= LONGEST_SECONDS:
        raise errors.invalid(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            param="expires_at",
        )


def _check_customer(account: Account, parameters: Json) -> None:
    if "customer" in parameters:
        if "customer_email" in parameters or "customer_creation" in parameters:
            raise errors.invalid("You may only specify one of these parameters: customer, customer_email.")
        account.find("customer", parameters["customer"], param="customer")
    if len(parameters.get("client_reference_id", "")) > LONGEST_REFERENCE:
        raise errors.invalid("Must be at most 200 characters.", param="client_reference_id")


def _line_item(account: Account, asked: Json, mode: str) -> Json:
    if "price_data" in asked:
        price = catalog.made_price(account, asked["price_data"] | {"active": False})
    else:
        price = account.find("price", asked.get("price", ""), param="line_items[0][price]")
        if not price["active"]:
            raise errors.invalid(
                f"The price specified is inactive: {price['id']}.", param="line_items[0][price]"
            )
    if mode == "payment" and price["recurring"]:
        raise errors.invalid(
            "You specified `payment` mode but passed a recurring price.", param="line_items[0][price]"
        )
    quantity = asked.get("quantity", 0)
    if quantity < 1:
        raise errors.invalid(
            "Quantity is required.", param="line_items[0][quantity]", code="parameter_missing"
        )
    amount = price["unit_amount"] * quantity
    return account.contract.blank("item") | {
        "id": account.new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": account.objects[price["product"]]["name"],
        "price": price,
        "quantity": quantity,
    }


def _made(account: Account, parameters: Json, *, currency: str | None, total: int | None) -> Json:
    mode = parameters["mode"]
    session = account.new(
        "checkout.session",
        "cs_test",
        adaptive_pricing=parameters.get("adaptive_pricing", {"enabled": True}) if mode == "payment" else None,
        allow_promotion_codes=parameters.get("allow_promotion_codes"),
        amount_subtotal=total,
        amount_total=total,
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        billing_address_collection=parameters.get("billing_address_collection"),
        cancel_url=parameters.get("cancel_url"),
        client_reference_id=parameters.get("client_reference_id"),
        currency=currency,
        custom_fields=[],
        custom_text=account.contract.blank("checkout.session", "custom_text"),
        customer=parameters.get("customer"),
        customer_creation=_customer_creation(parameters),
        customer_email=parameters.get("customer_email"),
        expires_at=parameters.get("expires_at", account.now() + LONGEST_SECONDS),
        invoice_creation=_invoice_creation(parameters.get("invoice_creation", {}))
        if mode == "payment"
        else None,
        locale=parameters.get("locale"),
        metadata=merged_metadata({}, parameters),
        mode=mode,
        payment_method_collection=parameters.get(
            "payment_method_collection", "always" if mode != "payment" else "if_required"
        ),
        payment_method_options={},
        payment_method_types=["card"],
        payment_status="no_payment_required" if mode == "setup" else "unpaid",
        phone_number_collection={"enabled": False},
        shipping_options=[],
        status="open",
        submit_type=parameters.get("submit_type"),
        success_url=parameters["success_url"],
        total_details=None
        if total is None
        else {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        ui_mode="hosted_page",
        url="",
    )
    return account.change(session, url=f"https://checkout.stripe.test/c/pay/{session['id']}")


def _customer_creation(parameters: Json) -> str | None:
    if "customer" in parameters:
        return None
    needed = parameters["mode"] != "payment" or (
        "setup_future_usage" in parameters.get("payment_intent_data", {})
        or parameters.get("invoice_creation", {}).get("enabled")
    )
    default = "always" if needed else "if_required"
    found: str = parameters.get("customer_creation", default)
    return found


def _invoice_creation(asked: Json) -> Json:
    fields = (
        "account_tax_ids",
        "custom_fields",
        "description",
        "footer",
        "issuer",
        "metadata",
        "rendering_options",
    )
    data = dict.fromkeys(fields) | asked.get("invoice_data", {})
    return {
        "enabled": asked.get("enabled", False),
        "invoice_data": data | {"metadata": data["metadata"] or {}},
    }
