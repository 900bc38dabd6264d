"""Buying inside a conversation: the page to pay on is shown by clients that say they can, and stands in the text for all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.client.elicitation import ElicitResult
from fastmcp.tools import ToolResult

from tallystick.bootstrap import Tally
from tallystick.core.errors import InsufficientCredits
from tallystick.mcp.refusals import Refusing
from tallystick.mcp.server import build
from tallystick.tool_results import refused
from tests.doors.mcp.agent import Someone

PASSWORD = "correct horse battery"
TOP_UP = "https://credits.example.test/billing"
VERSIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


class Shown:
    """A client that shows pages: what it was asked to show, and what its user says to that."""

    def __init__(self, says: Any = "accept") -> None:
        self.pages: list[tuple[str, str]] = []
        self._says = says

    async def __call__(self, message: str, _kind: Any, params: Any, _context: Any) -> ElicitResult[Any]:
        """Show a page."""
        assert "url" == params.mode
        self.pages.append((message, params.url))
        return ElicitResult(action=self._says)


class Till:
    """A server with one tool, which costs more than there is."""

    def __init__(self) -> None:
        self.calls = 0
        self.paid = False
        self.server: FastMCP[Any] = FastMCP("till", middleware=[Refusing()])
        self.server.tool(self.work)

    def work(self) -> ToolResult:
        """Work that costs ten credits."""
        self.calls += 1
        if self.paid:
            return ToolResult(structured_content={"done": True})
        needed, there = 10_000_000, 4_000_000
        return refused(
            InsufficientCredits(
                unit="rUv", required=needed, available=there, limit_source="wallet", topup_url=TOP_UP
            )
        )


@pytest.fixture
def tally(database_url: str) -> Iterator[Tally]:
    with Tally.open(database_url, economy="flow-nexus") as opened:
        yield opened


def call(server: FastMCP[Any], name: str, *, mode: str, shown: Shown | None, **arguments: Any) -> Any:
    """What a client of one version of MCP gets, after whatever it was asked."""

    async def work() -> Any:
        async with Client(server, mode=mode, elicitation_handler=shown) as client:
            assert VERSIONS[mode] == client.protocol_version
            return await client.call_tool(name, arguments, raise_on_error=False)

    return asyncio.run(work())


@pytest.mark.parametrize("mode", VERSIONS)
@pytest.mark.parametrize("says", ["accept", "decline", "cancel"])
def test_a_refusal_is_shown_once_and_told_in_its_text(mode: str, says: str) -> None:
    """Whatever the user says to the page, the call ends with the refusal and its link while nothing is paid."""
    till, shown = Till(), Shown(says)
    result = call(till.server, "work", mode=mode, shown=shown)
    assert result.is_error
    assert TOP_UP == result.structured_content["error"]["topup_url"]
    assert TOP_UP in result.content[0].text
    [(message, url)] = shown.pages
    assert TOP_UP == url
    assert message.startswith("10 rUv needed, 4 rUv available in wallet: 6 rUv short.")


@pytest.mark.parametrize("mode", VERSIONS)
def test_a_client_that_does_not_say_it_can_is_not_asked(mode: str) -> None:
    """It gets the refusal at once."""
    till = Till()
    result = call(till.server, "work", mode=mode, shown=None)
    assert TOP_UP in result.content[0].text
    assert 1 == till.calls


def test_what_is_paid_meanwhile_is_done_by_the_same_call() -> None:
    """In the newer version the client repeats its call after the page: then it goes through."""
    till = Till()

    class Pays(Shown):
        async def __call__(self, *asked: Any) -> ElicitResult[Any]:
            till.paid = True
            return await super().__call__(*asked)

    result = call(till.server, "work", mode="auto", shown=Pays())
    assert (False, {"done": True}, 2) == (result.is_error, result.structured_content, till.calls)


@pytest.mark.parametrize("mode", VERSIONS)
def test_a_payment_link_is_one_link(tally: Tally, mode: str) -> None:
    """The page that is shown is the one that the tool gives, and no second payment is begun for it."""
    who, shown = Someone(), Shown()
    server = build(tally, who)
    call(server, "user_register", mode=mode, shown=None, email="ada@example.com", password=PASSWORD)
    result = call(server, "create_payment_link", mode=mode, shown=shown, amount=50)
    assert [("Pay 50.00 USD for 500 credits.", result.structured_content["payment_url"])] == shown.pages
    paid = call(server, "get_payment_history", mode=mode, shown=None).structured_content["payments"]
    assert 1 == len(paid)


@pytest.mark.parametrize("mode", VERSIONS)
def test_a_plan_that_is_paid_is_offered_too(tally: Tally, mode: str) -> None:
    """The page is that of the refusal."""
    who, shown = Someone(), Shown("decline")
    server = build(tally, who)
    call(server, "user_register", mode=mode, shown=None, email="ada@example.com", password=PASSWORD)
    result = call(server, "user_upgrade", mode=mode, shown=shown, tier="pro")
    assert "tier_upgrade_failed" == result.structured_content["error"]["code"]
    [(_, url)] = shown.pages
    assert url.startswith("http")
