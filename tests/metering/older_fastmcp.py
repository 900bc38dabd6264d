"""What has to hold on FastMCP 3.4 and mcp 1.x, run with them: `python older_fastmcp.py`, as a service of TALLY_URL.

Here only the base package is installed, so nothing of this may need more. The customer `ann` has 100 credits.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from importlib.metadata import version
from typing import Any

from fastmcp import Client, FastMCP
from fastmcp.exceptions import ToolError

from tallystick.client import TallyClient
from tallystick.metering import Rule, TallyMiddleware, meter_server

# Where our own environment is checked, these libraries are newer ones.
TYPES: Any = import_module("mcp.types")
LOW_LEVEL: Any = import_module("mcp.server.lowlevel")
MEMORY: Any = import_module("mcp.shared.memory")
BILLING = TallyClient()
KEYED: Any = {"tallystick/idempotency-key": "k"}
RULES = {
    "rows": Rule(meter="rows", quantity="arguments.most", used="result"),
    "background": Rule(amount=3, quantity="arguments.most", used="result"),
}


def figures() -> tuple[float, float]:
    """The balance, and what is held of it."""
    found = BILLING.billing.get_balance(customer="ann")
    return float(found.balance), float(found.held)


async def until(expected: tuple[float, float]) -> None:
    """Wait for figures."""
    for _ in range(200):
        if figures() == expected:
            return
        await asyncio.sleep(0.05)
    assert expected == figures()


def serving() -> FastMCP[Any]:
    """Tools with prices, of which one calls another, mounted in a server that charges too."""
    inner: FastMCP[Any] = FastMCP("inner")
    inner.add_middleware(TallyMiddleware(BILLING, rules=RULES, customer="ann"))

    @inner.tool
    def search(query: str) -> str:
        """Search."""
        if query == "bad":
            raise ToolError("no such thing")
        return f"found {query}"

    @inner.tool
    def rows(most: int) -> list[int]:
        """Rows."""
        return list(range(most // 2))

    @inner.tool(meta={"tallystick": {"amount": 4}})
    async def deep() -> str:
        """Call another tool that has a price."""
        await inner.call_tool("search", {"query": "inner"})
        return "deep"

    @inner.tool(meta={"tallystick": {"amount": 7}})
    async def slow() -> str:
        """Take a while."""
        await asyncio.sleep(30)
        return "slow"

    @inner.tool(task=True)
    async def background(most: int) -> int:
        """Work in the background."""
        await asyncio.sleep(0.1)
        return most // 2

    outer: FastMCP[Any] = FastMCP("outer")
    outer.mount(inner)
    outer.add_middleware(TallyMiddleware(BILLING, rules=RULES, customer="ann"))
    return outer


async def on_fastmcp() -> None:
    """Prices, receipts, refusals, keys, release, and one charge for what is mounted, nested or in the background."""
    async with Client(serving()) as client:

        async def call(name: str, meta: Any = None, **arguments: Any) -> Any:
            return await client.call_tool(name, arguments, meta=meta, raise_on_error=False)

        prices = {tool.name: (tool.meta or {}).get("tallystick/price") for tool in await client.list_tools()}
        assert 2 == (prices["search"] or {})["prices"][0]["flat"]
        receipt = (await call("search", query="x")).meta["tallystick/receipt"]
        assert (2, 98) == (receipt["charged"], receipt["balance"])
        refused = await call("rows", most=1000)
        assert (True, "insufficient_credits") == (
            refused.is_error,
            refused.structured_content["error"]["code"],
        )
        await call("rows", most=20)
        assert (93, 0) == figures()
        assert (await call("search", query="bad")).is_error
        first, again = [await call("search", KEYED, query="k") for _ in range(2)]
        assert (first.meta["tallystick/receipt"], (91, 0)) == (again.meta["tallystick/receipt"], figures())
        assert "deep" == (await call("deep")).data
        assert (87, 0) == figures()
        task = asyncio.create_task(client.call_tool("slow", {}))
        await until((87, 7))
        await client.cancel(client.session._request_id - 1)  # type: ignore[attr-defined, unused-ignore] # noqa: SLF001
        await until((87, 0))
        task.cancel()
        begun = await client.call_tool("background", {"most": 4}, task=True)
        assert 2 == (await begun.result()).data
        await until((75, 0))  # as held, for nobody tells its end


async def on_mcp() -> None:
    """The bare library, whose handlers are wrapped."""
    server = LOW_LEVEL.Server("bare")

    @server.list_tools()  # type: ignore[untyped-decorator]
    async def tools() -> list[Any]:
        schema = {"type": "object"}
        return [
            TYPES.Tool(name="free", inputSchema=schema),
            TYPES.Tool(name="paid", inputSchema=schema, _meta={"tallystick": {"amount": 5}}),
        ]

    @server.call_tool()  # type: ignore[untyped-decorator]
    async def call(name: str, arguments: dict[str, Any]) -> list[Any]:
        if arguments.get("fails"):
            message = "no"
            raise ValueError(message)
        return [TYPES.TextContent(type="text", text=name)]

    meter_server(server, BILLING, customer="ann")
    async with MEMORY.create_connected_server_and_client_session(server) as client:
        listed = {tool.name: tool.meta for tool in (await client.list_tools()).tools}
        assert 5 == (listed["paid"] or {})["tallystick/price"]["prices"][0]["flat"]
        result: Any = await client.call_tool("paid", {})
        assert 5 == result.meta["tallystick/receipt"]["charged"]
        failed: Any = await client.call_tool("paid", {"fails": True})
        assert failed.isError
        assert (70, 0) == figures()


async def main() -> None:
    """Everything, in order: each part goes on from the balance that the one before left."""
    await on_fastmcp()
    await on_mcp()
    print("holds on fastmcp", version("fastmcp"), "and mcp", version("mcp"))  # noqa: T201 - told to the test


if __name__ == "__main__":
    asyncio.run(main())
