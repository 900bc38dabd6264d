"""Leases that cannot be renewed: what is leased is lived, its owner is warned in time, and credits that come count."""

from __future__ import annotations

import json

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.ports import OutcomeUnknown
from tallystick.services.context import SYSTEM
from tallystick.services.sandbox_postings import SandboxPostings
from tests.services.yard import Yard
from tests.tallies import USER

DAY_SECONDS = 86_400


def _leave(yard: Yard, micros: int) -> None:
    """Spend all dollars but so many."""
    amount = f"{(yard.available() - micros) / MICROS:.6f}"
    hold = yard.tally.holds.create_amount(yard.ann, amount=amount, unit="USD", idempotency_key="leave")
    yard.tally.holds.capture(yard.ann, to_text("hold", hold.value.id), idempotency_key="leave it")


def _told(yard: Yard, kind: str) -> int:
    return sum(each.type == kind for each in yard.tally.notifications.list(yard.ann, limit=100).items)


def _freeze(yard: Yard) -> None:
    yard.tally.wallets.freeze(SYSTEM, customer=USER, unit="USD")


def test_credits_that_come_after_the_warning_keep_it_running(yard: Yard) -> None:
    """That is what the warning is for; when they end as well it warns again."""
    _leave(yard, 3_000)
    sandbox = yard.make(timeout=3600)
    yard.pass_time(30, turn=5)
    assert 1 == _told(yard, "sandbox.ending")
    yard.world.grant(1, unit="USD")
    yard.pass_time(600, turn=5)
    assert ("running", None) == (yard.state(sandbox)[0], yard.row(sandbox).short_of)
    yard.tally.budgets.put(yard.ann, level="customer", unit="USD", amount="0.02", per="day")
    yard.pass_time(1000, turn=5)
    assert ("stopped", "budget") == yard.state(sandbox)
    assert yard.lived(sandbox) == yard.row(sandbox).metered_ms
    assert 2 == _told(yard, "sandbox.ending")


