"""The example of a FastMCP server with prices, called by a real client until the credits run out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastmcp.client.transports import StreamableHttpTransport

from tests.doors.mcp.agent import Agent
from tests.examples.processes import running

pytestmark = pytest.mark.slow


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """Where the example listens."""
    with running("paid_mcp_server", database_url, tmp_path) as address:
        yield f"{address}/mcp"


def test_the_example(url: str) -> None:
    """Each tool at its price, until the credits run out: then nothing is done for nothing."""
    ann = Agent(StreamableHttpTransport(url, auth="secret-of-ann"))
    assert {"meter": "search", "hourly_limit": 120} == {
        name: ann.tools()["search"].meta["tallystick/price"][name] for name in ("meter", "hourly_limit")
    }
    costs = [(ann.receipt("search", query="x")), ann.receipt("find_pages", most=10), ann.receipt("about")]
    assert [(3, 997), (1.5, 995.5), None] == [each and (each["charged"], each["balance"]) for each in costs]
    error = ann.call("find_pages", most=100_000)["error"]
    assert ("insufficient_credits", 995.5) == (error["code"], error["available"])
