"""What the pages of the dashboard share: who looks, where else one can go, and what becomes of a form."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.decimals import format_amount
from tallystick.core.ids import to_text
from tallystick.core.redirects import place_of
from tallystick.problem_details import AWAY, status_of
from tallystick.web import assets
from tallystick.web.frame import frame, page, plain, tally_of
from tallystick.web.signing_in import SignedIn, foreign, is_own_form, sign_in_again, signed_in, to_sign_in

# The pages that everybody has, in the order of the navigation. Another room's page gets its line here.
NAVIGATION: Final = (
    ("/billing", "Credits"),
    ("/billing/transactions", "Transactions"),
    ("/billing/usage", "Usage"),
    ("/billing/payments", "Payments"),
    ("/billing/agents", "Agents"),
    ("/billing/tasks", "Tasks"),
    ("/billing/plan", "Plan"),
    ("/billing/refills", "Refills"),
    ("/billing/budgets", "Budgets"),
    ("/billing/keys", "API keys"),
    ("/billing/webhooks", "Webhooks"),
    ("/apps", "Apps"),
    ("/billing/password", "Password"),
)
SCRIPTS: Final = {"script-src": "'self'", "connect-src": "'self'", "style-src": "'self'"}

Act = Callable[[Request, SignedIn, dict[str, str]], Response]
Show = Callable[..., Response]


def show(
    request: Request,
    name: str,
    who: SignedIn,
    *,
    section: str,
    status: int = 200,
    again_seconds: int | None = None,
    allows: dict[str, str] | None = None,
    **values: Any,  # noqa: ANN401 - whatever the template shows
) -> Response:
    """A page of ``section``, with the way to the others."""
    return page(
        name,
        status=status,
        allows=allows or SCRIPTS,
        navigation=NAVIGATION,
        section=section,
        email=who.email,
        token=who.token,
        once=secrets.token_urlsafe(),
        asset=assets.address,
        amount=format_amount,
        text_of=to_text,
        **frame(request, again_seconds=again_seconds),
        **values,
    )


def looked(request: Request, path: str, see: Callable[[Request, SignedIn], Response]) -> Response:
    """Answer a GET: a page for whoever has signed in, or a plain sentence for what is refused.

    ``path`` is where signing in leads back to.
    """
    who = signed_in(request)
    if who is None:
        query = request.url.query
        return to_sign_in(f"{path}?{query}" if query else path)
    try:
        return see(request, who)
    except errors.Refusal as refusal:
        status, title = status_of(type(refusal))
        return show(
            request,
            "billing/told.html",
            who,
            section=path,
            status=status,
            heading=title,
            sentence=told(refusal),
        )


def posted(request: Request, form: dict[str, str] | None, path: str, act: Act, again: Show) -> Response:
    """Answer a form of the page at ``path``: act, or show the page ``again`` with what was refused.

    Whoever was signed out meanwhile signs in first, and is told that nothing was changed.
    """
    who = signed_in(request)
    if who is None and form is not None:
        return sign_in_again(request, path)
    if form is None or who is None or not is_own_form(form, who):
        return foreign(request)
    try:
        return act(request, who, form)
    except errors.Refusal as refusal:
        return again(request, who, problem=told(refusal), status=status_of(type(refusal))[0])


def told(refusal: errors.Refusal) -> str:
    """A refusal as a sentence. What the database said stays here: it may name hosts and users."""
    if isinstance(refusal, errors.ServiceUnavailable) and refusal.__cause__ is not None:
        return AWAY
    return refusal.detail[:1].upper() + refusal.detail[1:]


def claim(request: Request, who: SignedIn, form: dict[str, str]) -> None:
    """See to it that a form is taken once. Raises ``Conflict`` for a repeat, from whichever tab it comes."""
    tally_of(request).once.claim(who.caller, form.get("once", ""))


def leave_to(request: Request, heading: str, url: str) -> Response:
    """On to a page of the payment provider, by a page of our own.

    A redirect that answers a form would have to be allowed before its address is known.
    """
    return page(
        "account/leaving.html",
        heading=heading,
        onward=url,
        place=place_of(url),
        forward=True,
        **frame(request),
    )


def gone(request: Request, sentence: str) -> Response:
    """What an address gets that leads nowhere."""
    return plain(request, "Nothing here", sentence, status=404)
