"""Connecting apps: the page on which a user lets one in, and the list of those that are."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.redirects import place_of, with_answer
from tallystick.web.dashboard import show
from tallystick.web.frame import FormOf, frame, page, plain, see_other, tally_of
from tallystick.web.signing_in import SignedIn, foreign, forget, is_own_form, signed_in, to_sign_in

routes = APIRouter(include_in_schema=False)


@routes.get("/oauth/consent")
def get_consent(request: Request) -> Response:
    """Ask the user, who signs in first."""
    name = request.query_params.get("request", "")
    address, who = f"/oauth/consent?request={quote(name, safe='')}", signed_in(request)
    try:
        asked = tally_of(request).oauth.request(name)
    except errors.NotFound:
        return _gone(request)
    if who is None:
        return to_sign_in(address)
    return page(
        "account/consent.html",
        asked=asked,
        place=place_of(asked.redirect_uri),
        email=who.email,
        request_name=name,
        return_to=address,
        token=who.token,
        **frame(request),
    )


@routes.post("/oauth/consent")
def post_consent(request: Request, form: FormOf) -> Response:
    """Let the app in, or do not."""
    who, oauth = signed_in(request), tally_of(request).oauth
    if form is None or who is None or not is_own_form(form, who):
        return foreign(request)
    name, action = form.get("request", ""), form.get("action")
    try:
        if action == "approve":
            done = oauth.approve(who.caller, name)
            return _leave(request, "Connected", done.redirect_uri, code=done.code, state=done.state)
        if action == "deny":
            asked = oauth.deny(name)
            return _leave(request, "Denied", asked.redirect_uri, error="access_denied", state=asked.state)
    except errors.NotFound:
        return _gone(request)
    return foreign(request)


@routes.get("/apps")
def get_apps(request: Request) -> Response:
    """The apps that act as the user."""
    who = signed_in(request)
    return to_sign_in("/apps") if who is None else _list(request, who)


@routes.post("/apps")
def post_apps(request: Request, form: FormOf) -> Response:
    """Disconnect one, or all."""
    who, tally = signed_in(request), tally_of(request)
    if form is None or who is None or not is_own_form(form, who):
        return foreign(request)
    if form.get("action") == "end_all":
        tally.identity.end_sessions(who.caller)
        answer = to_sign_in("/apps")
        forget(request, answer)
        return answer
    try:
        tally.connected_apps.end(who.caller, form.get("app", ""))
    except errors.NotFound:
        return plain(request, "Not connected", "This app has been disconnected already.", status=404)
    return see_other("/apps")


def _list(request: Request, who: SignedIn) -> Response:
    apps = tally_of(request).connected_apps.list(who.caller)
    return show(request, "account/apps.html", who, section="/apps", apps=apps)


def _leave(request: Request, heading: str, redirect: str, **answer: str | None) -> Response:
    """Back to the app, by a page of our own.

    A redirect that answers a form has to be allowed by the form's page, and so has every redirect after it, which nobody
    here knows. And an app with a scheme of its own leaves the browser where it is: with something to read.
    """
    onward = with_answer(redirect, **answer, iss=tally_of(request).oauth.issuer)
    return page(
        "account/leaving.html",
        heading=heading,
        onward=onward,
        place=place_of(redirect),
        forward=False,
        **frame(request),
    )


def _gone(request: Request) -> Response:
    sentence = "This was answered already, or it took too long. Start again in the app."
    return plain(request, "Not open any more", sentence, status=404)
