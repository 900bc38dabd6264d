"""The plan: what there is, and changing it. What costs more is paid first, what costs less follows at the period's end."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.web.dashboard import leave_to, looked, posted, show
from tallystick.web.frame import FormOf, see_other, tally_of
from tallystick.web.refusals import Again
from tallystick.web.signing_in import SignedIn

routes = APIRouter(include_in_schema=False)

PATH = "/billing/plan"


@routes.get(PATH)
def get_plan(request: Request) -> Response:
    """The plan and what else there is."""
    return looked(request, PATH, _page)


@routes.post(PATH)
def post_plan(request: Request, form: FormOf) -> Response:
    """Change the plan, or lead to the page on which the new one is paid. Sending the form twice changes it once."""
    return posted(request, form, PATH, _change, _page)


def _change(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
    once = form.get("once")
    done = tally_of(request).subscriptions.change(
        who.caller,
        tier=form.get("tier", ""),
        idempotency_key=f"plan page {once}" if once else None,
    )
    url = done.value.checkout_url
    return see_other(PATH) if url is None else leave_to(request, "Pay for the plan", url)


def _page(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
    tally = tally_of(request)
    economy = tally.context.economy()
    return show(
        request,
        "billing/plan.html",
        who,
        section=PATH,
        again=again,
        subscription=tally.subscriptions.get(who.caller),
        plan=tally.plans.get(who.caller),
        plans=economy.plans,
    )
