"""Subscriptions: begun by a checkout session, changed, cancelled; their renewal is in `renewals`."""

import copy
from typing import Any

from tests.stripe_double import errors
from tests.stripe_double.account import Account, page, whole_list
from tests.stripe_double.contract import Json
from tests.stripe_double.resources import catalog, invoices, renewals
from tests.stripe_double.resources.common import merged_metadata
from tests.stripe_double.resources.periods import period_at, share
from tests.stripe_double.routing import PAGING, route

ENDED = frozenset({"canceled", "incomplete_expired"})


def begun(
    account: Account,
    customer: Json,
    items: list[Json],
    *,
    method: Json,
    metadata: Json,
    description: str | None,
) -> Json:
    """Make a subscription that is active from now on; its first invoice is drawn up by the caller."""
    now = account.now()
    subscription = account.new(
        "subscription",
        "sub",
        automatic_tax={"disabled_reason": None, "enabled": False, "liability": None},
        billing_cycle_anchor=now,
        billing_mode={
            "flexible": {"proration_discounts": "included"},
            "type": "flexible",
            "updated_at": None,
        },
        billing_schedules=[],
        cancel_at_period_end=False,
        cancellation_details={"comment": None, "feedback": None, "feedback_option": None, "reason": None},
        collection_method="charge_automatically",
        currency=items[0]["currency"],
        customer=customer["id"],
        default_payment_method=method["id"],
        default_tax_rates=[],
        description=description,
        discounts=[],
        invoice_settings={"account_tax_ids": None, "issuer": {"type": "self"}},
        items=whole_list([], url=""),
        metadata=metadata,
        payment_settings={
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        start_date=now,
        status="active",
        trial_settings={
            "end_behavior": {"billing_cycle_anchor": None, "missing_payment_method": "create_invoice"}
        },
    )
    rows = [_item(account, subscription["id"], each["price"], each["quantity"], anchor=now) for each in items]
    account.change(subscription, items=_items(subscription["id"], rows))
    return subscription


def full_lines(account: Account, subscription: Json) -> list[Json]:
    """Return what a subscription costs for the period that its items are in."""
    return [
        invoices.line(
            account,
            item["price"],
            amount=item["price"]["unit_amount"] * item["quantity"],
            quantity=item["quantity"],
            period=(item["current_period_start"], item["current_period_end"]),
            parent=_parent(subscription, item, proration=False),
        )
        for item in subscription["items"]["data"]
    ]


@route("GET", "/v1/subscriptions/{subscription_exposed_id}")
def retrieve(account: Account, parameters: Json, subscription_exposed_id: str) -> Json:
    del parameters
    return account.find("subscription", subscription_exposed_id)


@route("GET", "/v1/subscriptions", f"{PAGING} created customer price status")
def listed(account: Account, parameters: Json) -> Json:
    wanted = parameters.get("status")
    rows = [
        each
        for each in account.all("subscription", customer=parameters.get("customer"))
        if wanted == "all"
        or (wanted is None and each["status"] not in ENDED)
        or (wanted == "ended" and each["status"] in ENDED)
        or each["status"] == wanted
    ]
    if "price" in parameters:
        rows = [
            each
            for each in rows
            if any(i["price"]["id"] == parameters["price"] for i in each["items"]["data"])
        ]
    return page(rows, parameters, url="/v1/subscriptions")


@route(
    "POST",
    "/v1/subscriptions/{subscription_exposed_id}",
    "billing_cycle_anchor cancel_at cancel_at_period_end cancellation_details.comment cancellation_details.feedback "
    "default_payment_method description items.id items.price items.quantity items.deleted metadata off_session "
    "items.price_data.currency items.price_data.product items.price_data.recurring.interval "
    "items.price_data.recurring.interval_count items.price_data.unit_amount "
    "payment_behavior proration_behavior proration_date",
)
def update(account: Account, parameters: Json, subscription_exposed_id: str) -> Json:
    found = account.find("subscription", subscription_exposed_id)
    if found["status"] in ENDED:
        raise errors.refused("A canceled subscription can only update its cancellation_details and metadata.")
    if parameters.get("payment_behavior", "allow_incomplete") not in {
        "allow_incomplete",
        "error_if_incomplete",
    }:
        raise errors.not_implemented([f"payment_behavior={parameters['payment_behavior']}"])
    before = copy.deepcopy(found)
    account.change(found, **_plain_changes(account, found, parameters))
    if "items" in parameters or "billing_cycle_anchor" in parameters:
        _repriced(account, found, parameters, before)
    previous = {key: value for key, value in before.items() if found[key] != value}
    if previous:
        account.emit("customer.subscription.updated", found, previous=previous)
    return found


@route(
    "DELETE",
    "/v1/subscriptions/{subscription_exposed_id}",
    "cancellation_details.comment cancellation_details.feedback",
)
def cancel(account: Account, parameters: Json, subscription_exposed_id: str) -> Json:
    found = account.find("subscription", subscription_exposed_id)
    if found["status"] in ENDED:
        raise errors.missing("subscription", subscription_exposed_id, param="id")
    account.change(
        found, cancellation_details=found["cancellation_details"] | parameters.get("cancellation_details", {})
    )
    return end(account, found, reason="cancellation_requested")


def end(account: Account, subscription: Json, *, reason: str) -> Json:
    """End a subscription now."""
    now = account.now()
    for invoice in renewals.open_invoices(account, subscription):
        account.change(invoice, "invoice.updated", auto_advance=False, next_payment_attempt=None)
    account.change(
        subscription,
        canceled_at=subscription["canceled_at"] or now,
        cancellation_details=subscription["cancellation_details"] | {"reason": reason},
        ended_at=now,
        status="canceled",
    )
    account.emit("customer.subscription.deleted", subscription)
    return subscription


def _plain_changes(account: Account, found: Json, parameters: Json) -> Json:
    changes: dict[str, Any] = {"metadata": merged_metadata(found["metadata"], parameters)}
    if "description" in parameters:
        changes["description"] = parameters["description"] or None
    if "default_payment_method" in parameters:
        name = parameters["default_payment_method"]
        changes["default_payment_method"] = account.find(
            "payment_method", name, param="default_payment_method"
        )["id"]
    details = found["cancellation_details"] | parameters.get("cancellation_details", {})
    if parameters.get("cancel_at"):
        raise errors.not_implemented(["cancel_at, apart from taking it back"])
    if "cancel_at" in parameters:
        changes["cancel_at"] = changes["canceled_at"] = None
    if "cancel_at_period_end" in parameters:
        ending = parameters["cancel_at_period_end"]
        changes["cancel_at_period_end"] = ending
        changes["cancel_at"] = period_of(found)[1] if ending else None
        changes["canceled_at"] = account.now() if ending else None
        details = details | {"reason": "cancellation_requested" if ending else None}
    return changes | {"cancellation_details": details}


def period_of(subscription: Json) -> tuple[int, int]:
    """Return the period that the items of a subscription are in."""
    [item, *_] = subscription["items"]["data"]
    return item["current_period_start"], item["current_period_end"]


def _repriced(account: Account, found: Json, parameters: Json, before: Json) -> None:
    """Change what a subscription is for, and bill the difference as the request wants."""
    rows = _changed_items(account, found, parameters.get("items", []))
    old, new = (each[0]["price"]["recurring"] for each in (before["items"]["data"], rows))
    cycle = ("interval", "interval_count")
    anew = parameters.get("billing_cycle_anchor", {}).get("type") == "now" or any(
        old[key] != new[key] for key in cycle
    )
    moment = parameters.get("proration_date", account.now())
    behavior = parameters.get("proration_behavior", "create_prorations")
    lines = [] if behavior == "none" else _parts(account, found, before["items"]["data"], moment, sign=-1)
    if anew:
        account.change(found, billing_cycle_anchor=account.now())
    start, end = period_at(found["billing_cycle_anchor"], new, account.now())
    rows = [each | {"current_period_start": start, "current_period_end": end} for each in rows]
    account.change(found, items=_items(found["id"], rows))
    if anew:
        lines += full_lines(account, found)
    elif behavior != "none":
        lines += _parts(account, found, rows, moment, sign=1)
    if behavior == "create_prorations" and not anew:
        account.pending_lines.setdefault(found["id"], []).extend(lines)
    elif lines:
        refusal = renewals.bill(account, found, lines, reason="subscription_update")
        if refusal is not None and parameters.get("payment_behavior") == "error_if_incomplete":
            _undo(account, found, before)
            raise refusal


def _undo(account: Account, found: Json, before: Json) -> None:
    """Take a change back whose invoice was not paid; the invoice is void."""
    invoice = account.objects[found["latest_invoice"]]
    account.change(found, **before)
    account.change(invoice, status="void", amount_remaining=0, next_payment_attempt=None)
    account.emit("invoice.voided", invoice)


def _changed_items(account: Account, found: Json, asked: list[Json]) -> list[Json]:
    rows = {item["id"]: item for item in found["items"]["data"]}
    for each in asked:
        name = each.get("id")
        if name is not None and name not in rows:
            raise errors.missing("subscription_item", name, param="items[0][id]")
        if each.get("deleted"):
            del rows[name]
            continue
        old = rows.get(name, {})
        price = old.get("price")
        if "price_data" in each:
            price = catalog.made_price(account, each["price_data"] | {"active": False})
        elif "price" in each:
            price = account.find("price", each["price"], param="items[0][price]")
        if price is None:
            raise errors.invalid("You must pass either `price` or `price_data`.", param="items[0][price]")
        if price["recurring"] is None:
            raise errors.invalid("The price specified is set to `type=one_time`.", param="items[0][price]")
        quantity = each.get("quantity", old.get("quantity", 1))
        item = _item(account, found["id"], price, quantity, anchor=found["billing_cycle_anchor"])
        item |= {key: old[key] for key in ("id", "created", "metadata") if key in old}
        rows[item["id"]] = item
    return list(rows.values())


def _parts(account: Account, found: Json, items: list[Json], moment: int, *, sign: int) -> list[Json]:
    """Return what the rest of a period is worth: a credit for what was paid before, or what it costs from now on."""
    return [_part(account, found, item, moment, sign=sign) for item in items]


def _part(account: Account, found: Json, item: Json, moment: int, *, sign: int) -> Json:
    start, end = item["current_period_start"], item["current_period_end"]
    whole = item["price"]["unit_amount"] * item["quantity"]
    name = account.objects[item["price"]["product"]]["name"]
    return invoices.line(
        account,
        item["price"],
        amount=sign * share(whole, left=max(0, end - moment), whole=end - start),
        quantity=item["quantity"],
        period=(moment, end),
        description=f"{'Unused' if sign < 0 else 'Remaining'} time on {name}",
        discountable=False,
        parent=_parent(found, item, proration=True),
    )


def _parent(subscription: Json, item: Json, *, proration: bool) -> Json:
    details = {
        "invoice_item": None,
        "proration": proration,
        "proration_details": {"credited_items": None},
        "subscription": subscription["id"],
        "subscription_item": item["id"],
    }
    return {
        "invoice_item_details": None,
        "subscription_item_details": details,
        "type": "subscription_item_details",
    }


def _items(subscription: str, rows: list[Json]) -> Json:
    return whole_list(rows, url=f"/v1/subscription_items?subscription={subscription}")


def _item(account: Account, subscription: str, price: Json, quantity: int, *, anchor: int) -> Json:
    recurring = price["recurring"]
    start, end = period_at(anchor, recurring, account.now())
    return {
        "id": account.new_id("si"),
        "object": "subscription_item",
        "billed_until": None,
        "billing_thresholds": None,
        "created": account.now(),
        "current_period_start": start,
        "current_period_end": end,
        "current_trial": None,
        "discounts": [],
        "metadata": {},
        "plan": _plan(account, price),
        "price": copy.deepcopy(price),
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
    }


def _plan(account: Account, price: Json) -> Json:
    shared = (
        "active",
        "billing_scheme",
        "created",
        "currency",
        "id",
        "livemode",
        "metadata",
        "nickname",
        "product",
    )
    return (
        account.contract.blank("plan")
        | {key: price[key] for key in shared}
        | {
            "object": "plan",
            "amount": price["unit_amount"],
            "amount_decimal": price["unit_amount_decimal"],
            "interval": price["recurring"]["interval"],
            "interval_count": price["recurring"]["interval_count"],
            "usage_type": "licensed",
        }
    )
