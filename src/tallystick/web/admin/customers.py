"""Customers: found, looked at, given credits, frozen and thawed; and a charge of theirs given back."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core.ids import to_text
from tallystick.core.words import ENTRY_TYPES
from tallystick.services.context import Answer
from tallystick.services.operator_desk import CATEGORIES
from tallystick.store.operators import ActionRow
from tallystick.web.admin.office import (
    HOME,
    Form,
    SignedIn,
    asked,
    further,
    looked,
    moment_of,
    no_button,
    posted,
    show,
)
from tallystick.web.frame import FormOf, tally_of
from tallystick.web.refusals import Again

routes = APIRouter(include_in_schema=False)
_SHOWN: Final = 10


@routes.get(HOME)
def get_customers(request: Request) -> Response:
    """The newest customers, or those that were looked for."""
    return looked(request, _customers)


def _customers(request: Request, who: SignedIn) -> Response:
    words = asked(request, "words")["words"]
    found = tally_of(request).customers.search(
        who.caller, words, cursor=request.query_params.get("cursor") or None
    )
    return show(
        request,
        "admin/customers.html",
        who,
        section=HOME,
        words=words,
        found=found.items,
        next=further(request, found),
    )


@routes.get("/admin/customers/{customer}")
def get_customer(request: Request, customer: str) -> Response:
    """A customer's wallets and what happened last, with the forms to change them."""
    return looked(request, lambda request, who: _customer(request, who, customer))


@routes.post("/admin/customers/{customer}")
def post_customer(request: Request, customer: str, form: FormOf) -> Response:
    """Grant, freeze or thaw."""
    return posted(
        request,
        form,
        lambda request, who, form: _act(request, who, customer, form),
        lambda request, who, again: _customer(request, who, customer, again),
    )


def _act(request: Request, who: SignedIn, customer: str, form: Form) -> Answer[ActionRow]:
    desk = tally_of(request).operator_desk
    unit, reason, key = form.get("unit", ""), form.get("reason", ""), form.get("key", "")
    action = form.get("action")
    if action == "grant":
        return desk.grant(
            who.operator,
            customer,
            amount=form.get("amount", "").strip(),
            unit=unit,
            category=form.get("category", ""),
            expires_at=moment_of(form.get("expires_at", ""), field="expires_at"),
            reason=reason,
            key=key,
        )
    if action not in {"freeze", "thaw"}:
        raise no_button()
    return desk.set_frozen(
        who.operator, customer, unit=unit, frozen=action == "freeze", reason=reason, key=key
    )


def _customer(request: Request, who: SignedIn, customer: str, again: Again | None = None) -> Response:
    tally = tally_of(request)
    found = tally.customers.get(who.caller, customer)
    name = to_text("cust", found.id)
    units = tally.context.economy().units
    lines = tally.billing.transactions(who.caller, customer=name, limit=_SHOWN)
    return show(
        request,
        "admin/customer.html",
        who,
        section=HOME,
        again=again,
        customer=found,
        balances=[tally.billing.balance(who.caller, customer=name, unit=unit) for unit in units],
        lines=lines.items,
        payments=tally.checkouts.list(who.caller, customer=name, limit=_SHOWN).items,
        actions=tally.operator_actions.list(customer_id=found.id, limit=_SHOWN).items,
        units=list(units),
        categories=CATEGORIES,
    )


@routes.get("/admin/customers/{customer}/statement")
def get_statement(request: Request, customer: str) -> Response:
    """A wallet's statement, page by page."""
    return looked(request, lambda request, who: _statement(request, who, customer))


def _statement(request: Request, who: SignedIn, customer: str) -> Response:
    tally, wanted = tally_of(request), asked(request, "unit", "type", "from", "to", "cursor")
    found = tally.customers.get(who.caller, customer)
    economy = tally.context.economy()
    page = tally.billing.transactions(
        who.caller,
        customer=to_text("cust", found.id),
        unit=wanted["unit"] or None,
        type=wanted["type"] or None,
        start=moment_of(wanted["from"], field="from"),
        end=moment_of(wanted["to"], field="to"),
        cursor=wanted["cursor"] or None,
    )
    return show(
        request,
        "admin/statement.html",
        who,
        section=HOME,
        customer=found,
        wanted=wanted,
        units=list(economy.units),
        types=sorted(ENTRY_TYPES),
        lines=page.items,
        next=further(request, page),
    )


@routes.get("/admin/charges/{charge}")
def get_charge(request: Request, charge: str) -> Response:
    """A charge with what was given back of it."""
    return looked(request, lambda request, who: _charge(request, who, charge))


@routes.post("/admin/charges/{charge}")
def post_charge(request: Request, charge: str, form: FormOf) -> Response:
    """Give it back, whole or in part."""
    return posted(
        request,
        form,
        lambda request, who, form: tally_of(request).operator_desk.refund_charge(
            who.operator,
            charge,
            amount=form.get("amount", ""),
            unit=form.get("unit", ""),
            reason=form.get("reason", ""),
            key=form.get("key", ""),
        ),
        lambda request, who, again: _charge(request, who, charge, again),
    )


def _charge(request: Request, who: SignedIn, charge: str, again: Again | None = None) -> Response:
    found = tally_of(request).explain.charge(who.caller, charge)
    return show(request, "admin/charge.html", who, section=HOME, again=again, charge=found)
