"""A tool that runs in the background is charged once, when its task is done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.utilities.tests import asgi_client
from fastmcp_tasks import TasksExtension, call_tool_task

from tallystick.bootstrap import Tally
from tallystick.metering import Rule, TallyMiddleware
from tallystick.services.context import SYSTEM
from tests.metering.test_fastmcp import ECONOMY

RULES = {"work": Rule(amount=2, quantity="arguments.most", used="result")}


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


async def until(tally: Tally, expected: tuple[int, int]) -> None:
    for _ in range(500):
        if figures(tally) == expected:
            return
        await asyncio.sleep(0.02)
    assert expected == figures(tally)


def serving(tally: Tally, may_end: asyncio.Event) -> FastMCP[Any]:
    server: FastMCP[Any] = FastMCP("tools")
    server.add_extension(TasksExtension())
    server.add_middleware(TallyMiddleware(tally, rules=RULES, customer="ann"))

    @server.tool(task=True)
    async def work(most: int, fails: bool = False) -> int:  # noqa: FBT001, FBT002 - as a client sends it
        """Work in the background."""
        await may_end.wait()
        if fails:
            message = "no"
            raise ValueError(message)
        return most // 2

    return server


@pytest.mark.parametrize(("fails", "left"), [(False, 90), (True, 100)])
def test_a_task_is_charged_when_it_is_done(tally: Tally, fails: bool, left: int) -> None:  # noqa: FBT001
    """What is held for it stays held meanwhile; it costs what it used, or nothing when it fails."""

    async def work() -> None:
        may_end = asyncio.Event()
        async with Client(serving(tally, may_end)) as client:
            task = await call_tool_task(client, "work", {"most": 10, "fails": fails})
            await asyncio.sleep(0.3)
            assert (100, 20) == figures(tally)
            may_end.set()
            if not fails:
                assert 5 == (await task.result()).data
            await until(tally, (left, 0))

    asyncio.run(work())
    assert (left, 0) == figures(tally)


def test_a_task_over_http(tally: Tally) -> None:
    """Where each request of the client's is one of its own."""

    async def work() -> None:
        may_end = asyncio.Event()
        async with asgi_client(serving(tally, may_end)) as client:
            task = await call_tool_task(client, "work", {"most": 10})
            await until(tally, (100, 20))
            may_end.set()
            assert 5 == (await task.result()).data
            await until(tally, (90, 0))

    asyncio.run(work())


def test_a_task_that_is_cancelled_costs_nothing(tally: Tally) -> None:
    """What was held for it comes back."""

    async def work() -> None:
        async with Client(serving(tally, asyncio.Event())) as client:
            task = await call_tool_task(client, "work", {"most": 10})
            await until(tally, (100, 20))
            await task.cancel()
            await until(tally, (100, 0))

    asyncio.run(work())


def test_a_task_that_cannot_be_paid_does_not_begin(tally: Tally) -> None:
    """The refusal comes in place of a task."""

    async def work() -> Any:
        async with Client(serving(tally, asyncio.Event())) as client:
            return await client.call_tool("work", {"most": 1000}, raise_on_error=False)

    result = asyncio.run(work())
    assert "insufficient_credits" == result.structured_content["error"]["code"]
    assert (100, 0) == figures(tally)
