"""The pages of the simulated payment provider, plainly marked as a test: paying, the payer's own page, receipts.

Whoever has the address of a page may use it, as with a real provider: its id cannot be guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.bootstrap import Tally
from tallystick.ports import ProviderRefused
from tallystick.providers.simulated import CARDS, PageView, PortalView, SimulatedPayments, card_of
from tallystick.web.frame import FormOf, page, see_other

routes = APIRouter(prefix="/simulated", include_in_schema=False)
_FIRST: Final = CARDS[0].number


def routers(tally: Tally) -> Sequence[APIRouter]:
    """The pages that this installation has: none of these where payments are real."""
    return () if tally.simulated_payments is None else (routes,)


def _provider(request: Request) -> SimulatedPayments:
    found: SimulatedPayments = request.app.state.tally.simulated_payments
    return found


# --- paying ----------------------------------------------------------------------------------------------------------


@routes.get("/checkout/{page_id}")
def get_checkout(request: Request, page_id: str) -> Response:
    """The page to pay on."""
    found = _provider(request).page(page_id)
    return _missing() if found is None else _checkout(found)


@routes.post("/checkout/{page_id}")
def post_checkout(request: Request, page_id: str, form: FormOf) -> Response:
    """Pay, confirm, refuse to confirm, or cancel."""
    if form is None:
        return _foreign()
    provider = _provider(request)
    found = provider.page(page_id)
    if found is None:
        return _missing()
    if form.get("action") == "cancel":
        return see_other(found.cancel_url)
    try:
        return _pay(provider, found, form) or see_other(request.url.path)
    except ProviderRefused as refused:
        return _checkout(found, problem=f"{refused.detail}.", status=422)


def _pay(provider: SimulatedPayments, found: PageView, form: dict[str, str]) -> Response | None:
    """What the form asks for; None leads back to the page, which tells what became of it."""
    action, number = form.get("action"), form.get("card", "")
    if action not in {"pay", "confirm", "refuse"}:
        raise ProviderRefused("choose a card and a button")
    if action == "refuse":
        outcome = provider.refuse(found.id)
    else:
        outcome = provider.pay(found.id, number, confirmed=action == "confirm")
    if outcome == "unconfirmed":
        leads_to = (found.success_url,)
        return page("simulated/confirm.html", page=found, card=card_of(number), leads_to=leads_to)
    done = outcome == "done" or (outcome == "closed" and _is_complete(provider, found.id))
    return see_other(found.success_url) if done else None


def _is_complete(provider: SimulatedPayments, page_id: str) -> bool:
    """Whether a page was paid meanwhile: a second click leads where the first one did."""
    found = provider.page(page_id)
    return found is not None and found.complete


def _checkout(found: PageView, *, problem: str | None = None, status: int = 200) -> Response:
    if not found.open:
        return page("simulated/closed.html", page=found, status=200 if found.complete else 410)
    return page(
        "simulated/checkout.html",
        page=found,
        cards=CARDS,
        chosen=_FIRST,
        problem=problem or found.problem,
        status=status,
        leads_to=(found.success_url, found.cancel_url),
    )


# --- the payer's own page --------------------------------------------------------------------------------------------


@routes.get("/portal/{portal_id}")
def get_portal(request: Request, portal_id: str) -> Response:
    """Cards, plans and bills."""
    found = _provider(request).portal_view(portal_id)
    return _missing() if found is None else _portal(found)


@routes.post("/portal/{portal_id}")
def post_portal(request: Request, portal_id: str, form: FormOf) -> Response:
    """Change the card, end a plan with its period, or keep it."""
    if form is None:
        return _foreign()
    provider = _provider(request)
    found = provider.portal_view(portal_id)
    if found is None:
        return _missing()
    action, subscription = form.get("action"), form.get("subscription", "")
    try:
        if action == "card":
            done = provider.set_card(portal_id, form.get("card", ""))
        elif action in {"end", "resume"}:
            done = provider.end_subscription(portal_id, subscription, ends=action == "end")
        else:
            return _portal(found, problem="Choose a button.", status=422)
    except ProviderRefused as refused:
        return _portal(found, problem=refused.detail, status=422)
    return see_other(request.url.path) if done else _missing()


def _portal(found: PortalView, *, problem: str | None = None, status: int = 200) -> Response:
    return page("simulated/portal.html", portal=found, cards=CARDS, problem=problem, status=status)


# --- receipts --------------------------------------------------------------------------------------------------------


@routes.get("/receipt/{subject_id}")
def get_receipt(request: Request, subject_id: str) -> Response:
    """What a payment or a bill came to."""
    found = _provider(request).receipt(subject_id)
    return _missing() if found is None else page("simulated/receipt.html", receipt=found)


def _missing() -> Response:
    words = "There is no such page, or it has ended. Ask for a new link."
    return page("simulated/gone.html", heading="Nothing here", words=words, status=404)


def _foreign() -> Response:
    words = "This form was not sent from its own page. Open the page and try again: nothing was done."
    return page("simulated/gone.html", heading="Not from here", words=words, status=403)
