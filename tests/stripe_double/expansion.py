"""Answers with the objects that ``expand`` asks for in place of their ids."""

from types import NoneType
from typing import Any

from tests.stripe_double import errors
from tests.stripe_double.account import INCLUDABLE, Account, whole_list
from tests.stripe_double.contract import Json


def expanded(account: Account, answer: Json, paths: list[str]) -> Json:
    """Return an answer with some of its fields expanded; the objects themselves stay as they are."""
    for path in paths:
        answer = _expanded(account, answer, path.split("."), path)
    return answer


def _expanded(account: Account, holder: Json, names: list[str], path: str) -> Json:
    name, *rest = names
    if name in INCLUDABLE.get(holder.get("object", ""), ()) and name not in holder:
        value: Any = _included(account, holder, name)
    elif isinstance(holder.get(name, 0), (str, dict, list, NoneType)):
        value = holder[name]
    else:
        raise errors.invalid(f"This property cannot be expanded ({path}).", param="expand")
    if isinstance(value, str):
        if value not in account.objects:
            raise errors.invalid(f"This property cannot be expanded ({path}).", param="expand")
        value = account.objects[value]
    if rest and isinstance(value, list):
        value = [_expanded(account, each, rest, path) for each in value]
    elif rest and value is not None:
        value = _expanded(account, value, rest, path)
    return holder | {name: value}


def _included(account: Account, holder: Json, name: str) -> Json | None:
    found = holder["id"]
    match holder["object"], name:
        case "checkout.session", "line_items":
            return whole_list(account.line_items[found], url=f"/v1/checkout/sessions/{found}/line_items")
        case "charge", "refunds":
            return whole_list(account.all("refund", charge=found), url=f"/v1/charges/{found}/refunds")
        case "invoice", "payments":
            return whole_list(account.all("invoice_payment", invoice=found), url="/v1/invoice_payments")
        case "customer", "subscriptions":
            rows = [
                each for each in account.all("subscription", customer=found) if each["status"] != "canceled"
            ]
            return whole_list(rows, url=f"/v1/customers/{found}/subscriptions")
        case _:
            return None
