"""Budgets: how much may be spent per day or month, by everything, one agent, or one key."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core.ids import to_text
from tallystick.services.pages import MAX_LIMIT
from tallystick.web.dashboard import looked, posted, show
from tallystick.web.frame import FormOf, see_other, tally_of
from tallystick.web.refusals import Again
from tallystick.web.signing_in import SignedIn
from tallystick.web.words import LEVEL_WORDS

routes = APIRouter(include_in_schema=False)

PATH = "/billing/budgets"


@routes.get(PATH)
def get_budgets(request: Request) -> Response:
    """The budgets, with what they have counted."""
    return looked(request, PATH, _page)


@routes.post(PATH)
def post_budgets(request: Request, form: FormOf) -> Response:
    """Set a budget, or lift one."""
    return posted(request, form, PATH, _act, _page)


def _act(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
    budgets = tally_of(request).budgets
    if form.get("action") == "remove":
        budgets.remove_by_id(who.caller, form.get("budget", ""))
        return see_other(PATH)
    level, subject = form.get("level", ""), None
    if level in {"agent", "key"}:
        subject = form.get(level, "").strip() or None
    budgets.put(
        who.caller,
        level=level,
        subject=subject,
        unit=form.get("unit"),
        amount=form.get("amount", "").strip(),
        per=form.get("per", ""),
    )
    return see_other(PATH)


def _page(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
    tally = tally_of(request)
    keys = [each for each in tally.keys.list(who.caller, limit=MAX_LIMIT).items if each.revoked_at is None]
    return show(
        request,
        "billing/budgets.html",
        who,
        section=PATH,
        again=again,
        budgets=tally.budgets.list(who.caller),
        keys=keys,
        names={to_text("key", each.id): each.name for each in keys},
        units=list(tally.context.economy().units),
        words=LEVEL_WORDS,
    )
