"""Automatic refills: when, for how much, and with which card."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.services.refill_outcomes import NO_CARD
from tallystick.web.dashboard import leave_to, looked, posted, show
from tallystick.web.frame import FormOf, see_other, tally_of
from tallystick.web.refusals import Again
from tallystick.web.signing_in import SignedIn

routes = APIRouter(include_in_schema=False)

PATH = "/billing/refills"


@routes.get(PATH)
def get_refills(request: Request) -> Response:
    """How refills are set."""
    return looked(request, PATH, _page)


@routes.post(PATH)
def post_refills(request: Request, form: FormOf) -> Response:
    """Turn refills on or off, change them, or save a card."""
    return posted(request, form, PATH, _act, _page)


def _act(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
    refills, action = tally_of(request).refills, form.get("action")
    if action == "card":
        return leave_to(request, "Save a card", refills.save_card(who.caller))
    if action == "off":
        refills.configure(who.caller, enabled=False)
        return see_other(PATH)
    set_to = refills.configure(
        who.caller,
        enabled=True,
        threshold=form.get("threshold", "").strip(),
        amount=form.get("amount", "").strip(),
    )
    if set_to.save_card_url is not None:
        return leave_to(request, "Save a card", set_to.save_card_url)
    return see_other(PATH)


def _page(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
    tally = tally_of(request)
    economy = tally.context.economy()
    terms = economy.auto_refill if economy.purchase is not None else None
    return show(
        request,
        "billing/refills.html",
        who,
        section=PATH,
        again=again,
        terms=terms,
        setting=None if terms is None else tally.refills.get(who.caller),
        no_card=NO_CARD,
    )
