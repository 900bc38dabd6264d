"""Resources and prompts, read by a real client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mcp.shared.exceptions import MCPError

from tallystick.bootstrap import Tally
from tallystick.core.catalog import Price, Tier
from tallystick.mcp.resources import price_list
from tallystick.mcp.server import build
from tests.doors.mcp.agent import Agent, Someone
from tests.doors.mcp.test_tools import PASSWORD


@pytest.fixture
def tally(tmp_path: Path) -> Iterator[Tally]:
    with Tally.open(f"sqlite:///{tmp_path / 'tally.db'}", economy="flow-nexus") as opened:
        yield opened


def test_resources_say_what_the_tools_say(tally: Tally) -> None:
    """The balance and the history of whoever asks; nobody else's, and nothing for nobody."""
    agent = Agent(build(tally, Someone()))
    with pytest.raises(MCPError, match="not_authenticated: log in"):
        agent.read("ruv://balance")
    agent.call("user_register", email="ada@example.com", password=PASSWORD)
    assert agent.call("check_balance") == agent.read("ruv://balance")
    assert agent.call("ruv_history", limit=20) == agent.read("ruv://history")


def test_the_price_list_has_every_meter(tally: Tally) -> None:
    """Also for somebody who is not known yet; prices are exact."""
    found = Agent(build(tally, Someone())).read("ruv://prices")
    economy = tally.context.economy()
    assert list(economy.meters) == [each["meter"] for each in found["meters"]]
    assert (economy.version, economy.primary_unit) == (found["economy_version"], found["primary_unit"])
    flat = {each["meter"]: each["prices"][0]["flat"] for each in found["meters"]}
    for name, meter in economy.meters.items():
        assert meter.prices[0].flat_micros == round(flat[name] * 1_000_000)


def test_tiers_and_fractions_in_a_price_list(tally: Tally) -> None:
    """Numbers as the economy's file has them."""
    economy = tally.context.economy()
    meter = next(iter(economy.meters.values()))
    tiers = (Tier(1_000_000_000, 2_500_000_000, 1_500_000), Tier(None, 3_000_000_000_000))
    changed = replace(economy, meters={"m": replace(meter, prices=(Price("rUv", "volume", tiers=tiers),))})
    [shown] = price_list(changed)["meters"][0]["prices"]
    assert [
        {"up_to": 1000, "per_unit": 0.0025, "flat": 1.5},
        {"up_to": None, "per_unit": 3, "flat": 0},
    ] == shown["tiers"]


def test_prompts_name_tools_that_there_are(tally: Tally) -> None:
    """Each with a description; the job stands in the second one."""
    agent = Agent(build(tally, Someone()))
    assert {"monthly_cost_review", "is_this_job_affordable"} == set(agent.prompts())
    assert all(prompt.description for prompt in agent.prompts().values())
    text = agent.ask("is_this_job_affordable", job="index 10,000 pages")
    assert "index 10,000 pages" in text
    for words in (text, agent.ask("monthly_cost_review")):
        named = {each for each in agent.names() if each in words}
        assert named
        assert "ruv://prices" in words
