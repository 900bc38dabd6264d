"""Executions have threads of their own and each customer a share of them, so that nobody's code keeps others waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from threading import Event

import pytest

from tallystick.core import errors
from tallystick.services import waiting
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.waiting import executing
from tests.services.yard import Yard

SHARE = 2


@pytest.fixture(autouse=True)
def _few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AT_ONCE", 4)
    monkeypatch.setattr(waiting, "SHARE", SHARE)


class Hall:
    """Code that runs until the test lets it end, by whose it is."""

    def __init__(self) -> None:
        self.began: Counter[str] = Counter()
        self.open = Event()

    def run(self, name: str) -> str:
        """Run code of theirs."""
        self.began[name] += 1
        assert self.open.wait(20)
        return name


async def become(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - threads make it so
            await asyncio.sleep(0.001)


def callers(yard: Yard, *, by_service: bool) -> dict[str, tuple[Caller, str]]:
    """Ann and bob with a sandbox each; where a service acts for both, it is who calls."""
    people = {"ann": yard.ann, "bob": yard.world.customer("bob")}
    found = {}
    for name, caller in people.items():
        yard.world.grant(100, customer=name, unit="USD")
        sandbox = yard.make(caller=caller)
        found[name] = (SYSTEM if by_service else caller, sandbox)
    return found


@pytest.mark.parametrize("by_service", [False, True])
def test_one_customers_code_keeps_nobody_else_waiting(yard: Yard, *, by_service: bool) -> None:
    """Ann asks for far more than all threads at once: bob's code runs, and her own sandbox is stopped meanwhile."""
    who = callers(yard, by_service=by_service)
    hall = Hall()

    async def scene() -> list[str]:
        def execute(name: str) -> asyncio.Task[str]:
            run = executing(yard.tally.sandboxes, *who[name], partial(hall.run, name))
            return asyncio.create_task(run)

        tasks = [execute("ann") for _ in range(20)]
        await become(lambda: hall.began["ann"] == SHARE)
        tasks.append(execute("bob"))
        await become(lambda: hall.began["bob"] == 1)
        stop = partial(yard.tally.sandboxes.stop, *who["ann"])
        async with asyncio.timeout(20):
            assert "stopped" == (await waiting.waiting(stop)).status
        assert SHARE == hall.began["ann"]
        hall.open.set()
        return await asyncio.gather(*tasks)

    assert ["ann"] * 20 + ["bob"] == asyncio.run(scene())


def test_who_gives_up_waiting_leaves_the_share_to_others(yard: Yard) -> None:
    """Also in the middle of the queue; a share that nobody uses is forgotten, and the next one begins anew."""
    who = callers(yard, by_service=False)
    hall = Hall()

    async def scene() -> None:
        def execute() -> asyncio.Task[str]:
            return asyncio.create_task(executing(yard.tally.sandboxes, *who["ann"], partial(hall.run, "ann")))

        tasks = [execute() for _ in range(4)]
        await become(lambda: hall.began["ann"] == SHARE)
        tasks[2].cancel()
        hall.open.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert ["ann", "ann", "ann"] == [each for each in done if isinstance(each, str)]
        assert "ann" == await execute()
        assert {} == waiting._executions.get()._shares  # noqa: SLF001 - nobody else sees what is kept

    asyncio.run(scene())
    assert 4 == hall.began["ann"]


def test_code_for_no_sandbox_is_refused(yard: Yard) -> None:
    """Where a service names one that does not exist: there is nobody in whose share it could wait."""
    with pytest.raises(errors.NotFound):
        asyncio.run(executing(yard.tally.sandboxes, SYSTEM, "sbx_nothing", lambda: None))
