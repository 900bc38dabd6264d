"""The log of events."""

from tests.stripe_double.account import Account, page
from tests.stripe_double.contract import Json
from tests.stripe_double.routing import PAGING, route


@route("GET", "/v1/events/{id}")
def retrieve(account: Account, parameters: Json, id: str) -> Json:  # noqa: A002 - Stripe's name
    del parameters
    return account.find("event", id)


@route("GET", "/v1/events", f"{PAGING} created delivery_success type types")
def listed(account: Account, parameters: Json) -> Json:
    rows = account.all("event", type=parameters.get("type"))
    if "types" in parameters:
        rows = [each for each in rows if each["type"] in parameters["types"]]
    if "delivery_success" in parameters:
        wanted = parameters["delivery_success"]
        rows = [each for each in rows if (each["pending_webhooks"] == 0) is wanted]
    return page(rows, parameters, url="/v1/events")
