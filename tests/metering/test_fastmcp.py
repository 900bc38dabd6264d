"""A price on the tools of a FastMCP server, called by a real client: on both databases, and by a billing server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.client.elicitation import ElicitResult
from fastmcp.exceptions import ToolError

from tallystick.api.app import create_app
from tallystick.api.metrics import Metrics
from tallystick.bootstrap import Tally
from tallystick.client import TallyClient
from tallystick.core.errors import ServiceUnavailable
from tallystick.metering import Rule, TallyMiddleware, remote
from tallystick.services.context import SYSTEM
from tests.doors.api.door import ThreadServer

ECONOMY = """
[economy]
title = "Tools"
default_plan = "free"
primary_unit = "credits"

[units.credits]
description = "What tools cost"

[plans.free]
title = "Free"

[meters.search]
category = "data"
description = "One search"
[[meters.search.prices]]
kind = "flat"
flat = 2

[meters.rows]
category = "data"
description = "Rows"
[[meters.rows.prices]]
kind = "per_unit"
per_unit = "0.5"

[meters.rare]
category = "data"
description = "Seldom"
hourly_limit = 3
[[meters.rare.prices]]
kind = "free"
"""


@dataclass
class Shop:
    """A server whose tools cost something, and a customer."""

    tally: Tally
    source: Tally | TallyClient
    payer: str | None = "ann"
    rules: dict[str, Rule] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    server: FastMCP[Any] = field(init=False)
    middleware: TallyMiddleware = field(init=False)

    def __post_init__(self) -> None:
        """Open the tools."""
        server = self.server = FastMCP("tools")
        by_rows = Rule(
            meter="rows", quantity=lambda given: given["most"], used=lambda _, result: used(result)
        )
        rules = {"rows": by_rows, "always": Rule(meter="search", charge_on="always"), **self.rules}
        self.middleware = TallyMiddleware(self.source, rules=rules, customer=lambda: self.payer)
        server.add_middleware(self.middleware)

        @server.tool
        def search(query: str) -> str:
            """Search."""
            self.calls.append(query)
            if query == "bad":
                raise ToolError("no such thing")
            return f"found {query}"

        @server.tool
        def rows(most: int, found: int) -> list[int]:
            """Rows."""
            return list(range(found)) if most else []

        @server.tool
        def always(fails: bool) -> str:  # noqa: FBT001 - as a client sends it
            """Cost something also when the answer is an error."""
            if fails:
                raise ToolError("no")
            return "yes"

        @server.tool
        def free() -> str:
            """Cost nothing."""
            return "free"

        @server.tool(meta={"tallystick": {"meter": "search"}})
        async def deep() -> str:
            """Call another tool that has a price."""
            await server.call_tool("search", {"query": "inner"})
            return "deep"

        @server.tool(meta={"tallystick": {"meter": "search"}})
        async def slow() -> str:
            """Take a while."""
            self.begun.set()
            await asyncio.sleep(30)
            return "slow"

        @server.tool(meta={"tallystick": {"meter": "rare"}})
        def rare() -> str:
            """Be limited."""
            return "rare"

    def call(self, name: str, *, key: str | None = None, **arguments: Any) -> Any:
        """What a client gets."""

        async def work() -> Any:
            async with Client(self.server) as client:
                meta = None if key is None else {"tallystick/idempotency-key": key}
                return await client.call_tool(name, arguments, meta=meta, raise_on_error=False)

        return asyncio.run(work())

    def refused(self, name: str, *, key: str | None = None, **arguments: Any) -> str:
        """The code of a refusal that must come."""
        return str(self.call(name, key=key, **arguments).structured_content["error"]["code"])

    def figures(self) -> tuple[int, int]:
        """The balance, and what is held of it; all prices here are whole."""
        found = self.tally.billing.balance(SYSTEM, customer="ann")
        assert 0 == found.balance % 10**6 == found.held % 10**6
        return found.balance // 10**6, found.held // 10**6


def used(result: Any) -> int:
    found: list[int] = result.structured_content["result"]
    return len(found)


@pytest.fixture(params=["sqlite", "postgresql", "elsewhere"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    engine = "sqlite" if request.param == "elsewhere" else request.param
    economy = tmp_path / "tools.toml"
    economy.write_text(ECONOMY)
    with (
        Tally.open(request.getfixturevalue(f"{engine}_url"), economy=str(economy)) as tally,
        ExitStack() as opened,
    ):
        tally.customers.create(SYSTEM, external_id="ann")
        tally.grants.create(SYSTEM, customer="ann", amount=100, category="bonus", idempotency_key="start")
        source: Tally | TallyClient = tally
        if request.param == "elsewhere":
            source = opened.enter_context(elsewhere(tally))
        yield Shop(tally, source)


@contextmanager
def elsewhere(tally: Tally) -> Iterator[TallyClient]:
    """A service's client of a server in front of a Tally."""
    key = tally.keys.create(SYSTEM, name="tools", role="service").key
    server = ThreadServer(create_app(tally, metrics=Metrics(), worker_lag=lambda: 0))
    with TallyClient(base_url=server.url, api_key=key) as client:
        yield client
    server.stop()