def test_what_is_leased_is_lived_after_the_wallet_is_frozen(yard: Yard) -> None:
    """All of it and no more, and its owner is told before."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(30, turn=5)
    _freeze(yard)
    yard.pass_time(150, turn=5)
    assert (1, "running") == (_told(yard, "sandbox.ending"), yard.state(sandbox)[0])
    yard.pass_time(600, turn=5)
    assert (("stopped", "frozen"), 300_000) == (yard.state(sandbox), yard.lived(sandbox))
    assert 300_000 == yard.row(sandbox).metered_ms


def test_a_thawed_wallet_pays_again(yard: Yard) -> None:
    """The sandbox goes on as if nothing had been."""
    sandbox = yard.make(timeout=3600)
    _freeze(yard)
    yard.pass_time(200, turn=5)
    yard.tally.wallets.thaw(SYSTEM, customer=USER, unit="USD")
    yard.pass_time(600, turn=5)
    assert ("running", None) == yard.state(sandbox)


def test_using_one_whose_wallet_is_frozen_does_not_end_it(yard: Yard) -> None:
    """Credits in another unit pay for what is done in it, and the lease is as long as before."""
    sandbox = yard.make(timeout=600)
    yard.pass_time(30, turn=5)
    _freeze(yard)
    yard.run(sandbox)
    yard.tally.sandboxes.extend(yard.ann, sandbox, timeout=900)
    assert ("running", 300_000) == (yard.state(sandbox)[0], yard.row(sandbox).funded_ms)
    yard.pass_time(270, turn=5)
    assert ("frozen", 300_000) == (yard.state(sandbox)[1], yard.row(sandbox).metered_ms)


def test_a_budget_that_is_lowered_ends_nothing_that_is_leased(yard: Yard) -> None:
    """It is told of, and ends where its lease does."""
    yard.tally.budgets.put(yard.ann, level="customer", unit="USD", amount=1, per="day")
    sandbox = yard.make(timeout=3600)
    yard.tally.budgets.put(yard.ann, level="customer", unit="USD", amount="0.001", per="day")
    yard.pass_time(200, turn=5)
    assert (1, "running") == (_told(yard, "sandbox.ending"), yard.state(sandbox)[0])
    yard.pass_time(400, turn=5)
    assert (("stopped", "budget"), 300_000) == (yard.state(sandbox), yard.row(sandbox).metered_ms)


def test_one_that_is_larger_than_ordered_dies_where_its_lease_ends(yard: Yard) -> None:
    """Whoever runs it is told the shorter deadline at once, before anybody looks after it."""
    _leave(yard, 100_000)
    yard.provider.size = (64, 65_536)
    sandbox = yard.make(timeout=3600)
    yard.pass_time(600, keep=False)
    yard.pass_time(60)
    assert ("stopped", "credits") == yard.state(sandbox)
    assert yard.lived(sandbox) == yard.row(sandbox).metered_ms
    assert 60_000 <= yard.lived(sandbox) < 300_000


def test_one_that_is_larger_than_can_be_paid_for_is_none(yard: Yard) -> None:
    """It is ended before it was of any use, costs nothing, and says why."""
    _leave(yard, 3_000)
    yard.provider.size = (64, 65_536)
    with pytest.raises(errors.NotCovered):
        yard.make(timeout=3600)
    assert {} == yard.provider.running()
    assert (356 * MICROS, 3_000) == (yard.available("rUv"), yard.available())
    [row] = yard.all_rows()
    assert "failed" == row.status
    assert (row.detail or "").startswith("64 vCPUs and 65536 MiB are not covered")


def test_time_that_nothing_pays_for_any_more_does_not_stand_on_the_bill(yard: Yard) -> None:
    """The service was away until the lease was given back, and the credits have gone elsewhere since."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(100, turn=5)
    yard.provider.advance(2 * DAY_SECONDS * 1000)
    yard.world.clock.micros += 2 * DAY_SECONDS * MICROS
    _leave(yard, 0)
    yard.pass_time(60)
    assert "stopped" == yard.state(sandbox)[0]
    bill = yard.tally.sandbox_views.bill(yard.ann, sandbox, from_second=0)
    assert ["create"] == [line.operation for line in bill.lines]
    assert (0, (), 0) == (yard.cost(sandbox), bill.seconds, bill.unbilled_ms)


def _deaf(*_: object, **__: object) -> None:
    raise OutcomeUnknown("no answer")


