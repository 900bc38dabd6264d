"""Signing in to the pages: a session in a cookie that no script can read and no other site can send a form with.

A form is taken when the browser says that it comes from here, and when it carries a token that only pages of this session
have.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.services.context import Caller
from tallystick.web.frame import FormOf, frame, page, plain, see_other, tally_of
from tallystick.web.refusals import told

routes = APIRouter(include_in_schema=False)

COOKIE: Final = "tally-session"
PATHS: Final = ("/billing", "/apps", "/oauth/consent")
BELOW: Final = "/billing/"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whoever looks at a page. ``token`` belongs into the forms of this session."""

    caller: Caller
    email: str
    token: str


def signed_in(request: Request) -> SignedIn | None:
    """Who has signed in here, if anybody has."""
    tally, session = tally_of(request), session_of(request)
    try:
        caller = tally.identity.authenticate(session, tally.context.now())
    except errors.NotAuthenticated:
        return None
    email = tally.identity.me(caller).email
    return None if email is None else SignedIn(caller, email, _form_token(session))


def is_own_form(form: dict[str, str] | None, who: SignedIn) -> bool:
    """Whether a form was on a page of this session."""
    return form is not None and hmac.compare_digest(form.get("token", "").encode(), who.token.encode())


def to_sign_in(return_to: str) -> Response:
    """The way to the page to sign in on, and back."""
    return see_other(f"/sign-in?return_to={quote(return_to, safe='')}")


def foreign(request: Request) -> Response:
    """What a form from elsewhere gets."""
    sentence = "This form was sent from another page, or you have signed in anew meanwhile. Go back and load the page again."
    return plain(request, "Not taken", sentence, status=403)


def sign_in_again(request: Request, return_to: str) -> Response:
    """What a form gets whose session has ended."""
    reason = "You were signed out, and nothing was changed. Sign in, and send the form again."
    return _form_page(request, return_to, reason=reason, status=401)


@routes.get("/sign-in")
def get_sign_in(request: Request, return_to: str = "") -> Response:
    """The page to sign in on."""
    return _form_page(request, return_to)


@routes.post("/sign-in")
def post_sign_in(request: Request, form: FormOf) -> Response:
    """Sign in, or register, and go on."""
    if form is None:
        return foreign(request)
    identity, email, return_to = tally_of(request).identity, form.get("email", ""), form.get("return_to", "")
    ip = None if request.client is None else request.client.host
    use = identity.register if form.get("action") == "register" else identity.login
    try:
        session = use(email, form.get("password", ""), ip=ip).token
    except errors.RateLimited as refusal:
        return _form_page(request, return_to, problem=told(refusal), email=email, status=429)
    except (errors.InvalidCredentials, errors.EmailTaken, errors.ValidationFailed) as refusal:
        return _form_page(request, return_to, problem=told(refusal), email=email, status=422)
    answer = see_other(_within(return_to))
    _set_cookie(request, answer, session)
    return answer


@routes.post("/sign-out")
def post_sign_out(request: Request, form: FormOf) -> Response:
    """End the session of this browser."""
    who = signed_in(request)
    if who is not None:
        if form is None or not is_own_form(form, who):
            return foreign(request)
        tally_of(request).identity.logout(who.caller, session_of(request))
    answer = to_sign_in(_within((form or {}).get("return_to", "")))
    forget(request, answer)
    return answer


def forget(request: Request, answer: Response) -> None:
    """Take the session out of the browser."""
    _set_cookie(request, answer, "")


def _form_page(
    request: Request,
    return_to: str,
    *,
    reason: str = "",
    problem: str | None = None,
    email: str = "",
    status: int = 200,
) -> Response:
    if return_to.startswith("/oauth/consent"):
        reason = "An app wants to be connected. Sign in to see which."
    return page(
        "account/sign_in.html",
        status=status,
        reason=reason,
        return_to=_within(return_to),
        problem=problem,
        email=email,
        **frame(request),
    )


def _within(return_to: str) -> str:
    """A page of ours, wherever the address that was sent leads."""
    path = return_to.partition("?")[0]
    is_ours = path in PATHS or path.startswith(BELOW)
    return return_to if is_ours and return_to.isprintable() else PATHS[0]


def session_of(request: Request) -> str:
    """The token of the session that a browser shows; empty where it shows none."""
    return request.cookies.get(_cookie(request), "")


def _is_secure(request: Request) -> bool:
    return str(request.app.state.base).startswith("https:")


def _cookie(request: Request) -> str:
    """With this prefix, browsers keep other hosts of the domain from setting it."""
    return f"__Host-{COOKIE}" if _is_secure(request) else COOKIE


def _set_cookie(request: Request, answer: Response, session: str) -> None:
    """Until the browser is closed. ``lax``: it comes along from an app's link, and with no form of another site."""
    answer.set_cookie(
        _cookie(request),
        session,
        max_age=None if session else 0,
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="lax",
    )


def _form_token(session: str) -> str:
    """Whoever knows it does not know the session."""
    return hashlib.sha256(f"form:{session}".encode()).hexdigest()
