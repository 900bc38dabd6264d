"""What everybody may read, with a key or without: the economy's public part and its prices. And the test clock."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import economy
from tallystick.api.answers.common import Time
from tallystick.api.auth import CallerOf
from tallystick.api.models import ClockBody
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services
from tallystick.core.times import format_rfc3339

public = router("economy")
clock = router("test")


@dataclass(slots=True)
class Ran:
    """How much of one kind of work was done."""

    job: str
    count: int


@dataclass(slots=True)
class ClockAnswer:
    """The time now, and the work that became due on the way."""

    now: Time
    ran: list[Ran]


@public.get("/prices", response_model=economy.PricesAnswer)
async def get_prices(request: Request) -> Response:
    """All prices, with the version of the economy that they belong to."""
    return Json(economy.prices(services(request).context.economy()))


@public.get("/economy", response_model=economy.EconomyAnswer)
async def get_economy(request: Request) -> Response:
    """What is counted, given and sold."""
    return Json(economy.public(services(request).context.economy()))


@clock.post("/test/clock", response_model=ClockAnswer)
def move_clock(request: Request, caller: CallerOf, body: ClockBody) -> Response:
    """Move the test clock forwards, and do all the work that becomes due. For admins, in test mode only."""
    now, ran = services(request).test_clock.move(caller, advance=body.advance, now=body.now)
    return Json(ClockAnswer(format_rfc3339(now), [Ran(job, count) for job, count in ran]))
