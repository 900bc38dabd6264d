"""The SDK over an embedded engine: the same calls and the same answers as of a server, without one."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.client import NewCharge, TallyError
from tallystick.embedded import Embedded
from tallystick.ports.sandboxes import Execution
from tests.services.scripted_sandboxes import ScriptedSandboxes


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of its own."""
    return f"sqlite:///{tmp_path / 'tally.db'}"


def test_the_same_calls_without_a_server(url: str) -> None:
    """Charges, holds, refusals, repeats, pages and files."""
    with Embedded.open(url, economy="starter") as engine:
        client = engine.client
        client.customers.create(external_id="ann")
        made = client.charges.create(customer="ann", meter="search", idempotency_key="one")
        assert made == client.charges.create(customer="ann", meter="search", idempotency_key="one")
        with client.holds.create(customer="ann", meter="gpt", quantity=1000) as hold:
            assert Decimal("1.46") == hold.capture(quantity=730).captured
        with pytest.raises(TallyError, match="INSUFFICIENT_CREDITS") as refused:
            client.charges.create(customer="ann", meter="render", quantity=10_000)
        assert Decimal("995.54") == refused.value.available
        assert ["model", "data"] == [
            each.category for each in client.billing.get_transactions(customer="ann", limit=1, type="usage")
        ]
        assert b"search" in client.billing.export_transactions(customer="ann").read()
        [result] = client.charges.create_batch([NewCharge(customer="ann", meter="search")]).results
        assert 3 == result.unwrap().amount


def test_both_clients_use_one_engine(url: str) -> None:
    """From any event loop, at the same time."""
    with Embedded.open(url) as engine:
        engine.client.customers.create(external_id="ann")

        async def spend() -> None:
            async with engine.awaitable() as tally:
                await asyncio.gather(
                    *(tally.charges.create(customer="ann", meter="search") for _ in range(20))
                )

        asyncio.run(spend())
        asyncio.run(spend())
        assert 880 == engine.client.billing.get_balance(customer="ann").available


def test_an_engine_is_opened_again(url: str) -> None:
    """With what it had, its keys of repeats as well; and users are known by their own tokens."""
    with Embedded.open(url) as engine:
        engine.client.customers.create(external_id="ann")
        made = engine.client.charges.create(customer="ann", meter="search", idempotency_key="one")
        token = engine.client.auth.register(email="ada@example.test", password="correct horse").token
    with Embedded.open(url) as engine:
        again = engine.client.charges.create(customer="ann", meter="search", idempotency_key="one")
        assert (made, True) == (again, again.replayed)
        with engine.client.with_key(token) as ada:
            assert "ada@example.test" == ada.auth.me().email
        with (
            pytest.raises(TallyError, match="NOT_AUTHENTICATED"),
            engine.client.with_key("tly_forged") as stranger,
        ):
            stranger.auth.me()
        assert "admin" == engine.client.auth.me().role


def test_time_passes(url: str) -> None:
    """The test clock moves, and what becomes due is done."""
    with Embedded.open(url) as engine:
        engine.client.customers.create(external_id="ann")
        hold = engine.client.holds.create(customer="ann", amount=10)
        engine.client.testing.move_clock(advance="P1D")
        assert "expired" == engine.client.holds.get(hold.id).status


def test_output_of_code_is_told(url: str) -> None:
    """To either client, before the call gives the whole."""
    provider = ScriptedSandboxes()
    provider.answer = Execution(exit_code=0, stdout=b"one", stderr=b"bad", duration_ms=1)
    told: list[tuple[str, str]] = []

    def tell(stream: str, text: str) -> None:
        told.append((stream, text))

    with Embedded(Tally.open(url, economy="flow-nexus", sandbox_provider=provider)) as engine:
        engine.client.customers.create(external_id="ann")
        box = engine.client.sandboxes.create(template="bash", customer="ann").id

        async def execute() -> str | None:
            async with engine.awaitable() as tally:
                return (await tally.sandboxes.execute(box, code="1", on_output=tell)).stdout

        assert "one" == asyncio.run(execute())
        assert "one" == engine.client.sandboxes.execute(box, code="1", on_output=tell).stdout
    assert [("stdout", "one"), ("stderr", "bad")] * 2 == told