def test_a_deadline_that_was_not_heard_is_told_again(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is paid for is lived, also when the network was away while its lease was renewed."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(145, turn=5)
    with monkeypatch.context() as patch:
        patch.setattr(yard.provider, "set_deadline", _deaf)
        yard.pass_time(20, turn=5)
    yard.pass_time(900, turn=5)
    assert ("running", None) == yard.state(sandbox)


def test_a_deadline_that_a_dead_process_did_not_tell_is_told(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever takes the sandbox over."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(140, turn=5)
    with monkeypatch.context() as patch:
        patch.setattr(yard.provider, "set_deadline", _deaf)
        yard.pass_time(20, turn=5)
    yard.replace_process()
    yard.pass_time(900, turn=5)
    assert ("running", None) == yard.state(sandbox)


def test_one_whose_lease_nobody_renewed_did_not_end_for_want_of_credits(yard: Yard) -> None:
    """The service was away for too long, and there is plenty left to pay with."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(20, turn=5)
    yard.pass_time(600, keep=False)
    yard.replace_process()
    assert (("stopped", "host_restart"), 300_000) == (yard.state(sandbox), yard.row(sandbox).metered_ms)


class _KilledError(BaseException):
    """The process ends here."""


def test_what_an_upload_holds_comes_back_when_its_process_died(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another finds it, and half a minute later nothing is held for it."""
    sandbox = yard.make(timeout=3600)

    def killed(*_: object) -> None:
        raise _KilledError

    with monkeypatch.context() as patch:
        patch.setattr(yard.provider, "write_file", killed)
        patch.setattr(SandboxPostings, "release", killed)
        with pytest.raises(_KilledError):
            yard.tally.sandbox_runs.write_file(yard.ann, sandbox, "a", b"")
    yard.replace_process()
    yard.pass_time(40, turn=5)
    assert (355 * MICROS, 0) == (yard.available("rUv"), yard.world.balance("rUv").held)


def test_a_long_execution_is_paid_for_at_its_end(yard: Yard) -> None:
    """Its price is held for as long as it may take, and for some time beyond."""
    yard.tally.plans.change(SYSTEM, customer=USER, plan="pro")
    sandbox = yard.make(timeout=DAY_SECONDS)
    yard.provider.during = lambda: yard.pass_time(DAY_SECONDS - 60)
    yard.run(sandbox, timeout=DAY_SECONDS - 120)
    assert 3 * MICROS == yard.spent("rUv")


def test_what_was_lived_unseen_is_not_given_again(yard: Yard) -> None:
    """Nobody answers when it is extended: the deadline that it gets afterwards is that of its lease, and no later one."""
    sandbox = yard.make(timeout=60)
    yard.pass_time(40, turn=5)
    yard.pass_time(4, keep=False)
    yard.provider.faults.append(OutcomeUnknown("no answer"))
    yard.tally.sandboxes.extend(yard.ann, sandbox, timeout=10)
    yard.pass_time(60, turn=5)
    assert 60_000 == yard.row(sandbox).metered_ms == yard.lived(sandbox)
    sandbox = yard.make(timeout=60)
    yard.pass_time(44, turn=5)
    yard.provider.faults.append(OutcomeUnknown("no answer"))
    yard.tally.sandboxes.extend(yard.ann, sandbox, timeout=100)
    yard.pass_time(120, turn=5)
    assert 120_000 < yard.row(sandbox).metered_ms == yard.lived(sandbox) <= 144_000


def test_a_smaller_plan_ends_what_lives_longer_than_it_allows(yard: Yard) -> None:
    """What is leased is lived, its owner is warned with the reason, and then it ends; back on the larger one it lives on."""
    yard.tally.plans.change(SYSTEM, customer=USER, plan="pro")
    short, long = yard.make(timeout=3 * 3600), yard.make(timeout=3 * 3600)
    yard.pass_time(3500, turn=60)
    yard.tally.plans.change(SYSTEM, customer=USER, plan="free")
    yard.pass_time(150, turn=10)
    told = [
        json.loads(each.data)["reason"]
        for each in yard.tally.notifications.list(yard.ann).items
        if each.type == "sandbox.ending"
    ]
    assert ["plan", "plan"] == told
    yard.tally.sandboxes.stop(yard.ann, short)
    yard.tally.plans.change(SYSTEM, customer=USER, plan="pro")
    yard.pass_time(300, turn=10)
    assert "running" == yard.state(long)[0]
    yard.tally.plans.change(SYSTEM, customer=USER, plan="free")
    yard.pass_time(400, turn=10)
    assert ("stopped", "plan") == yard.state(long)
    assert 3600_000 < yard.row(long).metered_ms == yard.lived(long)


def test_a_lease_goes_as_far_as_the_plan_of_now(yard: Yard) -> None:
    """A sandbox that is still younger than the smaller plan's session ends at that session's end."""
    yard.tally.plans.change(SYSTEM, customer=USER, plan="pro")
    sandbox = yard.make(timeout=3 * 3600)
    yard.pass_time(600, turn=60)
    yard.tally.plans.change(SYSTEM, customer=USER, plan="free")
    yard.pass_time(3600, turn=60)
    assert ("stopped", "plan") == yard.state(sandbox)
    assert 3600_000 == yard.row(sandbox).metered_ms == yard.lived(sandbox)
