"""Where the link of a refusal leads: what there is, and what more credits cost. Paying is done at the provider's page."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core.decimals import format_units
from tallystick.web.dashboard import Shown, leave_to, live, looked, posted, seen_of, show
from tallystick.web.frame import FormOf, money, tally_of
from tallystick.web.refusals import Again
from tallystick.web.signing_in import SignedIn

routes = APIRouter(include_in_schema=False)

PATH = "/billing"


@dataclass(frozen=True, slots=True)
class Banner:
    """What came of a payment, above the balance. ``tone`` is ``good``, ``bad`` or nothing; links are address and words."""

    heading: str
    sentence: str
    tone: str = ""
    links: tuple[tuple[str, str], ...] = ()


@routes.get("/billing")
def get_billing(request: Request) -> Response:
    """What there is, and what can be bought."""
    return looked(request, PATH, overview)


@routes.get("/billing/balance")
def get_balance(request: Request, unit: str | None = None, seen: str = "") -> Response:
    """The balance alone, for a page that looks again."""

    def look(who: SignedIn) -> Shown:
        return {"balance": tally_of(request).billing.balance(who.caller, unit=unit or None)}

    return live(request, "billing/balance.html", seen, look)


@routes.post("/billing")
def post_billing(request: Request, form: FormOf) -> Response:
    """Make a page to pay on, and lead there. Sending the form twice makes one."""
    return posted(request, form, PATH, _buy, overview)


def _buy(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
    pack, key = form.get("pack"), form.get("key")
    made = tally_of(request).checkouts.create(
        who.caller,
        package=pack,
        amount=None if pack is not None else form.get("amount", ""),
        idempotency_key=f"billing page {key}" if key else None,
    )
    return leave_to(request, "Pay", made.value.url)


def overview(
    request: Request,
    who: SignedIn,
    *,
    again: Again | None = None,
    banner: Banner | None = None,
    again_seconds: int | None = None,
) -> Response:
    """The first page, with what was refused, or what came of a payment."""
    tally = tally_of(request)
    economy, unit = tally.context.economy(), request.query_params.get("unit") or None
    balance = tally.billing.balance(who.caller, unit=unit)
    packs = [
        (
            pack.name,
            pack.title,
            format_units(pack.credits_micros, pack.unit),
            money(pack.price_usd_cents, "usd"),
        )
        for pack in economy.packs.values()
    ]
    return show(
        request,
        "billing/buying.html",
        who,
        section=PATH,
        again=again,
        again_seconds=again_seconds,
        banner=banner,
        packs=packs,
        sale=economy.purchase,
        units=list(economy.units),
        balance=balance,
        seen=seen_of({"balance": balance}),
    )
