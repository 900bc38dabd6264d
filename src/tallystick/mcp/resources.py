"""What an agent reads before it asks: the balance, the price list, the recent history; and two questions worth asking."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastmcp import FastMCP
from fastmcp.exceptions import ResourceError
from pydantic import BaseModel, Field

from tallystick.core import errors
from tallystick.core.catalog import Economy, Meter, Price
from tallystick.mcp.tools import Tools
from tallystick.plain_json import number, per_unit, price_line

RECENT: Final = 20
_JSON: Final = "application/json"


def register_resources(server: FastMCP[Any], tools: Tools, economy: Callable[[], Economy]) -> None:
    """Put the resources and prompts on a server."""

    @server.resource("ruv://balance", title="Balance", mime_type=_JSON)
    def balance() -> str:
        """Your credits now, with what is held, whether they refill themselves, and the plan."""
        return _read(tools.check_balance)

    @server.resource("ruv://history", title="Recent history", mime_type=_JSON)
    def history() -> str:
        """Your last twenty movements of credits, newest first."""
        return _read(lambda: tools.ruv_history(limit=RECENT))

    @server.resource("ruv://prices", title="Price list", mime_type=_JSON)
    def prices() -> str:
        """What everything costs, by meter: once, for each unit of quantity, or by tiers."""
        return json.dumps(price_list(economy()))

    @server.prompt(title="Monthly cost review")
    def monthly_cost_review() -> str:
        """Find out where last month's credits went, and what would save some."""
        return (
            "Review what my credits were spent on during the last 30 days. Read ruv_history (up to 100 lines) and "
            "user_stats. Sum the negative amounts by type, largest first, with each one's share of the whole, and "
            "compare them with what was granted, bought and earned. Name the three biggest costs, look up their "
            "meters in ruv://prices, and say what I could change to spend less. If the history ends before the "
            "30 days do, say so instead of guessing."
        )

    @server.prompt(title="Is this job affordable?")
    def is_this_job_affordable(
        job: Annotated[str, Field(description="What is to be done, with its quantities if you know them")],
    ) -> str:
        """Estimate what a job costs before it starts, and compare that with what is available."""
        return (
            f"I want to do this: {job}\n\n"
            "Estimate its cost before anything is started. Read ruv://prices, list the meters that the job uses "
            "with their quantities, and work out the price of each. Say which quantities you assumed. Then call "
            "check_balance and compare the total with `available`. If it is not enough, say how much is missing, "
            "and offer create_payment_link; do not buy anything without my word."
        )


def price_list(economy: Economy) -> dict[str, Any]:
    """The rate card. Prices of one unit have twelve decimals at most."""
    return {
        "economy": economy.name,
        "economy_version": economy.version,
        "primary_unit": economy.primary_unit,
        "meters": [_meter(each) for each in economy.meters.values()],
    }


def _meter(meter: Meter) -> dict[str, Any]:
    return {
        "meter": meter.name,
        "category": meter.category,
        "description": meter.description,
        "hourly_limit": meter.hourly_limit,
        "note": meter.note,
        "prices": [_price(each) for each in meter.prices],
    }


def _price(price: Price) -> dict[str, Any]:
    tiers = [
        {
            "up_to": None if tier.up_to_micros is None else number(tier.up_to_micros),
            "per_unit": per_unit(tier.per_unit_picos),
            "flat": number(tier.flat_micros),
        }
        for tier in price.tiers
    ]
    return {**price_line(price), "tiers": tiers}


def _read(look: Callable[[], BaseModel]) -> str:
    """What a tool would answer. A resource has no form for a refusal: it is an error with the code in its text."""
    try:
        return look().model_dump_json()
    except errors.Refusal as refusal:
        raise ResourceError(f"{refusal.code}: {refusal.detail}") from refusal
