"""The record of what operators did, and why."""

from __future__ import annotations

from typing import Final

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.ids import from_text
from tallystick.services.operator_actions import ACTIONS, STATUSES
from tallystick.web.admin.office import SignedIn, asked, further, looked, show
from tallystick.web.frame import tally_of

routes = APIRouter(include_in_schema=False)
SECTION = "/admin/actions"
# Where to look at what an action was about, by the prefix of its id.
PLACES: Final = {
    "chg": "charges",
    "pay": "payments",
    "task": "tasks",
    "whd": "deliveries",
    "whe": "endpoints",
}


@routes.get(SECTION)
def get_actions(request: Request) -> Response:
    """All actions, or those that are asked for, newest first."""
    return looked(request, _actions)


def _actions(request: Request, who: SignedIn) -> Response:
    tally, wanted = tally_of(request), asked(request, "action", "status", "operator", "customer", "cursor")
    customer = wanted["customer"]
    found = tally.operator_actions.list(
        action=wanted["action"] or None,
        status=wanted["status"] or None,
        operator=wanted["operator"] or None,
        customer_id=tally.customers.resolve(who.caller, customer) if customer else None,
        cursor=wanted["cursor"] or None,
    )
    return show(
        request,
        "admin/actions.html",
        who,
        section=SECTION,
        wanted=wanted,
        kinds=ACTIONS,
        statuses=STATUSES,
        actions=found.items,
        next=further(request, found),
    )


@routes.get("/admin/actions/{action}")
def get_action(request: Request, action: str) -> Response:
    """One action with all that was asked for."""
    return looked(request, lambda request, who: _action(request, who, action))


def _action(request: Request, who: SignedIn, action: str) -> Response:
    row = tally_of(request).operator_actions.find(from_text("act", action))
    if row is None:
        raise errors.NotFound("action", action)
    terms = msgspec.json.decode(row.terms)
    place = PLACES.get((row.subject or "").partition("_")[0])
    return show(request, "admin/action.html", who, section=SECTION, action=row, terms=terms, place=place)
