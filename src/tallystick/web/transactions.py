"""The statement in pages, by type and day, and the explanation of each of its lines."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.decimals import format_price
from tallystick.core.ids import to_text
from tallystick.core.times import DAY, from_datetime
from tallystick.services.pages import Page
from tallystick.web.dashboard import looked, show
from tallystick.web.frame import tally_of
from tallystick.web.refusals import again_of
from tallystick.web.signing_in import SignedIn
from tallystick.web.words import ENTRY_WORDS, ORIGIN_WORDS

routes = APIRouter(include_in_schema=False)

PATH = "/billing/transactions"
ON_A_PAGE = 25


@routes.get(PATH)
def get_transactions(request: Request) -> Response:
    """Some of the statement, newest first."""
    return looked(request, PATH, _page)


@routes.get(PATH + "/{transaction}")
def get_transaction(request: Request, transaction: str) -> Response:
    """One transaction: what it was, what it did to the balance, and which credits gave or got what."""

    def see(request: Request, who: SignedIn) -> Response:
        tally = tally_of(request)
        found = tally.movements.get(who.caller, transaction)
        charge = tally.explain.charge(who.caller, to_text("chg", found.id)) if found.is_charge else None
        return show(
            request,
            "billing/transaction.html",
            who,
            section=PATH,
            found=found,
            charge=charge,
            words=ENTRY_WORDS,
            origins=ORIGIN_WORDS,
            price=format_price,
        )

    return looked(request, PATH, see)


def _page(request: Request, who: SignedIn) -> Response:
    query = request.query_params
    asked = {name: query.get(name, "").strip() for name in ("type", "from", "to", "unit")}
    cursor = query.get("cursor") or None
    again = None
    try:
        found = tally_of(request).billing.transactions(
            who.caller,
            type=asked["type"] or None,
            unit=asked["unit"] or None,
            start=_day(asked["from"], "from"),
            end=_day(asked["to"], "to", after=DAY),
            limit=ON_A_PAGE,
            cursor=cursor,
        )
    except errors.ValidationFailed as refusal:
        again, found = again_of(refusal, {}), Page((), has_more=False, next_cursor=None)
        asked |= {"from": "", "to": ""}  # a field for days shows nothing else
    kept = urlencode({name: value for name, value in asked.items() if value})
    economy = tally_of(request).context.economy()
    return show(
        request,
        "billing/transactions.html",
        who,
        section=PATH,
        again=again,
        found=found,
        asked=asked,
        first=cursor is None,
        address=f"{PATH}?{kept}&" if kept else f"{PATH}?",
        words=ENTRY_WORDS,
        units=list(economy.units),
        unit=asked["unit"] or economy.primary_unit,
    )


def _day(text: str, field: str, *, after: int = 0) -> int | None:
    """The first moment of a day (UTC), or of the one ``after`` it; None for nothing. Raises ``ValidationFailed``."""
    if not text:
        return None
    try:
        return from_datetime(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)) + after
    except ValueError:
        raise errors.ValidationFailed([(field, "expected a day such as 2027-01-31")]) from None
