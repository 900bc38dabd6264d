"""Products and prices."""

from decimal import Decimal
from typing import Any

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page
from tests.stripe_double.contract import Json
from tests.stripe_double.resources.common import merged_metadata
from tests.stripe_double.routing import PAGING, route

PRODUCT = "active description images metadata name statement_descriptor unit_label url"
PRICE = "active currency lookup_key metadata nickname recurring.interval recurring.interval_count tax_behavior unit_amount"


@route("POST", "/v1/products", f"{PRODUCT} id shippable")
def create_product(account: Account, parameters: Json) -> Json:
    return made_product(account, parameters)


def made_product(account: Account, parameters: Json) -> Json:
    """Make a product as a request describes it, under the id that it asks for, if it does."""
    asked = {"id": parameters["id"]} if "id" in parameters else {}
    if parameters.get("id") in account.objects:
        raise errors.refused("Product already exists.", code="resource_already_exists", param="id")
    product = account.new(
        "product",
        "prod",
        **asked,
        active=parameters.get("active", True),
        description=parameters.get("description") or None,
        images=parameters.get("images") or [],
        marketing_features=[],
        metadata=merged_metadata({}, parameters),
        name=parameters["name"],
        type="service",
        updated=account.now(),
        url=parameters.get("url") or None,
        unit_label=parameters.get("unit_label") or None,
        statement_descriptor=parameters.get("statement_descriptor") or None,
    )
    account.emit("product.created", product)
    return product


@route("GET", "/v1/products/{id}")
def retrieve_product(account: Account, parameters: Json, id: str) -> Json:  # noqa: A002 - Stripe's name
    del parameters
    return account.find("product", id)


@route("POST", "/v1/products/{id}", f"{PRODUCT} default_price")
def update_product(account: Account, parameters: Json, id: str) -> Json:  # noqa: A002 - Stripe's name
    found = account.find("product", id)
    changes: dict[str, Any] = {key: value or None for key, value in parameters.items() if key != "active"}
    changes["metadata"] = merged_metadata(found["metadata"], parameters)
    changes["active"] = parameters.get("active", found["active"])
    return account.change(found, "product.updated", **changes, updated=account.now())


@route("GET", "/v1/products", f"{PAGING} created active")
def list_products(account: Account, parameters: Json) -> Json:
    return page(account.all("product", active=parameters.get("active")), parameters, url="/v1/products")


@route("POST", "/v1/prices", f"{PRICE} product product_data.name product_data.metadata")
def create_price(account: Account, parameters: Json) -> Json:
    return made_price(account, parameters)


def made_price(account: Account, parameters: Json) -> Json:
    """Make a price, with its product if that is only described, as a request says."""
    if "product" in parameters:
        product = account.find("product", parameters["product"], param="product")
    elif "product_data" in parameters:
        product = made_product(account, parameters["product_data"])
    else:
        raise errors.invalid("You must pass either `product` or `product_data`.", param="product")
    amount = amount_of(parameters)
    price = account.new(
        "price",
        "price",
        active=parameters.get("active", True),
        billing_scheme="per_unit",
        currency=parameters["currency"],
        lookup_key=parameters.get("lookup_key"),
        metadata=merged_metadata({}, parameters),
        nickname=parameters.get("nickname"),
        product=product["id"],
        recurring=_recurring(parameters.get("recurring")),
        tax_behavior=parameters.get("tax_behavior", "unspecified"),
        type="recurring" if "recurring" in parameters else "one_time",
        unit_amount=amount,
        unit_amount_decimal=str(amount),
    )
    account.emit("price.created", price)
    return price


def amount_of(parameters: Json) -> int:
    """Return the whole amount of a price, however it is given."""
    if "unit_amount" in parameters:
        amount: int = parameters["unit_amount"]
    elif "unit_amount_decimal" in parameters:
        exact = Decimal(parameters["unit_amount_decimal"])
        if exact != int(exact):
            raise errors.not_implemented(["unit_amount_decimal with a fraction"])
        amount = int(exact)
    else:
        raise errors.invalid(
            "Missing required param: unit_amount.", param="unit_amount", code="parameter_missing"
        )
    if amount < 0:
        raise errors.invalid("This value must be greater than or equal to 0.", param="unit_amount")
    return amount


@route("GET", "/v1/prices/{price}")
def retrieve_price(account: Account, parameters: Json, price: str) -> Json:
    del parameters
    return account.find("price", price)


@route("POST", "/v1/prices/{price}", "active lookup_key metadata nickname")
def update_price(account: Account, parameters: Json, price: str) -> Json:
    found = account.find("price", price)
    changes = {key: parameters[key] for key in ("active", "lookup_key", "nickname") if key in parameters}
    return account.change(
        found, "price.updated", **changes, metadata=merged_metadata(found["metadata"], parameters)
    )


@route("GET", "/v1/prices", f"{PAGING} created active currency lookup_keys product type")
def list_prices(account: Account, parameters: Json) -> Json:
    asked = {key: parameters.get(key) for key in ("active", "currency", "product", "type")}
    keys = parameters.get("lookup_keys")
    rows = [each for each in account.all("price", **asked) if keys is None or each["lookup_key"] in keys]
    return page(rows, parameters, url="/v1/prices")


def _recurring(asked: Json | None) -> Json | None:
    if asked is None:
        return None
    return {
        "interval": asked["interval"],
        "interval_count": asked.get("interval_count", 1),
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