def test_a_call_is_charged_and_has_a_receipt(shop: Shop) -> None:
    """By the meter of the tool's name; a tool without a price costs nothing and has none."""
    result = shop.call("search", query="x")
    assert "found x" == result.data
    receipt = result.meta["tallystick/receipt"]
    assert {
        "charged": 2,
        "unit": "credits",
        "balance": 98,
        "charge": receipt["charge"],
        "meter": "search",
    } == receipt
    assert receipt["charge"].startswith("chg_")
    assert "tallystick/receipt" not in (shop.call("free").meta or {})
    assert (98, 0) == shop.figures()


def test_prices_stand_in_the_list(shop: Shop) -> None:
    """Where an agent sees them before it calls."""

    async def work() -> dict[str, Any]:
        async with Client(shop.server) as client:
            return {
                tool.name: (tool.meta or {}).get("tallystick/price") for tool in await client.list_tools()
            }

    prices = asyncio.run(work())
    assert None is prices["free"]
    assert {"unit": "credits", "kind": "flat", "flat": 2, "per_unit": 0} == prices["search"]["prices"][0]
    assert ("rows", 0.5) == (prices["rows"]["meter"], prices["rows"]["prices"][0]["per_unit"])
    assert 3 == prices["rare"]["hourly_limit"]


def test_what_was_used_is_charged(shop: Shop) -> None:
    """At most what was held; nothing where nothing was used."""
    assert (95, 0) == (shop.call("rows", most=20, found=10), shop.figures())[1]
    shop.call("rows", most=4, found=10)
    assert (93, 0) == shop.figures()
    result = shop.call("rows", most=4, found=0)
    assert ([], (93, 0)) == (result.data, shop.figures())
    assert "insufficient_credits" == shop.refused("rows", most=1000, found=1)
    assert "invalid_quantity" == shop.refused("rows", most=-1, found=1)


def test_a_failed_call_gives_back_what_was_held(shop: Shop) -> None:
    """Unless the tool's rule says that an error costs too; what is raised never does."""
    assert shop.call("search", query="bad").is_error
    assert shop.call("always", fails=True).is_error
    assert (100, 0) == shop.figures()
    assert ("yes", (98, 0)) == (shop.call("always", fails=False).data, shop.figures())


def test_one_call_within_another_is_charged_once(shop: Shop) -> None:
    """Also through a server that is mounted in another, each with the middleware."""
    assert "deep" == shop.call("deep").data
    assert (["inner"], (98, 0)) == (shop.calls, shop.figures())
    outer: FastMCP[Any] = FastMCP("outer")
    outer.mount(shop.server)
    outer.add_middleware(TallyMiddleware(shop.source, customer=lambda: "ann"))
    shop.server = outer
    shop.call("search", query="y")
    assert (96, 0) == shop.figures()


def test_what_a_call_leaves_running_pays_for_itself(shop: Shop) -> None:
    """A tool within another is paid by the outer one only as long as that runs."""
    left: list[asyncio.Task[Any]] = []

    @shop.server.tool(meta={"tallystick": {"meter": "search"}})
    async def spawn() -> str:
        """Leave a call of another tool running."""

        async def later() -> Any:
            await asyncio.sleep(0.2)
            return await shop.server.call_tool("search", {"query": "later"})

        left.append(asyncio.create_task(later()))
        return "spawned"

    async def work() -> None:
        async with Client(shop.server) as client:
            await client.call_tool("spawn", {})
            await left[0]

    asyncio.run(work())
    assert (["later"], (96, 0)) == (shop.calls, shop.figures())


