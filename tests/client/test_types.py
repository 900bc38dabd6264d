"""What type checkers know, and so editors: the same operation is an answer for one client and a call for the other."""

from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import assert_type

from tallystick.client import AsyncTallyClient, TallyClient
from tallystick.client.downloads import AsyncDownload, Download
from tallystick.client.operations import Awaiting, Blocking, Call
from tallystick.client.resources.billing import Entry, Transactions
from tallystick.client.resources.charges import Charge
from tallystick.client.resources.holds import HoldEnd, NewHold


def of_a_blocking_client(client: TallyClient) -> None:
    """Never run: mypy checks it with everything else."""
    assert_type(client.charges.create(meter="m"), Charge)
    assert_type(client.charges.create(meter="m").amount, Decimal)
    assert_type(client.billing.get_transactions(), Transactions[Blocking])
    assert_type(iter(client.billing.get_transactions()), Iterator[Entry])
    assert_type(client.billing.export_usage(), Download)
    with client.holds.create(meter="m") as hold:
        assert_type(hold, NewHold[Blocking])
        assert_type(hold.capture(), HoldEnd)
    client.charges.create()  # type: ignore[call-arg]
    client.charges.create(meter="m", quantity=1.5)  # type: ignore[arg-type]


async def of_one_that_is_awaited(client: AsyncTallyClient) -> None:
    """Never run either."""
    assert_type(client.charges.create(meter="m"), Call[Charge])
    assert_type(await client.charges.create(meter="m"), Charge)
    assert_type(aiter(await client.billing.get_transactions()), AsyncIterator[Entry])
    assert_type(client.billing.export_usage(), AsyncDownload)
    async for entry in client.billing.get_transactions():
        assert_type(entry, Entry)
    async with client.holds.create(meter="m") as hold:
        assert_type(hold, NewHold[Awaiting])
        assert_type(await hold.capture(), HoldEnd)
    for _ in await client.billing.get_transactions():  # type: ignore[misc]
        break


def test_both_are_checked() -> None:
    """The checks stand in the annotations of these functions; that they are there is all that can be run."""
    assert of_a_blocking_client.__annotations__["client"] is TallyClient
    assert of_one_that_is_awaited.__annotations__["client"] is AsyncTallyClient
