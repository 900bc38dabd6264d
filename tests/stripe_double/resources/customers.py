"""Customers, and the portal where they look after their subscriptions and cards."""

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page
from tests.stripe_double.contract import Json
from tests.stripe_double.resources.common import merged_metadata
from tests.stripe_double.routing import PAGING, route

FIELDS = ("address", "description", "email", "name", "phone", "shipping")
KNOWN = " ".join([*FIELDS, "metadata", "invoice_settings.default_payment_method"])


@route("POST", "/v1/customers", f"{KNOWN} balance preferred_locales tax_exempt")
def create(account: Account, parameters: Json) -> Json:
    customer = account.new(
        "customer",
        "cus",
        **{key: parameters.get(key) or None for key in FIELDS},
        metadata=merged_metadata({}, parameters),
        balance=parameters.get("balance", 0),
        delinquent=False,
        invoice_prefix=f"{account.now():X}"[-8:],
        invoice_settings=_invoice_settings(parameters.get("invoice_settings", {})),
        next_invoice_sequence=1,
        preferred_locales=parameters.get("preferred_locales", []),
        tax_exempt=parameters.get("tax_exempt") or "none",
    )
    account.emit("customer.created", customer)
    return customer


@route("GET", "/v1/customers/{customer}")
def retrieve(account: Account, parameters: Json, customer: str) -> Json:
    del parameters
    return account.deleted.get(customer) or account.find("customer", customer)


@route("GET", "/v1/customers", f"{PAGING} created email")
def listed(account: Account, parameters: Json) -> Json:
    return page(account.all("customer", email=parameters.get("email")), parameters, url="/v1/customers")


@route("POST", "/v1/customers/{customer}", KNOWN)
def update(account: Account, parameters: Json, customer: str) -> Json:
    found = account.find("customer", customer)
    changes = {key: parameters[key] or None for key in FIELDS if key in parameters}
    changes["metadata"] = merged_metadata(found["metadata"], parameters)
    if "invoice_settings" in parameters:
        default = parameters["invoice_settings"].get("default_payment_method")
        if default and account.find("payment_method", default)["customer"] != customer:
            raise errors.invalid(
                "The customer does not have a payment method with the ID.",
                param="invoice_settings[default_payment_method]",
            )
        changes["invoice_settings"] = found["invoice_settings"] | _invoice_settings(
            parameters["invoice_settings"]
        )
    return account.change(found, "customer.updated", **changes)


@route("DELETE", "/v1/customers/{customer}")
def delete(account: Account, parameters: Json, customer: str) -> Json:
    del parameters
    return remove(account, customer)


def remove(account: Account, customer: str) -> Json:
    """Delete a customer: the subscriptions end, and the cards belong to nobody."""
    from tests.stripe_double.resources import payment_methods, subscriptions

    found = account.find("customer", customer)
    for each in account.all("subscription", customer=customer):
        if each["status"] not in subscriptions.ENDED:
            subscriptions.end(account, each, reason="cancellation_requested")
    for each in account.all("payment_method", customer=customer):
        payment_methods.release(account, each)
    account.emit("customer.deleted", found)
    account.deleted[customer] = account.remove(found)
    return account.deleted[customer]


@route("POST", "/v1/billing_portal/sessions", "customer locale return_url")
def open_portal(account: Account, parameters: Json) -> Json:
    customer = account.find("customer", parameters["customer"], param="customer")
    session = account.new(
        "billing_portal.session",
        "bps",
        configuration="bpc_default",
        customer=customer["id"],
        locale=parameters.get("locale"),
        return_url=parameters.get("return_url"),
        url="",
    )
    return account.change(session, url=f"https://billing.stripe.test/p/session/{session['id']}")


def _invoice_settings(asked: Json) -> Json:
    fields = ("custom_fields", "default_payment_method", "footer", "rendering_options")
    return {key: asked.get(key) or None for key in fields}