def test_a_price_without_a_meter_is_the_operators_matter(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is told that there is a mistake, and the log says which."""

    @shop.server.tool(meta={"tallystick": {"meter": "nope"}})
    def wrong() -> str:
        """Have a meter that there is not."""
        return "never"

    assert "configuration_error" == shop.refused("wrong")
    assert "nope" in caplog.text


def test_a_key_pays_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeat has the first receipt; with other arguments it is refused; after a failure it is a new try."""
    first, again = (shop.call("search", key="k", query="x").meta["tallystick/receipt"] for _ in range(2))
    assert (first, (98, 0)) == (again, shop.figures())
    assert "idempotency_key_reused" == shop.refused("search", key="k", query="another")
    for _ in range(3):
        assert shop.call("search", key="f", query="bad").is_error
    assert (98, 0) == shop.figures()
    shop.call("rows", key="r", most=20, found=10)
    repeat = shop.call("rows", key="r", most=20, found=10).meta["tallystick/receipt"]
    assert (5, (93, 0)) == (repeat["charged"], shop.figures())
    shop.tally.test_clock.move(SYSTEM, advance="PT11M")
    since = remote.seconds_since
    monkeypatch.setattr(remote, "seconds_since", lambda moment: since(moment) + 660)
    assert "conflict" == shop.refused("search", key="k", query="x")


def test_repeats_at_once_run_once(shop: Shop) -> None:
    """Whoever pays once does not have a tool run ten times: a repeat waits, and gets what the first one got."""

    async def work() -> list[Any]:
        async with Client(shop.server) as client:
            meta = {"tallystick/idempotency-key": "k"}
            calls = (client.call_tool("search", {"query": "x"}, meta=meta) for _ in range(10))
            return list(await asyncio.gather(*calls))

    receipts = [each.meta["tallystick/receipt"] for each in asyncio.run(work())]
    assert (["x"], (98, 0)) == (shop.calls, shop.figures())
    assert [receipts[0]] * 10 == receipts


def test_a_key_belongs_to_a_customer(shop: Shop) -> None:
    """However customers and keys are named, one's key says nothing about another's; nor does a retry's about a key."""
    for name in ("ann:k", "ann"):
        shop.tally.customers.create(SYSTEM, external_id=name)
        shop.tally.grants.create(
            SYSTEM, customer=name, amount=4, category="bonus", idempotency_key=f"more {name}"
        )
    first = shop.call("search", key="k:2", query="x").meta["tallystick/receipt"]
    shop.payer = "ann:k"
    second = shop.call("search", key="2", query="x").meta["tallystick/receipt"]
    assert (102, 2) == (first["balance"], second["balance"])
    shop.payer = "ann"
    assert shop.call("search", key="k", query="bad").is_error
    assert shop.call("search", key="k", query="bad").is_error
    assert first == shop.call("search", key="k:2", query="x").meta["tallystick/receipt"]


def test_nobody_calls_without_paying(shop: Shop) -> None:
    """Neither without a customer, nor as one that there is not; tools without a price still answer."""
    for payer, code in ((None, "not_authenticated"), ("nobody", "unknown_customer")):
        shop.payer = payer
        assert code == shop.refused("search", query="x")
        assert "free" == shop.call("free").data
    assert [] == shop.calls


def test_an_hourly_limit_holds(shop: Shop) -> None:
    """The fourth call is told when to come again."""
    for _ in range(3):
        assert "rare" == shop.call("rare").data
    error = shop.call("rare").structured_content["error"]
    assert ("rate_limited", 3) == (error["code"], error["limit"])
    assert error["retry_after_seconds"] > 0


def test_200_calls_at_once_with_credits_for_100(shop: Shop) -> None:
    """Exactly 100 succeed, and nothing is left or held."""
    shop.tally.grants.create(SYSTEM, customer="ann", amount=100, category="bonus", idempotency_key="more")

    async def work() -> list[Any]:
        async with Client(shop.server) as client:
            call: Callable[[int], Any] = lambda number: client.call_tool(  # noqa: E731 - one line says it
                "search", {"query": str(number)}, raise_on_error=False
            )
            return list(await asyncio.gather(*map(call, range(200))))

    results = asyncio.run(work())
    good = [each for each in results if not each.is_error]
    assert (100, 100, (0, 0)) == (len(good), len(shop.calls), shop.figures())
    codes = {each.structured_content["error"]["code"] for each in results if each.is_error}
    assert {"insufficient_credits"} == codes


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_page_to_pay_on_is_shown_where_the_client_can(shop: Shop, mode: str) -> None:
    """And whoever paid meanwhile gets the result, where the protocol lets the client repeat its call by itself."""
    shop.call("rows", most=200, found=200)
    pages: list[str] = []

    async def pay(_message: str, _kind: object, params: Any, _context: object) -> ElicitResult[Any]:
        pages.append(params.url)
        shop.tally.grants.create(SYSTEM, customer="ann", amount=50, category="bonus", idempotency_key="paid")
        return ElicitResult(action="accept")

    async def work() -> Any:
        async with Client(shop.server, mode=mode, elicitation_handler=pay) as client:
            return await client.call_tool("search", {"query": "x"}, raise_on_error=False)

    result = asyncio.run(work())
    assert 1 == len(pages)
    if mode == "auto":
        assert ("found x", (48, 0)) == (result.data, shop.figures())
    else:
        assert (pages[0], (50, 0)) == (result.structured_content["error"]["topup_url"], shop.figures())


def test_a_cancelled_call_gives_back_what_was_held(shop: Shop) -> None:
    """The client goes away in the middle."""

    async def work() -> None:
        async with Client(shop.server) as client:
            task = asyncio.create_task(client.call_tool("slow", {}))
            await shop.begun.wait()
            assert (100, 2) == shop.figures()
            task.cancel()
            for _ in range(500):
                if shop.figures() == (100, 0):
                    return
                await asyncio.sleep(0.01)

    asyncio.run(work())
    assert (100, 0) == shop.figures()


@pytest.mark.parametrize("when_away", ["closed", "open"])
def test_while_the_database_is_away(shop: Shop, monkeypatch: pytest.MonkeyPatch, when_away: Any) -> None:
    """A tool is closed, or open for nothing where its rule says so."""

    async def away(*_: object, **_more: object) -> None:
        raise ServiceUnavailable("away")

    shop = Shop(shop.tally, shop.source, rules={"search": Rule(meter="search", when_away=when_away)})
    monkeypatch.setattr(shop.tally.holds, "create_async", away)
    result = shop.call("search", query="x")
    assert (when_away == "closed") == result.is_error
    assert (["x"] if when_away == "open" else []) == shop.calls


def test_a_server_that_goes_away_during_a_call_is_told_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The customer has the result, what was held stays held, and it is charged once when the server is back."""

    async def away(*_: object, **_more: object) -> None:
        raise ServiceUnavailable("away")

    def away_too(*_: object, **_more: object) -> None:
        raise ServiceUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(shop.tally.holds, "capture_async", away)
        patch.setattr(shop.tally.holds, "capture", away_too)
        result = shop.call("search", key="k", query="x")
        receipt = result.meta["tallystick/receipt"]
        assert ("found x", True, None) == (result.data, receipt["pending"], receipt["charge"])
        assert ((100, 2), {"owed": 1}) == (shop.figures(), shop.middleware.metering.settle())
    assert {} == shop.middleware.metering.settle()
    assert (98, 0) == shop.figures()
    assert "found x" == shop.call("search", key="k", query="x").data
    assert (98, 0) == shop.figures()


def test_a_charge_that_is_refused_gives_no_result(shop: Shop) -> None:
    """Nobody gets for nothing what cannot be charged: here, the wallet was frozen during the call."""

    @shop.server.tool(meta={"tallystick": {"meter": "search"}})
    def freezing() -> str:
        """Freeze the wallet of whoever calls."""
        shop.tally.wallets.freeze(SYSTEM, customer="ann", reason="a test")
        shop.tally.test_clock.move(SYSTEM, advance="PT2H")
        return "never seen"

    assert "wallet_frozen" == shop.refused("freezing")
    assert (100, 0) == shop.figures()


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"meter": "search", "price": 2},
        {"meter": "search", "quantity": "2"},
        {"meter": "search", "charge_on": "x"},
        "search",
    ],
)
def test_a_price_that_is_none_is_told(shop: Shop, meta: Any) -> None:
    """The log has it, the other tools are served, and this one is not served for nothing."""

    @shop.server.tool(meta={"tallystick": meta})
    def wrong() -> str:
        """Have a price that nobody can read."""
        shop.calls.append("wrong")
        return "wrong"

    assert "configuration_error" == shop.refused("wrong")
    assert [] == shop.calls
    assert "found x" == shop.call("search", query="x").data
