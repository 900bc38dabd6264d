"""What was paid, with what became of it and the provider's invoices."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.services.checkouts import status_of
from tallystick.web.dashboard import leave_to, looked, posted, show
from tallystick.web.frame import FormOf, tally_of
from tallystick.web.refusals import Again
from tallystick.web.signing_in import SignedIn
from tallystick.web.words import STATUS_WORDS

routes = APIRouter(include_in_schema=False)

PATH = "/billing/payments"


@routes.get(PATH)
def get_payments(request: Request) -> Response:
    """Some payments, newest first."""
    return looked(request, PATH, _page)


@routes.post("/billing/portal")
def post_portal(request: Request, form: FormOf) -> Response:
    """On to the provider's own page of cards and bills."""
    return posted(request, form, PATH, _leave, _page)


def _leave(request: Request, who: SignedIn, _form: dict[str, str]) -> Response:
    return leave_to(request, "Cards and bills", tally_of(request).subscriptions.portal(who.caller))


def _page(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
    cursor = request.query_params.get("cursor") or None
    return show(
        request,
        "billing/payments.html",
        who,
        section=PATH,
        again=again,
        found=tally_of(request).checkouts.list(who.caller, cursor=cursor),
        first=cursor is None,
        address=f"{PATH}?",
        status_of=status_of,
        words=STATUS_WORDS,
    )
