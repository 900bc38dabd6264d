"""Payments: all of them, one with its refunds and disputes, and our books held beside the provider's."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.services.checkouts import status_of
from tallystick.web.admin.office import SignedIn, asked, further, looked, posted, show
from tallystick.web.frame import FormOf, tally_of
from tallystick.web.refusals import Again

routes = APIRouter(include_in_schema=False)
SECTION = "/admin/payments"
RECONCILIATION = "/admin/reconciliation"
DISPUTES = "/admin/disputes"


@routes.get(SECTION)
def get_payments(request: Request) -> Response:
    """Every payment, or those of a customer, newest first."""
    return looked(request, _payments)


def _payments(request: Request, who: SignedIn) -> Response:
    wanted = asked(request, "customer", "cursor")
    found = tally_of(request).checkouts.list(
        who.caller,
        customer=wanted["customer"] or None,
        everybody=not wanted["customer"],
        cursor=wanted["cursor"] or None,
    )
    return show(
        request,
        "admin/payments.html",
        who,
        section=SECTION,
        wanted=wanted,
        payments=found.items,
        next=further(request, found),
    )


@routes.get("/admin/payments/{payment}")
def get_payment(request: Request, payment: str) -> Response:
    """A payment, and the form to give it back."""
    return looked(request, lambda request, who: _payment(request, who, payment))


@routes.post("/admin/payments/{payment}")
def post_payment(request: Request, payment: str, form: FormOf) -> Response:
    """Give it back, whole or in part."""
    return posted(
        request,
        form,
        lambda request, who, form: tally_of(request).operator_desk.refund_payment(
            who.operator,
            payment,
            amount=form.get("amount", ""),
            reason=form.get("reason", ""),
            key=form.get("key", ""),
        ),
        lambda request, who, again: _payment(request, who, payment, again),
    )


def _payment(request: Request, who: SignedIn, payment: str, again: Again | None = None) -> Response:
    row, refunds, disputes = tally_of(request).checkouts.detail(who.caller, payment)
    return show(
        request,
        "admin/payment.html",
        who,
        section=SECTION,
        again=again,
        payment=row,
        standing=status_of(row),
        refunds=refunds,
        disputes=disputes,
    )


@routes.get(DISPUTES)
def get_disputes(request: Request) -> Response:
    """The disputes that are open, those that must be answered soonest first."""
    return looked(request, _disputes)


def _disputes(request: Request, who: SignedIn) -> Response:
    tally = tally_of(request)
    return show(
        request,
        "admin/disputes.html",
        who,
        section=DISPUTES,
        disputes=tally.checkouts.open_disputes(who.caller),
        provider=tally.payment_provider.name,
    )


@routes.get(RECONCILIATION)
def get_reconciliation(request: Request) -> Response:
    """What the last ones found, and the form for another."""
    return looked(request, _reconciliation)


@routes.post(RECONCILIATION)
def post_reconciliation(request: Request, form: FormOf) -> Response:
    """Begin one."""
    return posted(
        request,
        form,
        lambda request, who, form: tally_of(request).operator_desk.reconcile(
            who.operator, reason=form.get("reason", ""), key=form.get("key", "")
        ),
        _reconciliation,
    )


def _reconciliation(request: Request, who: SignedIn, again: Again | None = None) -> Response:
    actions = tally_of(request).operator_actions
    running = actions.is_running("reconcile")  # asked first: one that ends meanwhile is in the list
    runs = actions.list(action="reconcile", limit=10).items
    report = next((msgspec.json.decode(row.report) for row in runs if row.report is not None), None)
    return show(
        request,
        "admin/reconciliation.html",
        who,
        section=RECONCILIATION,
        again=again,
        running=running,
        runs=runs,
        report=report,
    )
