"""Webhooks: where events are sent, with what secret, and what came of each."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.events import PING, nouns
from tallystick.core.ids import to_text
from tallystick.services.endpoints import STATUSES, WithSecret
from tallystick.services.pages import MAX_LIMIT
from tallystick.web.dashboard import claim, looked, posted, show
from tallystick.web.frame import FormOf, see_other, tally_of
from tallystick.web.refusals import Again
from tallystick.web.signing_in import SignedIn

routes = APIRouter(include_in_schema=False)

PATH = "/billing/webhooks"


@routes.get(PATH)
def get_webhooks(request: Request) -> Response:
    """Where events are sent."""
    return looked(request, PATH, _list)


@routes.post(PATH)
def post_webhooks(request: Request, form: FormOf) -> Response:
    """Send events somewhere more."""
    return posted(request, form, PATH, _create, _list)


@routes.get(PATH + "/{endpoint}")
def get_webhook(request: Request, endpoint: str) -> Response:
    """One endpoint, and what was sent there."""
    return looked(request, f"{PATH}/{endpoint}", lambda request, who: _one(request, who, name=endpoint))


@routes.post(PATH + "/{endpoint}")
def post_webhook(request: Request, endpoint: str, form: FormOf) -> Response:
    """Try it, change its secret, disable, enable or delete it, or send one delivery again."""

    def act(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
        return _act(request, who, form, endpoint)

    def shown(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
        try:
            return _one(request, who, name=endpoint, again=again)
        except errors.NotFound:  # it was deleted in another tab
            return _list(request, who, again=again)

    return posted(request, form, f"{PATH}/{endpoint}", act, shown)


def _create(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
    made = tally_of(request).endpoints.create(
        who.caller,
        url=form.get("url", "").strip(),
        types=[f"{noun}.*" for noun in nouns() if f"about {noun}" in form],
        description=form.get("description", "").strip() or None,
        claim=claim(request, who, form),
    )
    return _one(request, who, name=to_text("whe", made.endpoint.id), secret=made)


def _act(request: Request, who: SignedIn, form: dict[str, str], name: str) -> Response:
    endpoints, action = tally_of(request).endpoints, form.get("action")
    if action == "rotate":
        made = endpoints.rotate(who.caller, name, claim=claim(request, who, form))
        return _one(request, who, name=name, secret=made)
    if action == "delete":
        endpoints.delete(who.caller, name)
        return see_other(PATH)
    if action == "test":
        endpoints.ping(who.caller, name)
    elif action == "disable":
        endpoints.disable(who.caller, name)
    elif action == "enable":
        endpoints.enable(who.caller, name)
    elif action == "again":
        endpoints.replay_delivery(who.caller, form.get("delivery", ""))
    else:
        raise errors.ValidationFailed([("action", "expected one of the buttons of this page")])
    return see_other(f"{PATH}/{name}")


def _list(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
    return show(
        request,
        "billing/webhooks.html",
        who,
        section=PATH,
        again=again,
        endpoints=tally_of(request).endpoints.list(who.caller, limit=MAX_LIMIT).items,
        nouns=nouns(),
    )


def _one(
    request: Request,
    who: SignedIn,
    *,
    name: str,
    again: Again | None = None,
    secret: WithSecret | None = None,
) -> Response:
    endpoints, query = tally_of(request).endpoints, request.query_params
    endpoint = endpoints.get(who.caller, name)
    cursor, of = query.get("cursor") or None, query.get("status") or None
    address = f"{PATH}/{name}"
    return show(
        request,
        "billing/webhook.html",
        who,
        section=PATH,
        again=again,
        endpoint=endpoint,
        here=address,
        secret=secret,
        found=endpoints.deliveries(who.caller, endpoint=name, status=of, cursor=cursor),
        of=of,
        statuses=STATUSES,
        first=cursor is None,
        address=f"{address}?status={of}&" if of in STATUSES else f"{address}?",
        ping=PING,
    )
