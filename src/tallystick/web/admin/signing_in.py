"""Signing in as an operator, with an admin's API key, and out again."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.web.admin.office import (
    HOME,
    SIGN_IN,
    bare,
    cookie,
    is_own_form,
    is_secure,
    session_of,
    signed_in,
)
from tallystick.web.frame import FormOf, see_other, tally_of
from tallystick.web.refusals import told

routes = APIRouter(include_in_schema=False)


@routes.get(SIGN_IN)
def get_sign_in(request: Request, return_to: str = "") -> Response:
    """The page to sign in on."""
    return _page(request, return_to)


@routes.post(SIGN_IN)
def post_sign_in(request: Request, form: FormOf) -> Response:
    """Open a session and go on."""
    if form is None:
        return bare(request, "admin/foreign.html", status=403)
    return_to, ip = form.get("return_to", ""), None if request.client is None else request.client.host
    try:
        session = tally_of(request).operators.sign_in(form.get("api_key", ""), ip=ip).token
    except errors.NotAuthenticated:
        return _page(
            request, return_to, problem="This is no API key that holds: expected an admin's.", status=422
        )
    except errors.NotAllowed as refusal:
        return _page(request, return_to, problem=told(refusal), status=403)
    except errors.RateLimited as refusal:
        return _page(request, return_to, problem=told(refusal), status=429)
    answer = see_other(_within(return_to))
    _set_cookie(request, answer, session)
    return answer


@routes.post("/admin/sign-out")
def post_sign_out(request: Request, form: FormOf) -> Response:
    """End the session of this browser."""
    who = signed_in(request)
    if who is not None:
        if form is None or not is_own_form(form, who):
            return bare(request, "admin/foreign.html", status=403)
        tally_of(request).operators.sign_out(session_of(request))
    answer = see_other(SIGN_IN)
    _set_cookie(request, answer, "")
    return answer


def _page(request: Request, return_to: str, *, problem: str | None = None, status: int = 200) -> Response:
    return bare(request, "admin/sign_in.html", status=status, return_to=_within(return_to), problem=problem)


def _within(return_to: str) -> str:
    """A page of the dashboard, wherever the address that was sent leads."""
    path = return_to.partition("?")[0]
    return return_to if (path == HOME or path.startswith(f"{HOME}/")) and return_to.isprintable() else HOME


def _set_cookie(request: Request, answer: Response, session: str) -> None:
    """Until the browser is closed. ``lax``: it comes along from a link in a mail, and with no form of another site."""
    answer.set_cookie(
        cookie(request),
        session,
        max_age=None if session else 0,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )
