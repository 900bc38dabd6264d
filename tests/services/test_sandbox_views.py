"""What sandboxes have cost and will cost, so that nobody asks where the credits went."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick import economies
from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.ports import ProviderRefused
from tallystick.services.context import SYSTEM
from tests.services.yard import SECOND, Yard
from tests.tallies import USER

FLOW_NEXUS = Path(economies.__path__[0]) / "flow-nexus.toml"


def test_a_bill_is_explained_second_by_second(yard: Yard) -> None:
    """Its lines are transactions of the ledger, and its seconds add up to what was captured."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(400)
    yard.run(sandbox)
    yard.pass_time(11.25)
    yard.tally.sandboxes.stop(yard.ann, sandbox)
    bill = yard.tally.sandbox_views.bill(yard.ann, sandbox, from_second=0, seconds=3600)
    assert 412 == len(bill.seconds)
    running = [line for line in bill.lines if line.operation == "running"]
    slices = [(line.from_ms, line.to_ms) for line in running]
    assert [0, *[end for _, end in slices]] == [*[begin for begin, _ in slices], 411_250]
    total = sum(second.cost.total for second in bill.seconds)
    assert total == sum(line.amounts[0][1] for line in running) == yard.cost(sandbox) == yard.spent("USD")
    assert bill.seconds[-1].total == bill.row.cost
    assert (0, 0) == (bill.unbilled_ms, bill.unbilled.total)


def test_what_was_refunded_stands_on_the_bill(yard: Yard) -> None:
    """In part, in both units of one transaction, and twice; the bill then adds up to what was really paid."""
    sandbox, other = yard.make(), yard.make()
    yard.pass_time(20)
    yard.run(sandbox)
    yard.tally.sandboxes.stop(yard.ann, sandbox)
    yard.tally.sandboxes.stop(yard.ann, other)
    before = yard.tally.sandbox_views.bill(yard.ann, sandbox)
    assert ((), {"rUv": 3 * MICROS, "USD": 605}) == (before.refunds, dict(before.paid))
    ran = next(line for line in before.lines if line.operation == "execute")
    charge = to_text("chg", ran.transaction_id)
    for number, (amount, unit) in enumerate([("0.5", "rUv"), ("0.000005", "USD"), ("1", "rUv")]):
        yard.tally.charges.refund(
            SYSTEM, charge, amount=amount, unit=unit, reason="slow", idempotency_key=f"back {number}"
        )
    bill = yard.tally.sandbox_views.bill(yard.ann, sandbox)
    assert before.lines == bill.lines
    assert [(ran.transaction_id, "slow")] * 3 == [(each.charge_id, each.reason) for each in bill.refunds]
    assert [{"rUv": MICROS // 2}, {"USD": 5}, {"rUv": MICROS}] == [
        dict(each.amounts) for each in bill.refunds
    ]
    assert {"rUv": 3 * MICROS // 2, "USD": 600} == dict(bill.paid)
    assert () == yard.tally.sandbox_views.bill(yard.ann, other).refunds
    both = [dict(yard.tally.sandbox_views.bill(yard.ann, each).paid) for each in (sandbox, other)]
    left = {"rUv": 356 * MICROS - yard.available("rUv"), "USD": 100 * MICROS - yard.available()}
    assert left == {unit: sum(each[unit] for each in both) for unit in left}


def test_time_that_is_too_short_to_cost_anything_stands_on_the_bill(yard: Yard) -> None:
    """The lines follow each other without gaps, and usage counts every millisecond."""
    sandbox = yard.make(timeout=3600)
    for _ in range(20):
        yard.pass_time(0.007)
        yard.run(sandbox)
    yard.pass_time(0.007)
    yard.tally.sandboxes.stop(yard.ann, sandbox)
    lines = yard.tally.sandbox_views.bill(yard.ann, sandbox).lines
    slices = [(line.from_ms, line.to_ms) for line in lines if line.operation == "running"]
    assert [0, *[end for _, end in slices]] == [*[begin for begin, _ in slices], 147]
    assert 147 == yard.tally.sandbox_views.usage(yard.ann).lived_ms == yard.lived(sandbox)


def test_usage_adds_up_and_forecasts(yard: Yard) -> None:
    """Operations by kind, integers of size and time, what an hour costs, and until when the dollars last."""
    first, second = yard.make(timeout=3600), yard.make("node", timeout=3600, vcpu=4, memory_mib=2048)
    yard.pass_time(100)
    yard.run(first)
    yard.tally.sandboxes.stop(yard.ann, first)
    yard.pass_time(100)
    usage = yard.tally.sandbox_views.usage(yard.ann)
    operations = {each.operation: (each.count, dict(each.amounts)) for each in usage.operations}
    assert (2, {"rUv": 2 * MICROS}) == operations["create"]
    assert (1, {"rUv": 2 * MICROS}) == operations["execute"]
    spent = yard.spent("USD")
    assert {"USD": spent} == operations["running"][1]
    [running] = usage.running
    assert second == to_text("sbx", running.row.id)
    assert 3600 * (4 * 14 + 2 * 4.5) == running.per_hour
    [forecast] = usage.forecasts
    assert ("USD", running.per_hour) == (forecast.unit, forecast.per_hour)
    assert forecast.available >= 100 * MICROS - spent - 300 * 65
    assert forecast.lasts_until is not None
    hours = (forecast.lasts_until - yard.world.clock()) / 3_600_000_000
    assert abs(forecast.available / running.per_hour - hours) < 0.001
    assert usage.vcpu_ms == 2 * 100_000 + 4 * (usage.lived_ms - 100_000)


def test_an_unlimited_allowance_lasts_for_ever(database_url: str, tmp_path: Path) -> None:
    """No moment is named at which it would end."""
    economy = tmp_path / "endless.toml"
    plan = '[plans.endless]\ntitle = "Endless"\n[[plans.endless.allowances]]\nunit = "USD"\namount = "unlimited"\n'
    economy.write_text(FLOW_NEXUS.read_text() + plan)
    with Yard(database_url, tmp_path, economy=str(economy)) as yard:
        yard.tally.plans.change(SYSTEM, customer=USER, plan="endless")
        yard.make(timeout=3600)
        yard.pass_time(60)
        [forecast] = yard.tally.sandbox_views.usage(yard.ann).forecasts
        assert (3600 * SECOND, None) == (forecast.per_hour, forecast.lasts_until)


def test_what_is_not_billed_yet_is_shown(yard: Yard) -> None:
    """Between two leases a bill says how much more was lived."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(60)
    bill = yard.tally.sandbox_views.bill(yard.ann, sandbox)
    assert (60_000, 60 * SECOND) == (bill.unbilled_ms, bill.unbilled.total)
    assert () == bill.seconds


def test_wrong_spans_are_refused(yard: Yard) -> None:
    """Each names what was expected."""
    sandbox = yard.make()
    for from_second, seconds in ((-1, 60), (0, 0), (0, 3601)):
        with pytest.raises(errors.ValidationFailed):
            yard.tally.sandbox_views.bill(yard.ann, sandbox, from_second=from_second, seconds=seconds)
    with pytest.raises(errors.ValidationFailed):
        yard.tally.sandbox_views.usage(yard.ann, period="1y")


def test_credits_that_outlast_every_calendar_have_no_last_day(yard: Yard) -> None:
    """A day after the year 9999 is none; of credits for longer than any sandbox lives nobody needs to know it."""
    yard.world.grant(10**9, unit="USD")
    yard.make(timeout=3600)
    [forecast] = yard.tally.sandbox_views.usage(yard.ann).forecasts
    assert forecast.lasts_until is None


def test_what_runs_is_looked_at_alone(yard: Yard) -> None:
    """The same as in the usage, without a sum of what was; whoever uses none of it for too long is told since when."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(60)
    now, usage = yard.tally.sandbox_views.now(yard.ann), yard.tally.sandbox_views.usage(yard.ann)
    assert (now.running, now.forecasts) == (usage.running, usage.forecasts)
    row, running = yard.tally.sandbox_views.look(yard.ann, sandbox)
    assert (running,) == now.running
    assert running is not None
    assert (row.started_at, None) == (running.ends_at - 3_600_000_000, running.idle_since)
    yard.pass_time(540)
    [idle] = yard.tally.sandbox_views.now(yard.ann).running
    assert row.used_at == idle.idle_since
    yard.run(sandbox)
    [used] = yard.tally.sandbox_views.now(yard.ann).running
    assert used.idle_since is None
    yard.tally.sandboxes.stop(yard.ann, sandbox)
    assert ("stopped", None) == (
        yard.tally.sandbox_views.look(yard.ann, sandbox)[0].status,
        yard.tally.sandbox_views.look(yard.ann, sandbox)[1],
    )


def test_what_has_ended_is_listed_newest_first(yard: Yard) -> None:
    """Stopped or never made, page by page, and nothing that runs or is somebody else's."""
    ended = [yard.make() for _ in range(3)]
    for sandbox in ended:
        yard.tally.sandboxes.stop(yard.ann, sandbox)
    yard.make()
    yard.provider.refusals = [ProviderRefused("no room")]
    with pytest.raises(errors.SandboxFailed):
        yard.make()
    page = yard.tally.sandboxes.ended(yard.ann, limit=2)
    assert ["failed", "stopped"] == [row.status for row in page.items]
    rest = yard.tally.sandboxes.ended(yard.ann, limit=2, cursor=page.next_cursor)
    assert ended[1::-1] == [to_text("sbx", row.id) for row in rest.items]
    assert [] == yard.tally.sandboxes.ended(yard.world.customer("bob")).items
