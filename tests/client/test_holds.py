"""The handle of a hold: what is released, what is not, and what is said about it."""

import asyncio

import pytest

from tallystick.client import AsyncTallyClient, OutcomeUnknown, Retries, TallyClient, TallyError
from tallystick.client.operations import _LEAVING
from tests.client.faulty import FaultyServer, Step, answer, drop, problem
from tests.doors.api.door import ADMIN, Door

HOLD = {
    "id": "hold_1",
    "status": "open",
    "meter": "m",
    "quantity": 10,
    "amount": 10,
    "unit": "credits",
    "amounts": {"credits": 10},
    "expires_at": "2027-01-01T01:00:00Z",
    "balance": 100,
    "available": 90,
    "grants": [],
    "limit": None,
    "economy_version": None,
    "created_at": "2027-01-01T00:00:00Z",
}
ONCE = Retries(tries=1)


def test_a_hold_is_found_again_with_its_receipt(client: TallyClient) -> None:
    """Whoever lost the answer to a capture looks what became of the hold."""
    hold = client.holds.create(customer="ann", meter="tiered", quantity=10)
    assert ("open", None) == (client.holds.get(hold.id).status, client.holds.get(hold.id).receipt)
    end = client.holds.capture(hold.id, quantity=4)
    found = client.holds.get(hold.id)
    assert found.receipt is not None
    assert ("captured", end.charge, end.balance) == (
        found.status,
        found.receipt.charge,
        found.receipt.balance,
    )
    assert [hold.id] == [each.id for each in client.holds.list(customer="ann", status="captured")]


def test_a_hold_ends_once_through_its_handle(client: TallyClient) -> None:
    """What was released in the block is not released again, and a capture of it is refused."""
    with client.holds.create(customer="ann", amount=10) as hold:
        assert "released" == hold.release().status
        with pytest.raises(TallyError, match="HOLD_NOT_OPEN"):
            hold.capture()


def test_a_hold_that_expired_meanwhile_needs_no_release(door: Door, client: TallyClient) -> None:
    """The block ends as if nothing had happened."""
    with client.holds.create(customer="ann", amount=10, expires_in=60):
        door.clock.advance("PT2M")
    assert 100 == door.available()


def test_a_hold_that_is_made_while_its_caller_is_cancelled_is_released(door: Door) -> None:
    """Whenever that is: before the request, on its way, or when its answer is there."""

    async def work(client: AsyncTallyClient) -> None:
        async with client.holds.create(customer="ann", amount=10):
            await asyncio.sleep(60)

    async def run() -> None:
        async with AsyncTallyClient(api_key=ADMIN, base_url=door.url) as client:
            for wait in (0, 0.001, 0.003, 0.01, 0.03):
                task = asyncio.create_task(work(client))
                await asyncio.sleep(wait)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await asyncio.gather(*_LEAVING)

    asyncio.run(run())
    assert 100 == door.available()


def test_a_refused_capture_releases(client: TallyClient) -> None:
    """When more was used than there is, the error is the capture's, and nothing stays held."""
    with (
        pytest.raises(TallyError, match="INSUFFICIENT_CREDITS"),
        client.holds.create(customer="ann", amount=10) as hold,
    ):
        hold.capture(amount=1000)
    assert 0 == client.billing.get_balance(customer="ann").held


def steps_of(*steps: Step) -> list[str]:
    """The paths that a hold's block asks for when its capture and what follows are answered so."""
    with FaultyServer(answer(201, HOLD), *steps) as server:
        with (
            TallyClient(base_url=server.url, retries=ONCE) as client,
            pytest.raises(TallyError),
            client.holds.create(meter="m", quantity=10) as hold,
        ):
            hold.capture(quantity=7)
        return [each.path.rpartition("/")[2] for each in server.seen]


def test_a_capture_that_may_have_happened_is_not_undone() -> None:
    """Its key repeats it; what surely did not happen is released."""
    refusal = problem(402, "INSUFFICIENT_CREDITS")
    assert ["holds", "capture"] == steps_of(drop)
    assert ["holds", "capture", "release"] == steps_of(answer(402, refusal), drop)


def test_a_capture_that_may_have_happened_is_repeated_with_its_key(client: TallyClient) -> None:
    """The same key is the same capture, in the block or after it."""
    with client.holds.create(customer="ann", meter="tiered", quantity=10) as hold:
        first = hold.capture(quantity=7, idempotency_key="capture-1")
        assert first == hold.capture(quantity=7, idempotency_key="capture-1")


def test_a_release_that_fails_does_not_hide_why_the_block_ended() -> None:
    """It is a note on the block's own error; without one it is raised."""
    with (
        FaultyServer(answer(201, HOLD), drop) as server,
        TallyClient(base_url=server.url, retries=ONCE) as client,
    ):
        with pytest.raises(ZeroDivisionError) as failed, client.holds.create(amount=1):
            raise ZeroDivisionError
        assert "was not released" in failed.value.__notes__[0]
    with (
        FaultyServer(answer(201, HOLD), drop) as server,
        TallyClient(base_url=server.url, retries=ONCE) as client,
        pytest.raises(OutcomeUnknown),
        client.holds.create(amount=1),
    ):
        pass


def test_a_cancelled_task_gives_back_what_it_held(door: Door, client: TallyClient) -> None:
    """Even one that is cancelled again while it does so."""

    async def work(started: asyncio.Event) -> None:
        async with client.awaitable() as tally, tally.holds.create(customer="ann", amount=10):
            started.set()
            await asyncio.sleep(60)

    async def cancel() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(work(started))
        await started.wait()
        assert 90 == door.available()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert 100 == door.available()
