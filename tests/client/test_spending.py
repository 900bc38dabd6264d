"""Charges, holds and balances through the SDK, blocking and awaited."""

import asyncio
from decimal import Decimal

import pytest

from tallystick.client import TallyClient, TallyError
from tests.doors.api.door import Door


def test_a_charge_is_typed_and_exact(client: TallyClient) -> None:
    """Amounts are decimals, and the charge is done at once."""
    made = client.charges.create(customer="ann", meter="tokens", quantity=3)
    assert (Decimal("0.000014"), "credits", Decimal("99.999986")) == (made.amount, made.unit, made.available)
    assert made.available == client.billing.get_balance(customer="ann").available


def test_a_refusal_has_its_code_and_its_figures(client: TallyClient) -> None:
    """Of a wallet that has too little: what is needed, what is there."""
    with pytest.raises(TallyError) as refused:
        client.charges.create(customer="ann", meter="tiered", quantity=200)
    error = refused.value
    assert ("INSUFFICIENT_CREDITS", 402) == (error.code, error.status)
    assert [105, 100, 5] == [error.required, error.available, error.shortfall]


def test_a_hold_is_captured_in_its_block(client: TallyClient) -> None:
    """And what was not used goes back."""
    with client.holds.create(customer="ann", meter="tiered", quantity=10) as hold:
        captured = hold.capture(quantity=7)
    assert "captured" == captured.status
    assert [7, 3] == [captured.captured, captured.released]
    assert 93 == client.billing.get_balance(customer="ann").available


def test_a_hold_is_released_when_its_block_raises_or_forgets_it(client: TallyClient) -> None:
    """Nothing is held any more, and the error is the block's own."""
    with pytest.raises(ZeroDivisionError), client.holds.create(customer="ann", amount=10):
        raise ZeroDivisionError
    with client.holds.create(customer="ann", amount=10):
        pass
    balance = client.billing.get_balance(customer="ann")
    assert [100, 0] == [balance.available, balance.held]


def test_the_same_with_await(door: Door, client: TallyClient) -> None:
    """Entering a hold needs no await of its own, and neither does iterating over a list."""

    async def spend() -> list[Decimal]:
        async with client.awaitable() as tally:
            await asyncio.gather(*(tally.charges.create(customer="ann", meter="lookup") for _ in range(3)))
            async with tally.holds.create(customer="ann", meter="tiered", quantity=10) as hold:
                await hold.capture(quantity=2)
            with pytest.raises(ZeroDivisionError):
                async with tally.holds.create(customer="ann", amount=10):
                    raise ZeroDivisionError
            found = tally.billing.get_transactions(customer="ann", limit=1, type="usage")
            return [entry.amount async for entry in found]

    assert [-2, -1, -1, -1] == asyncio.run(spend())
    assert 95 == door.available()
