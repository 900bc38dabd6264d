"""What the pages of the dashboard share: who looks, where else one can go, and what becomes of a form."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.decimals import format_amount
from tallystick.core.ids import to_text
from tallystick.core.redirects import place_of
from tallystick.problem_details import status_of
from tallystick.services.once import Claim
from tallystick.web import assets
from tallystick.web.frame import frame, page, plain, tally_of
from tallystick.web.refusals import Again, again_of, told
from tallystick.web.signing_in import SignedIn, foreign, is_own_form, sign_in_again, signed_in, to_sign_in

SANDBOXES: Final = "/billing/sandboxes"  # led to only where there are any
# The pages that there are, in the order of the navigation. Another room's page gets its line here.
NAVIGATION: Final[tuple[tuple[str, str], ...]] = (
    ("/billing", "Credits"),
    ("/billing/transactions", "Transactions"),
    ("/billing/usage", "Usage"),
    ("/billing/payments", "Payments"),
    ("/billing/agents", "Agents"),
    ("/billing/tasks", "Tasks"),
    (SANDBOXES, "Sandboxes"),
    ("/billing/plan", "Plan"),
    ("/billing/refills", "Refills"),
    ("/billing/budgets", "Budgets"),
    ("/billing/keys", "API keys"),
    ("/billing/webhooks", "Webhooks"),
    ("/apps", "Apps"),
    ("/billing/password", "Password"),
)
# How long whoever sends a form twice waits for what the first is about to do.
WAIT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.05
_CHANCE: Final = secrets.SystemRandom()
SCRIPTS: Final = {"script-src": "'self'", "connect-src": "'self'", "style-src": "'self'"}

Act = Callable[[Request, SignedIn, dict[str, str]], Response]
Show = Callable[..., Response]
Shown = dict[str, Any]


def show(
    request: Request,
    name: str,
    who: SignedIn,
    *,
    section: str,
    again: Again | None = None,
    status: int = 200,
    again_seconds: int | None = None,
    allows: dict[str, str] | None = None,
    **values: Any,  # noqa: ANN401 - whatever the template shows
) -> Response:
    """A page of ``section``, with the way to the others, and what became of the form that is shown ``again``."""
    return page(
        name,
        status=status if again is None else again.status,
        problem=None if again is None else again.problem,
        filled={} if again is None else again.form,
        allows=allows or SCRIPTS,
        navigation=[
            each for each in NAVIGATION if each[0] != SANDBOXES or tally_of(request).sandboxes.are_there
        ],
        section=section,
        email=who.email,
        token=who.token,
        once=again.key if again is not None and again.key else secrets.token_urlsafe(),
        asset=assets.address,
        amount=format_amount,
        text_of=to_text,
        **frame(request, again_seconds=again_seconds),
        **values,
    )


def looked(request: Request, path: str, see: Callable[[Request, SignedIn], Response]) -> Response:
    """Answer a GET: a page for whoever has signed in, or a plain sentence for what is refused.

    ``path`` is the section that the page belongs to. Signing in leads back to the page itself.
    """
    who = signed_in(request)
    if who is None:
        query = request.url.query
        return to_sign_in(f"{request.url.path}?{query}" if query else request.url.path)
    return _seen(request, path, who, see)


def live(request: Request, name: str, seen: str, look: Callable[[SignedIn], Shown]) -> Response:
    """A part of a page alone, for a page that looks again: 204 where it has ``seen`` it, 401 for nobody."""
    who = signed_in(request)
    if who is None:
        return Response(status_code=401)
    try:
        shown = look(who)
    except errors.Refusal as refusal:
        return Response(status_code=status_of(type(refusal))[0])
    now = seen_of(shown)
    if seen == now:
        return Response(status_code=204)
    return page(name, seen=now, amount=format_amount, text_of=to_text, **shown)


def seen_of(shown: Shown) -> str:
    """A name for all that a part of a page shows."""
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


def _seen(
    request: Request, path: str, who: SignedIn, see: Callable[[Request, SignedIn], Response]
) -> Response:
    try:
        return see(request, who)
    except errors.Refusal as refusal:
        status, title = status_of(type(refusal))
        return show(
            request,
            "billing/told.html",
            who,
            section=_section_of(path),
            status=status,
            heading=title,
            sentence=told(refusal),
        )


def _section_of(path: str) -> str:
    """The page of the navigation that leads to an address."""
    above = [address for address, _ in NAVIGATION if path == address or path.startswith(f"{address}/")]
    return max(above, key=len, default=NAVIGATION[0][0])


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
        return _done(request, who, form, act)
    except errors.Refusal as refusal:
        found = again_of(refusal, form, key=_number_of(form))
    return _seen(request, path, who, lambda request, who: again(request, who, again=found))


def _done(request: Request, who: SignedIn, form: dict[str, str], act: Act) -> Response:
    """Act. A form that is sent again while the first is still on its way waits for it, and leads to the same."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return act(request, who, form)
        except errors.IdempotencyInFlight:
            if time.monotonic() >= until:
                raise
        # By chance, since those who ask again at the same moment are on their way to each other as well.
        time.sleep(_PAUSE_SECONDS * (1 + 4 * _CHANCE.random()))


def _number_of(form: dict[str, str]) -> str:
    """The number that the page of a form was shown with: each of its forms adds its own name to it."""
    return (form.get("once") or form.get("key", "")).partition(" ")[0]


def claim(request: Request, who: SignedIn, form: dict[str, str]) -> Claim:
    """What sees to it that a form is taken once: it raises ``Conflict`` for a repeat, from whichever tab it comes."""
    return tally_of(request).once.claim(who.caller, form.get("once", ""))


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
