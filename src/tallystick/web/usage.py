"""What was spent and earned by day and meter: a chart, and a table of the same figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.decimals import format_amount
from tallystick.services.billing import PERIODS, Usage
from tallystick.web.dashboard import SCRIPTS, looked, show
from tallystick.web.frame import tally_of
from tallystick.web.refusals import again_of
from tallystick.web.signing_in import SignedIn

routes = APIRouter(include_in_schema=False)

PATH = "/billing/usage"
DEFAULT: Final = "30d"
MOST_METERS: Final = 6  # more colours than these cannot be told apart
OTHER: Final = "everything else"
# The chart library makes two style elements: an empty one that it fills by script, and one for maps, which we have none of.
_EMPTY: Final = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
_FOR_MAPS: Final = "'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o='"
_ALLOWS: Final = SCRIPTS | {"style-src": f"'self' {_EMPTY} {_FOR_MAPS}"}


@routes.get(PATH)
def get_usage(request: Request) -> Response:
    """The chart and the table of 7, 30 or 90 days."""
    return looked(request, PATH, _page)


def _page(request: Request, who: SignedIn) -> Response:
    query, billing, again = request.query_params, tally_of(request).billing, None
    unit = query.get("unit") or None
    try:
        usage = billing.usage(who.caller, unit=unit, period=query.get("period", DEFAULT))
    except errors.ValidationFailed as refusal:
        again = again_of(refusal, {})
        usage = billing.usage(who.caller, unit=unit, period=DEFAULT)
    meters = _meters(usage)
    return show(
        request,
        "billing/usage.html",
        who,
        section=PATH,
        again=again,
        allows=_ALLOWS,
        usage=usage,
        periods=PERIODS,
        units=list(tally_of(request).context.economy().units),
        other=OTHER,
        split=lambda day: _split(day.spent, day.by_meter, meters),
        totals=_split(usage.totals.spent, usage.totals.by_meter, meters),
        chart=_chart(usage, meters),
        is_empty=not any(day.spent or day.earned for day in usage.days),
    )


def _meters(usage: Usage) -> list[str]:
    """The meters that cost most, the dearest first."""
    by_meter = usage.totals.by_meter
    return sorted(by_meter, key=lambda meter: (-by_meter[meter], meter))[:MOST_METERS]


def _split(spent: int, by_meter: Mapping[str, int], meters: list[str]) -> list[tuple[str, int]]:
    """What was spent on each of the meters, and on everything else: other meters, tasks, fees."""
    parts = [(meter, by_meter.get(meter, 0)) for meter in meters]
    return [*parts, (OTHER, spent - sum(amount for _, amount in parts))]


def _chart(usage: Usage, meters: list[str]) -> dict[str, Any]:
    """The figures as the script draws them; exact decimals as text, since JSON's numbers are doubles there."""
    days = [_split(day.spent, day.by_meter, meters) for day in usage.days]
    series = [
        {"name": name, "values": [format_amount(day[index][1]) for day in days]}
        for index, (name, _) in enumerate(days[0])
        if any(day[index][1] for day in days)
    ]
    return {
        "unit": usage.unit,
        "days": [day.date for day in usage.days],
        "spent": series,
        "earned": [format_amount(day.earned) for day in usage.days],
    }
