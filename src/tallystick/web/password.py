"""Changing one's password, which ends what else got in with the old one."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.web.dashboard import looked, posted, show
from tallystick.web.frame import FormOf, tally_of
from tallystick.web.refusals import Again
from tallystick.web.signing_in import SignedIn, session_of

routes = APIRouter(include_in_schema=False)

PATH = "/billing/password"


@routes.get(PATH)
def get_password(request: Request) -> Response:
    """The form."""
    return looked(request, PATH, _page)


@routes.post(PATH)
def post_password(request: Request, form: FormOf) -> Response:
    """Change it."""
    return posted(request, form, PATH, _change, _page)


def _change(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
    new = form.get("new", "")
    if new != form.get("again", ""):
        raise errors.ValidationFailed([("again", "expected the new password once more")])
    tally_of(request).identity.change_password(
        who.caller,
        old=form.get("old", ""),
        new=new,
        token=session_of(request),
        ip=None if request.client is None else request.client.host,
    )
    return _page(request, who, changed=True)


def _page(
    request: Request,
    who: SignedIn,
    *,
    again: Again | None = None,
    changed: bool = False,
) -> Response:
    return show(
        request,
        "account/password.html",
        who,
        section=PATH,
        again=again,
        changed=changed,
    )
