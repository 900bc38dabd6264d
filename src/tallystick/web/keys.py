"""API keys: made and shown once, listed, revoked."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.times import from_datetime
from tallystick.services.keys import BudgetTerms, NewKey
from tallystick.web.dashboard import claim, looked, posted, show
from tallystick.web.frame import FormOf, see_other, tally_of
from tallystick.web.refusals import Again
from tallystick.web.signing_in import SignedIn

routes = APIRouter(include_in_schema=False)

PATH = "/billing/keys"


@routes.get(PATH)
def get_keys(request: Request) -> Response:
    """The keys, newest first."""
    return looked(request, PATH, _page)


@routes.post(PATH)
def post_keys(request: Request, form: FormOf) -> Response:
    """Make a key, or revoke one."""
    return posted(request, form, PATH, _act, _page)


def _act(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
    keys = tally_of(request).keys
    if form.get("action") == "revoke":
        keys.revoke(who.caller, form.get("key", ""))
        return see_other(PATH)
    made = keys.create(
        who.caller,
        name=form.get("name", ""),
        budget=_budget(form),
        expires_at=_end(form),
        claim=claim(request, who, form),
    )
    return _page(request, who, made=made)


def _budget(form: dict[str, str]) -> BudgetTerms | None:
    amount = form.get("amount", "").strip()
    return (amount, None, form.get("per", "")) if amount else None


def _end(form: dict[str, str]) -> int | None:
    """The key's last moment: the beginning of the day that was named. Raises ``ValidationFailed``."""
    text = form.get("expires", "").strip()
    if not text:
        return None
    try:
        return from_datetime(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC))
    except ValueError:
        raise errors.ValidationFailed([("expires", "expected a day such as 2027-01-31")]) from None


def _page(
    request: Request,
    who: SignedIn,
    *,
    again: Again | None = None,
    made: NewKey | None = None,
) -> Response:
    tally, cursor = tally_of(request), request.query_params.get("cursor") or None
    return show(
        request,
        "billing/keys.html",
        who,
        section=PATH,
        again=again,
        made=made,
        found=tally.keys.list(who.caller, cursor=cursor),
        first=cursor is None,
        address=f"{PATH}?",
        unit=tally.context.economy().primary_unit,
        now=tally.context.now(),
    )
