"""Where the link of a refusal leads: what there is, and what more credits cost. Paying is done at the provider's page."""

from __future__ import annotations

import secrets

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.decimals import format_amount
from tallystick.core.redirects import place_of
from tallystick.web.frame import FormOf, frame, money, page, tally_of
from tallystick.web.signing_in import SignedIn, foreign, is_own_form, signed_in, to_sign_in

routes = APIRouter(include_in_schema=False)


@routes.get("/billing")
def get_billing(request: Request) -> Response:
    """What there is, and what can be bought."""
    who = signed_in(request)
    return to_sign_in("/billing") if who is None else _page(request, who)


@routes.post("/billing")
def post_billing(request: Request, form: FormOf) -> Response:
    """Make a page to pay on, and lead there. Sending the form twice makes one."""
    who = signed_in(request)
    if form is None or who is None or not is_own_form(form, who):
        return foreign(request)
    pack, amount, key = form.get("pack"), form.get("amount"), form.get("key")
    try:
        made = tally_of(request).checkouts.create(
            who.caller,
            package=pack,
            amount=None if pack is not None else amount or "",
            idempotency_key=f"billing page {key}" if key else None,
        )
    except errors.Refusal as refusal:
        status = 503 if isinstance(refusal, errors.ServiceUnavailable) else 422
        return _page(request, who, problem=refusal.detail, status=status)
    url = made.value.url
    # A redirect that answers a form would have to be allowed before its address is known.
    return page(
        "account/leaving.html", heading="Pay", onward=url, place=place_of(url), forward=True, **frame(request)
    )


def _page(request: Request, who: SignedIn, *, problem: str | None = None, status: int = 200) -> Response:
    tally = tally_of(request)
    economy, balance = tally.context.economy(), tally.billing.balance(who.caller)
    return page(
        "billing/buying.html",
        status=status,
        problem=problem,
        balance=balance,
        packs=[
            (
                pack.name,
                pack.title,
                f"{format_amount(pack.credits_micros)} {pack.unit}",
                money(pack.price_usd_cents, "usd"),
            )
            for pack in economy.packs.values()
        ],
        sale=economy.purchase,
        amount=format_amount,
        email=who.email,
        token=who.token,
        key=secrets.token_urlsafe(),
        **frame(request),
    )
