"""A price on the tools of servers on the bare library, called by a real client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import mcp.types
import pytest
from mcp import Client
from mcp.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError

from tallystick.bootstrap import Tally
from tallystick.metering import Rule, meter_server
from tallystick.services.context import SYSTEM
from tests.metering.test_fastmcp import ECONOMY

RULES = {"rows": Rule(meter="rows", quantity="arguments.most", used="result")}
KEYED: Any = {"tallystick/idempotency-key": "k"}


@pytest.fixture
def tally(sqlite_url: str, tmp_path: Path) -> Iterator[Tally]:
    (tmp_path / "tools.toml").write_text(ECONOMY)
    with Tally.open(sqlite_url, economy=str(tmp_path / "tools.toml")) as opened:
        opened.customers.create(SYSTEM, external_id="ann")
        opened.grants.create(SYSTEM, customer="ann", amount=100, category="bonus", idempotency_key="start")
        yield opened


def figures(tally: Tally) -> tuple[int, int]:
    found = tally.billing.balance(SYSTEM, customer="ann")
    return found.balance // 10**6, found.held // 10**6


def high_level(begun: anyio.Event) -> MCPServer[Any]:
    """A server with tools as functions."""
    server: MCPServer[Any] = MCPServer("tools")

    @server.tool()
    def search(query: str) -> str:
        """Search."""
        if query == "bad":
            message = "no such thing"
            raise ValueError(message)
        return f"found {query}"

    @server.tool()
    def rows(most: int) -> list[int]:
        """Rows."""
        return list(range(most // 2))

    @server.tool(meta={"tallystick": {"amount": 7}})
    async def slow() -> str:
        """Take a while."""
        begun.set()
        await anyio.sleep(30)
        return "slow"

    @server.tool()
    def free() -> str:
        """Cost nothing."""
        return "free"

    return server


def low_level() -> Server[Any]:
    """A server with handlers, whose list has two pages."""
    schema = {"type": "object"}
    pages = {
        None: mcp.types.Tool(name="free", input_schema=schema),
        "2": mcp.types.Tool(name="paid", input_schema=schema, _meta={"tallystick": {"amount": 5}}),
    }

    async def list_tools(_context: Any, params: Any) -> mcp.types.ListToolsResult:
        cursor = None if params is None else params.cursor
        return mcp.types.ListToolsResult(tools=[pages[cursor]], next_cursor=None if cursor else "2")

    async def call_tool(_context: Any, params: Any) -> Any:
        if (params.arguments or {}).get("asks"):
            question = mcp.types.ElicitRequest(
                params=mcp.types.ElicitRequestFormParams(
                    message="sure?", requested_schema={"type": "object", "properties": {}}
                )
            )
            return mcp.types.InputRequiredResult(input_requests={"q": question})
        if (params.arguments or {}).get("raises"):
            raise MCPError(-32602, "no such thing")
        return mcp.types.CallToolResult(content=[mcp.types.TextContent(type="text", text=params.name)])

    return Server("bare", on_list_tools=list_tools, on_call_tool=call_tool)


def code(result: Any) -> str:
    assert result.is_error
    return str(result.structured_content["error"]["code"])


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_server_of_functions(tally: Tally, mode: str) -> None:
    """Prices in the list, receipts, what was used, refusals, keys, and what is given back."""

    async def work() -> None:
        begun = anyio.Event()
        server = high_level(begun)
        meter_server(server, tally, rules=RULES, customer="ann")
        async with Client(server, mode=mode) as client:
            tools = {tool.name: tool.meta or {} for tool in (await client.list_tools()).tools}
            assert (None, 2) == (
                tools["free"].get("tallystick/price"),
                tools["search"]["tallystick/price"]["prices"][0]["flat"],
            )
            result = await client.call_tool("search", {"query": "x"})
            receipt = (result.meta or {})["tallystick/receipt"]
            assert (2, 98, "search") == (receipt["charged"], receipt["balance"], receipt["meter"])
            assert (await client.call_tool("search", {"query": "bad"})).is_error
            assert "tallystick/receipt" not in ((await client.call_tool("free", {})).meta or {})
            await client.call_tool("rows", {"most": 20})
            assert (93, 0) == figures(tally)
            assert "insufficient_credits" == code(await client.call_tool("rows", {"most": 1000}))
            keyed = [await client.call_tool("search", {"query": "k"}, meta=KEYED) for _ in range(2)]
            assert (keyed[0].meta, (91, 0)) == (keyed[1].meta, figures(tally))
            assert "idempotency_key_reused" == code(
                await client.call_tool("search", {"query": "other"}, meta=KEYED)
            )
            task = asyncio.create_task(client.call_tool("slow", {}))
            await begun.wait()
            assert (91, 7) == figures(tally)
            task.cancel()
            for _ in range(500):
                if figures(tally) == (91, 0):
                    return
                await asyncio.sleep(0.01)

    asyncio.run(work())
    assert (91, 0) == figures(tally)


def test_a_server_of_handlers(tally: Tally) -> None:
    """A price of a tool on the list's second page; a question back and an error cost nothing."""

    async def work() -> None:
        server = low_level()
        meter_server(server, tally, customer="ann")
        async with Client(server) as client:
            result = await client.call_tool("paid", {})
            assert 5 == (result.meta or {})["tallystick/receipt"]["charged"]
            assert (await client.call_tool("free", {})).meta is None or (95, 0) == figures(tally)
            with pytest.raises(MCPError, match="no such thing"):
                await client.call_tool("paid", {"raises": True})
            asked = await client.session.call_tool("paid", {"asks": True}, allow_input_required=True)
            assert isinstance(asked, mcp.types.InputRequiredResult)

    asyncio.run(work())
    assert (95, 0) == figures(tally)


def test_nobody_calls_without_paying(tally: Tally) -> None:
    """Where no token says who asks, only what is free is answered."""

    async def work() -> None:
        server = low_level()
        meter_server(server, tally)
        async with Client(server) as client:
            assert "not_authenticated" == code(await client.call_tool("paid", {}))
            assert not (await client.call_tool("free", {})).is_error

    asyncio.run(work())
