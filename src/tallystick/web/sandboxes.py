"""Sandboxes: what runs and what it costs as it happens, and the bill and the log of each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.core.sandboxes import Size, per_hour
from tallystick.core.times import MINUTE
from tallystick.services.pages import MAX_LIMIT
from tallystick.services.sandbox_views import BillView, Forecast, RunningView
from tallystick.services.sandboxes import Wish
from tallystick.services.waiting import waiting
from tallystick.web.dashboard import SANDBOXES, Shown, live, looked, posted, seen_of, show
from tallystick.web.frame import FormOf, see_other, tally_of
from tallystick.web.refusals import Again, again_of
from tallystick.web.signing_in import SignedIn
from tallystick.web.words import SANDBOX_OPERATIONS, SANDBOX_REASONS, SANDBOX_WORDS

routes = APIRouter(include_in_schema=False)

PATH: Final = SANDBOXES
ON_A_PAGE: Final = 25
LINES_ON_A_PAGE: Final = 50
RUNS_ON_A_PAGE: Final = 10
MOST_CHARACTERS: Final = 4_000  # of a code or an output that is shown
_MOST_DIGITS: Final = 12


# --- all of them ---------------------------------------------------------------------------------------------------


@routes.get(PATH)
def get_sandboxes(request: Request) -> Response:
    """What runs, what it costs, and what has ended."""
    return looked(request, PATH, _page)


@routes.get(PATH + "/now")
def get_now(request: Request, seen: str = "") -> Response:
    """What runs alone, for a page that looks again."""

    def look(who: SignedIn) -> Shown:
        now = tally_of(request).sandbox_views.now(who.caller)
        return _now(request, who, now.running, now.forecasts)

    return live(request, "billing/sandboxes_now.html", seen, look)


@routes.post(PATH)
async def post_sandboxes(request: Request, form: FormOf) -> Response:
    """Make one. Sending the form twice makes one."""
    return await waiting(partial(posted, request, form, PATH, _make, _page))


def _make(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
    wish = Wish(
        template=form.get("template", ""),
        name=form.get("name", "").strip() or None,
        timeout=_whole(form.get("timeout", ""), "timeout"),
    )
    try:
        made = tally_of(request).sandboxes.create(who.caller, wish, idempotency_key=form.get("once"))
    except errors.IdempotencyInFlight:
        return see_other(PATH)  # where it is shown as the one that is being made
    return see_other(f"{PATH}/{to_text('sbx', made.value.id)}")


def _page(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
    tally, cursor = tally_of(request), request.query_params.get("cursor") or None
    usage = tally.sandbox_views.usage(who.caller)
    now = _now(request, who, usage.running, usage.forecasts)
    missing = tally.sandboxes.missing
    return show(
        request,
        "billing/sandboxes.html",
        who,
        section=PATH,
        again=again,
        missing=missing,
        offer={} if missing is not None else _offer(request),
        usage=usage,
        ended=tally.sandboxes.ended(who.caller, limit=ON_A_PAGE, cursor=cursor),
        first=cursor is None,
        reasons=SANDBOX_REASONS,
        operations=SANDBOX_OPERATIONS,
        seen=seen_of(now),
        **now,
    )


def _now(
    request: Request, who: SignedIn, running: tuple[RunningView, ...], forecasts: tuple[Forecast, ...]
) -> Shown:
    """What runs, as it is shown: the forecast to the minute, or a page would never have seen it."""
    return {
        "running": running,
        "making": tally_of(request).sandboxes.list(who.caller, status="creating", limit=MAX_LIMIT).items,
        "forecasts": [
            replace(each, lasts_until=each.lasts_until and each.lasts_until - each.lasts_until % MINUTE)
            for each in forecasts
        ],
        "words": SANDBOX_WORDS,
    }


def _offer(request: Request) -> dict[str, Any]:
    """What can be made, and what an hour of it costs."""
    sandboxes, rates = tally_of(request).sandboxes, tally_of(request).context.economy().sandbox
    assert rates is not None
    size = Size(rates.default_vcpu, rates.default_memory_mib, rates.vcpu_second_picos, rates.gib_second_picos)
    return {
        "templates": sandboxes.templates(),
        "warnings": sandboxes.capabilities.warnings,
        "size": size,
        "per_hour": per_hour(size),
        "unit": rates.unit,
        "timeout": rates.default_timeout_seconds,
    }


# --- one of them ---------------------------------------------------------------------------------------------------


@routes.get(PATH + "/{sandbox}")
def get_sandbox(request: Request, sandbox: str) -> Response:
    """One sandbox: how it stands, its bill to the second, and what was run in it."""
    return looked(request, PATH, lambda request, who: _one(request, who, sandbox))


@routes.get(PATH + "/{sandbox}/now")
def get_sandbox_now(request: Request, sandbox: str, seen: str = "") -> Response:
    """How one stands alone, for a page that looks again."""
    return live(request, "billing/sandbox_now.html", seen, lambda who: _standing(request, who, sandbox))


@routes.post(PATH + "/{sandbox}")
async def post_sandbox(request: Request, sandbox: str, form: FormOf) -> Response:
    """Extend, stop or delete one."""

    def act(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
        _change(request, who, sandbox, form)
        return see_other(f"{PATH}/{sandbox}")

    def shown(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
        return _one(request, who, sandbox, again=again)

    return await waiting(partial(posted, request, form, f"{PATH}/{sandbox}", act, shown))


def _change(request: Request, who: SignedIn, sandbox: str, form: dict[str, str]) -> None:
    """Do what the form says; each of it may be sent twice and is as if it had been sent once."""
    sandboxes, action = tally_of(request).sandboxes, form.get("action", "")
    if action == "extend":
        sandboxes.extend(who.caller, sandbox, timeout=_whole(form.get("timeout", ""), "timeout"))
    elif action == "stop":
        sandboxes.stop(who.caller, sandbox)
    elif action == "delete":
        sandboxes.delete(who.caller, sandbox)
    else:
        raise errors.ValidationFailed([("action", "expected one of extend, stop, delete")])


def _one(request: Request, who: SignedIn, sandbox: str, *, again: Again | None = None) -> Response:
    tally, query = tally_of(request), request.query_params
    asked = {"from_second": query.get("from_second", ""), "seconds": query.get("seconds", "60")}
    cursor, older = query.get("cursor") or None, query.get("older", "0")
    standing = _standing(request, who, sandbox)
    again, bill = _bill(request, who, sandbox, asked, again)
    begin = _whole(older, "older")
    lines = bill.lines[::-1]
    return show(
        request,
        "billing/sandbox.html",
        who,
        section=PATH,
        again=again,
        bill=bill,
        lines=lines[begin : begin + LINES_ON_A_PAGE],
        older=begin + LINES_ON_A_PAGE if len(lines) > begin + LINES_ON_A_PAGE else None,
        newest=begin == 0,
        asked=asked,
        log=tally.sandbox_runs.logs(who.caller, sandbox, limit=RUNS_ON_A_PAGE, cursor=cursor),
        first=cursor is None,
        most=MOST_CHARACTERS,
        operations=SANDBOX_OPERATIONS,
        seen=seen_of(standing),
        **standing,
    )


def _standing(request: Request, who: SignedIn, sandbox: str) -> Shown:
    """How a sandbox stands, as it is shown."""
    row, running = tally_of(request).sandbox_views.look(who.caller, sandbox)
    return {"row": row, "running": running, "words": SANDBOX_WORDS, "reasons": SANDBOX_REASONS}


def _bill(
    request: Request, who: SignedIn, sandbox: str, asked: dict[str, str], again: Again | None
) -> tuple[Again | None, BillView]:
    """The bill with the seconds that were asked for, or without them and with what was wrong."""
    views = tally_of(request).sandbox_views
    if not asked["from_second"]:
        return again, views.bill(who.caller, sandbox)
    try:
        first, count = _whole(asked["from_second"], "from_second"), _whole(asked["seconds"], "seconds")
        return again, views.bill(who.caller, sandbox, from_second=first, seconds=count)
    except errors.ValidationFailed as refusal:
        return again or again_of(refusal, {}), views.bill(who.caller, sandbox)


def _whole(text: str, field: str) -> int:
    """A number as a form has it. Raises ``ValidationFailed``."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise errors.ValidationFailed([(field, "expected a whole number such as 600")])
    return int(text)
