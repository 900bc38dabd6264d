"""Notifications on their way: what was sent and what came of it, sent again; and the endpoints they go to."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.services.context import Answer
from tallystick.services.endpoints import STATUSES
from tallystick.store.operators import ActionRow
from tallystick.web.admin.office import (
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
SECTION = "/admin/deliveries"
ENDPOINTS = "/admin/endpoints"


@routes.get(SECTION)
def get_deliveries(request: Request) -> Response:
    """Everybody's deliveries, or those of a customer, an endpoint or an outcome, newest first."""
    return looked(request, _deliveries)


def _deliveries(request: Request, who: SignedIn) -> Response:
    wanted = asked(request, "customer", "endpoint", "status", "cursor")
    found = tally_of(request).endpoints.deliveries(
        who.caller,
        customer=wanted["customer"] or None,
        everybody=not wanted["customer"],
        endpoint=wanted["endpoint"] or None,
        status=wanted["status"] or None,
        cursor=wanted["cursor"] or None,
    )
    return show(
        request,
        "admin/deliveries.html",
        who,
        section=SECTION,
        wanted=wanted,
        statuses=STATUSES,
        deliveries=found.items,
        next=further(request, found),
    )


@routes.get("/admin/deliveries/{delivery}")
def get_delivery(request: Request, delivery: str) -> Response:
    """One delivery, and the form to send it again."""
    return looked(request, lambda request, who: _delivery(request, who, delivery))


@routes.post("/admin/deliveries/{delivery}")
def post_delivery(request: Request, delivery: str, form: FormOf) -> Response:
    """Send it again."""
    return posted(
        request,
        form,
        lambda request, who, form: tally_of(request).operator_desk.replay_delivery(
            who.operator, delivery, reason=form.get("reason", ""), key=form.get("key", "")
        ),
        lambda request, who, again: _delivery(request, who, delivery, again),
    )


def _delivery(request: Request, who: SignedIn, delivery: str, again: Again | None = None) -> Response:
    found = tally_of(request).endpoints.delivery(who.caller, delivery)
    return show(
        request,
        "admin/delivery.html",
        who,
        section=SECTION,
        again=again,
        delivery=found.delivery,
        notification=found.notification,
    )


@routes.get(ENDPOINTS)
def get_endpoints(request: Request) -> Response:
    """The operator's own endpoints, or those of a customer."""
    return looked(request, _endpoints)


def _endpoints(request: Request, who: SignedIn) -> Response:
    wanted = asked(request, "customer", "cursor")
    found = tally_of(request).endpoints.list(
        who.caller, customer=wanted["customer"] or None, cursor=wanted["cursor"] or None
    )
    return show(
        request,
        "admin/endpoints.html",
        who,
        section=ENDPOINTS,
        wanted=wanted,
        endpoints=found.items,
        next=further(request, found),
    )


@routes.get("/admin/endpoints/{endpoint}")
def get_endpoint(request: Request, endpoint: str) -> Response:
    """An endpoint, and the forms to enable it and to send it again what it missed."""
    return looked(request, lambda request, who: _endpoint(request, who, endpoint))


@routes.post("/admin/endpoints/{endpoint}")
def post_endpoint(request: Request, endpoint: str, form: FormOf) -> Response:
    """Enable it, or send again."""
    return posted(
        request,
        form,
        lambda request, who, form: _act(request, who, endpoint, form),
        lambda request, who, again: _endpoint(request, who, endpoint, again),
    )


def _act(request: Request, who: SignedIn, endpoint: str, form: Form) -> Answer[ActionRow]:
    desk, reason, key = tally_of(request).operator_desk, form.get("reason", ""), form.get("key", "")
    if form.get("action") == "enable":
        return desk.enable_endpoint(who.operator, endpoint, reason=reason, key=key)
    if form.get("action") != "replay":
        raise no_button()
    since = moment_of(form.get("since", ""), field="since")
    if since is None:
        raise errors.ValidationFailed([("since", "expected the day and time from which on to send again")])
    return desk.replay_endpoint(who.operator, endpoint, since=since, reason=reason, key=key)


def _endpoint(request: Request, who: SignedIn, endpoint: str, again: Again | None = None) -> Response:
    found = tally_of(request).endpoints.get(who.caller, endpoint)
    return show(request, "admin/endpoint.html", who, section=ENDPOINTS, again=again, endpoint=found)
