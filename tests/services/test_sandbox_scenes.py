"""The four ways in which credits seem to disappear, each with a statement that shows exactly where they went.

The seed's: a forgotten sandbox, sandboxes in parallel, credit that expired, and a wallet that is locked.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.sandboxes import Wish
from tallystick.store.audit import audit
from tests.services.scripted_sandboxes import ScriptedSandboxes
from tests.services.yard import SECOND, Yard
from tests.tallies import USER, FakeClock


@pytest.fixture
def yard(database_url: str, tmp_path: Path) -> Iterator[Yard]:
    """Ann has 356 rUv and 100 dollars, on the plan with sessions of a day."""
    with Yard(database_url, tmp_path) as yard:
        yard.tally.plans.change(SYSTEM, customer=USER, plan="pro")
        yield yard


def dollars(yard: Yard) -> list[tuple[str, str | None, int]]:
    """Ann's statement in dollars, oldest first: type, meter and micro-dollars."""
    return [(each.type, each.meter, each.amount) for each in yard.world.entries(unit="USD")]


def test_a_forgotten_sandbox(yard: Yard) -> None:
    """Nobody closed it: eight hours stand on the statement, it was told of, and its timeout ended it."""
    sandbox = yard.make("node", timeout=8 * 3600)
    yard.pass_time(24 * 3600)
    assert ("stopped", "timeout") == yard.state(sandbox)
    eight_hours = 8 * 3600
    assert eight_hours * SECOND == yard.spent("USD") == yard.cost(sandbox)
    by_meter = {
        meter: -sum(amount for _, each, amount in dollars(yard) if each == meter)
        for meter in ("vcpu_seconds", "gib_seconds")
    }
    assert {"vcpu_seconds": eight_hours * 28, "gib_seconds": ceil(eight_hours * 2.25)} == by_meter
    bill = yard.tally.sandbox_views.bill(yard.ann, sandbox, from_second=eight_hours - 1, seconds=3)
    assert [eight_hours - 1] == [second.number for second in bill.seconds]
    told = [each.type for each in yard.tally.notifications.list(yard.ann, limit=100).items]
    assert (1, 1, 1) == tuple(told.count(f"sandbox.{kind}") for kind in ("idle", "ending", "stopped"))


def test_sandboxes_in_parallel(yard: Yard) -> None:
    """Five for an hour are five hours, and each has a bill of its own."""
    made = []
    for _ in range(5):
        made.append(yard.make(timeout=3600))
        yard.pass_time(1)
    usage = yard.tally.sandbox_views.usage(yard.ann)
    assert (5, 5 * 3600 * SECOND) == (len(usage.running), usage.forecasts[0].per_hour)
    yard.pass_time(3600)
    assert [3600 * SECOND] * 5 == [yard.cost(sandbox) for sandbox in made]
    assert 5 * 3600 * SECOND == yard.spent("USD")
    assert 5 * 3600 * 1000 == yard.tally.sandbox_views.usage(yard.ann).lived_ms


def test_credit_that_expires_while_one_runs(yard: Yard) -> None:
    """What a lease holds stays paid for; what is left of the credit expires, and both are on the statement."""
    _spend_all_dollars(yard)
    yard.world.grant(1, unit="USD", expires_at="2027-01-10T12:10:00Z")
    sandbox = yard.make(timeout=3600)
    yard.pass_time(3600)
    assert ("stopped", "credits") == yard.state(sandbox)
    lived = yard.row(sandbox).metered_ms
    assert lived == yard.lived(sandbox)
    assert 600_000 <= lived <= 600_000 + 300_000
    lost = [-amount for kind, _, amount in dollars(yard) if kind == "expiry"]
    assert MICROS == sum(lost) + yard.cost(sandbox)  # first what was free, then what the lease gave back


def test_a_locked_wallet(yard: Yard) -> None:
    """It pays for what is leased already and for no more; nothing is lost, and the sandbox says why it ended."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(30)
    yard.tally.wallets.freeze(SYSTEM, customer=USER, unit="USD")
    yard.pass_time(3600)
    assert ("stopped", "frozen") == yard.state(sandbox)
    assert yard.row(sandbox).metered_ms == yard.lived(sandbox) <= 300_000
    assert 100 * MICROS - yard.cost(sandbox) == yard.world.balance("USD").balance


def _spend_all_dollars(yard: Yard) -> None:
    hold = yard.tally.holds.create_amount(yard.ann, amount=100, unit="USD", idempotency_key="all")
    yard.tally.holds.capture(yard.ann, to_text("hold", hold.value.id), idempotency_key="all of it")


def test_a_moved_test_clock_is_time_that_sandboxes_lived(database_url: str) -> None:
    """Eight hours forward are billed in leases as they would have been, or end where the timeout is."""
    clock, provider = FakeClock("2027-01-10T12:00:00Z"), ScriptedSandboxes()
    with Tally.open(database_url, economy="flow-nexus", source=clock, sandbox_provider=provider) as tally:
        number = tally.customers.create(SYSTEM, external_id="ann").value.id
        text = to_text("cust", number)
        ann = Caller(role="user", scope=text, name=text, customer_id=number)
        tally.plans.change(SYSTEM, customer=text, plan="pro")
        made = tally.sandboxes.create(ann, Wish(template="node", timeout=10 * 3600), idempotency_key="a")
        sandbox = to_text("sbx", made.value.id)
        tally.test_clock.move(SYSTEM, now="2027-01-10T20:00:00Z")
        row = tally.sandboxes.get(ann, sandbox)
        assert ("running", True) == (row.status, row.funded_ms > 8 * 3_600_000)
        tally.test_clock.move(SYSTEM, now="2027-01-11T12:00:00Z")
        row = tally.sandboxes.get(ann, sandbox)
        assert ("stopped", "timeout", 36_000_000) == (row.status, row.reason, row.metered_ms)
        assert 36_000 * SECOND == row.cost.total
        assert audit(tally.database).ok
