"""Sandboxes: credits for what is done in them, dollars for the time that they run, and not a millisecond more."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import ceil
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any

import pytest

from tallystick import economies
from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.sandboxes import Life, SandboxBusy
from tallystick.services.context import SYSTEM, Answer
from tallystick.store.sandboxes import SandboxRow
from tests.services.scripted_sandboxes import ScriptedSandboxes
from tests.services.yard import SECOND, Yard
from tests.tallies import USER


def test_the_worked_example_costs_five_credits_and_the_seconds(yard: Yard) -> None:
    """Create 1, execute 2 twice, delete 0; and the dollars of the seconds that it ran, by its size."""
    sandbox = yard.make("node", name="api-dev")
    yard.pass_time(20)
    yard.run(sandbox, "npm install && npm test", language="bash")
    yard.pass_time(31.5)
    yard.run(sandbox, "npm run build", language="bash")
    yard.pass_time(2)
    yard.tally.sandboxes.delete(yard.ann, sandbox)
    assert 5 * MICROS == yard.spent("rUv")
    assert ("stopped", "requested") == yard.state(sandbox)
    assert 53_500 == yard.lived(sandbox) == yard.row(sandbox).metered_ms
    assert ceil(53.5 * 28) + ceil(53.5 * 2.25) == yard.cost(sandbox) == yard.spent("USD")
    assert 100 * MICROS - yard.cost(sandbox) == yard.available()
    assert [1, 2, 2, 0] == [
        line.amounts[0][1] // MICROS
        for line in yard.tally.sandboxes.lines(yard.ann, sandbox)[1]
        if line.operation != "running"
    ]


def test_an_operation_and_the_seconds_up_to_it_are_one_transaction(yard: Yard) -> None:
    """Two bills, one transaction: credits for what was done, dollars for the time; both are on its statement lines."""
    sandbox = yard.make()
    yard.pass_time(20)
    yard.run(sandbox)
    lines = yard.tally.sandboxes.lines(yard.ann, sandbox)[1]
    done, running = (
        next(each for each in lines if each.operation == name) for name in ("execute", "running")
    )
    assert done.transaction_id == running.transaction_id
    charge = to_text("chg", done.transaction_id)
    found = yard.tally.explain.charge(yard.ann, charge)
    assert {"rUv": 2 * MICROS, "USD": 20 * 28 + 20 * 2.25} == dict(found.amounts)
    assert ["sandbox_execute", "vcpu_seconds", "gib_seconds"] == [part.meter for part in found.explain.prices]
    both = [
        yard.tally.holds_view.get(yard.ann, to_text("hold", each.id))[1]
        for each in yard.tally.holds_view.list(yard.ann).items
        if each.charge_id == done.transaction_id
    ]
    spent = {"rUv": 2 * MICROS, "USD": yard.cost(sandbox)}
    left = {"rUv": 353 * MICROS, "USD": 100 * MICROS - yard.cost(sandbox)}
    assert spent == {each.unit: each.amount for each in both if each is not None}
    assert left == {each.unit: each.balance for each in both if each is not None}


def test_a_sandbox_that_could_not_be_made_costs_nothing(yard: Yard) -> None:
    """The provider refuses: credits and dollars are as they were, and the sandbox has failed."""
    yard.provider.refusals = [ProviderRefused("no room")]
    with pytest.raises(errors.SandboxFailed, match="no room"):
        yard.make()
    assert (356 * MICROS, 100 * MICROS) == (yard.available("rUv"), yard.available())
    [row] = yard.tally.sandboxes.list(yard.ann).items
    assert ("failed", "no room") == (row.status, row.detail)


def test_an_order_that_cannot_be_met_says_which_field_is_wrong(yard: Yard) -> None:
    """Where whoever makes it says so; nothing is charged."""
    yard.provider.refusals = [ProviderRefused("vcpu has to be 1 to 2", code="vcpu")]
    with pytest.raises(errors.ValidationFailed, match="vcpu has to be 1 to 2"):
        yard.make(vcpu=64)
    assert (356 * MICROS, 100 * MICROS) == (yard.available("rUv"), yard.available())


def test_one_that_was_never_ready_costs_nothing_to_delete(database_url: str, tmp_path: Path) -> None:
    """Also where deleting has a price, which is charged once for one that lived, and to nobody who cannot pay it."""
    economy = tmp_path / "dear.toml"
    free, dear = (f'description = "Delete a sandbox"\nprice = {price}' for price in (0, 1))
    economy.write_text((Path(economies.__path__[0]) / "flow-nexus.toml").read_text().replace(free, dear))
    with Yard(database_url, tmp_path, economy=str(economy)) as yard:
        yard.provider.refusals = [ProviderRefused("no room")]
        with pytest.raises(errors.SandboxFailed):
            yard.make()
        [row] = yard.all_rows()
        yard.tally.sandboxes.delete(yard.ann, to_text("sbx", row.id))
        assert 356 * MICROS == yard.available("rUv")
        sandbox = yard.make()
        for _ in range(2):
            yard.tally.sandboxes.delete(yard.ann, sandbox)
        assert 354 * MICROS == yard.available("rUv")
        last = yard.make()
        yard.tally.wallets.freeze(SYSTEM, customer=USER, unit="rUv")
        assert "stopped" == yard.tally.sandboxes.delete(yard.ann, last).status
        assert 353 * MICROS == yard.world.balance("rUv").balance


def test_a_creation_that_failed_leaves_its_key_free(yard: Yard) -> None:
    """A repeat tries again, and so does a corrected order; the one that failed stays in the list."""
    yard.provider.refusals = [ProviderRefused("no room"), ProviderRefused("has to be 1 to 2", code="vcpu")]
    with pytest.raises(errors.SandboxFailed, match="could not be made: no room"):
        yard.make(key="k")
    with pytest.raises(errors.ValidationFailed, match="1 to 2"):
        yard.make(key="k", vcpu=3)
    assert yard.make(key="k") == yard.make(key="k")
    rows = yard.tally.sandboxes.list(yard.ann).items
    assert ["running", "failed", "failed"] == [row.status for row in rows]
    assert 355 * MICROS == yard.available("rUv")


def test_a_creation_that_nobody_answered_is_found_and_ended(yard: Yard) -> None:
    """It may run: nothing is given back before that is known, then it is killed and everything comes back."""
    yard.provider.lost_answers = 1
    with pytest.raises(errors.SandboxFailed, match="not known"):
        yard.make()
    assert 1 == len(yard.provider.running())
    yard.pass_time(180)
    assert {} == yard.provider.running()
    assert (356 * MICROS, 100 * MICROS) == (yard.available("rUv"), yard.available())


def test_credits_that_end_end_the_sandbox_to_the_millisecond(yard: Yard) -> None:
    """A customer with a dime gets exactly what a dime pays for, is warned before, and is told why it ended."""
    _leave(yard, 100_000)
    sandbox = yard.make(timeout=3600)
    yard.pass_time(3600)
    assert ("stopped", "credits") == yard.state(sandbox)
    assert yard.row(sandbox).metered_ms == yard.lived(sandbox)
    assert 0 <= yard.available() < SECOND
    told = [each.type for each in yard.tally.notifications.list(yard.ann).items]
    assert 1 == told.count("sandbox.ending")
    assert told.index("sandbox.stopped") < told.index("sandbox.ending")  # newest first


def _leave(yard: Yard, micros: int) -> None:
    """Spend all dollars but so many."""
    hold = yard.tally.holds.create_amount(
        yard.ann,
        amount=f"{(yard.available() - micros) / MICROS:.6f}",
        unit="USD",
        idempotency_key="leave",
    )
    yard.tally.holds.capture(yard.ann, to_text("hold", hold.value.id), idempotency_key="leave it")


def test_a_timeout_ends_it_and_bills_exactly_that(yard: Yard) -> None:
    """A forgotten sandbox costs its timeout, and not what it was forgotten for."""
    sandbox = yard.make(timeout=1000)
    yard.pass_time(8 * 3600)
    assert ("stopped", "timeout") == yard.state(sandbox)
    assert 1_000_000 == yard.row(sandbox).metered_ms
    assert 28_000 + 2_250 == yard.cost(sandbox)


def test_one_that_died_is_billed_to_its_death(yard: Yard) -> None:
    """The keeper finds it later, and bills what it lived."""
    sandbox = yard.make()
    yard.pass_time(10)
    handle = yard.row(sandbox).handle
    assert handle is not None
    yard.provider.crash(handle, "memory")
    yard.pass_time(300)
    assert (("stopped", "memory"), 10_000) == (yard.state(sandbox), yard.row(sandbox).metered_ms)


def test_plans_limit_sandboxes(yard: Yard) -> None:
    """At most five at a time, of an hour each, on the free plan."""
    with pytest.raises(errors.PlanLimitReached, match="3600"):
        yard.make(timeout=3601)
    for _ in range(5):
        yard.make()
        yard.pass_time(1)
    with pytest.raises(errors.PlanLimitReached, match="5 sandboxes"):
        yard.make()
    assert (356 - 5) * MICROS == yard.available("rUv")


def test_creations_per_second_are_limited_by_the_plan(yard: Yard) -> None:
    """The sixth within a second waits; nothing is held for it."""
    yard.tally.plans.change(SYSTEM, customer="ann", plan="pro")
    for _ in range(5):
        yard.make()
    with pytest.raises(errors.RateLimited):
        yard.make()
    yard.pass_time(1)
    yard.make()


def test_a_repeat_makes_no_second_one(yard: Yard) -> None:
    """The same key gives the same sandbox, and a changed request is refused."""
    first = yard.make(key="k")
    assert first == yard.make(key="k")
    with pytest.raises(errors.IdempotencyKeyReused):
        yard.make("node", key="k")
    assert 1 == len(yard.provider.boxes)


@pytest.mark.parametrize("fault", [OutcomeUnknown("no answer"), SandboxBusy("no room")])
def test_an_execution_that_was_not_carried_out_costs_nothing(yard: Yard, fault: Exception) -> None:
    """Its key is free again, and a repeat runs it; its code is not blamed."""
    sandbox = yard.make()
    yard.provider.faults = [fault]
    with pytest.raises(errors.SandboxFailed, match=str(fault)):
        yard.run(sandbox, key="e")
    assert 355 * MICROS == yard.available("rUv")
    assert "done" == yard.run(sandbox, key="e").status
    assert "done" == yard.run(sandbox, key="e").status
    assert 353 * MICROS == yard.available("rUv")


def test_an_execution_that_another_process_gave_up_says_so(yard: Yard) -> None:
    """This one was silent for too long: nothing is charged, and nobody is told of holds."""
    sandbox = yard.make()
    other = yard.world.open()

    def silence() -> None:
        yard.pass_time(70, keep=False)
        other.sandbox_keeper.run_once()

    other.sandbox_keeper.run_once()
    yard.provider.during = silence
    with pytest.raises(errors.SandboxFailed, match="held up while this ran"):
        yard.run(sandbox, key="e")
    other.close()
    assert ["failed"] == [each.status for each in yard.tally.sandbox_runs.logs(yard.ann, sandbox).items]
    assert 355 * MICROS == yard.available("rUv")


def test_code_that_its_customer_cuts_off_is_charged(yard: Yard) -> None:
    """By deleting the sandbox, or by its time: what was written until then is given and kept, also for a repeat."""
    yard.provider.answer = replace(yard.provider.answer, stdout=b"the result")
    sandbox = yard.make(timeout=100)
    yard.provider.during = lambda: yard.pass_time(200, keep=False)
    for _ in range(2):
        run = yard.run(sandbox, key="e")
        assert ("done", 137, "the result") == (run.status, run.exit_code, run.stdout)
    assert (("stopped", "timeout"), 100_000) == (yard.state(sandbox), yard.row(sandbox).metered_ms)
    assert [run.id] == [each.id for each in yard.tally.sandbox_runs.logs(yard.ann, sandbox).items]
    assert 353 * MICROS == yard.available("rUv")
    other = yard.make()

    def deleted() -> None:
        yard.tally.sandboxes.delete(yard.ann, other)

    yard.provider.during = deleted
    assert (137, ("stopped", "requested")) == (yard.run(other).exit_code, yard.state(other))
    assert (350 * MICROS, 0) == (yard.available("rUv"), yard.world.balance("rUv").held)
    yard.provider.during = None
    with pytest.raises(errors.SandboxNotRunning):
        yard.run(other)
    assert 350 * MICROS == yard.available("rUv")


def test_code_that_a_fault_cuts_off_costs_nothing(yard: Yard) -> None:
    """Where the provider lost the sandbox, its time is billed to its end, and the operation is not."""
    sandbox = yard.make()
    yard.provider.during = lambda: yard.provider.crash(yard.row(sandbox).handle or "", "gone")
    with pytest.raises(errors.SandboxNotRunning):
        yard.run(sandbox)
    assert ("stopped", "provider_gone") == yard.state(sandbox)
    assert (355 * MICROS, 0) == (yard.available("rUv"), yard.world.balance("rUv").held)


def test_whoever_kills_a_sandbox_says_why(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where code that runs in it sees it die first."""
    sandbox = yard.make()
    died, kill = Event(), yard.provider.kill

    def slowly(handle: str) -> Life:
        life = kill(handle)
        died.set()
        sleep(0.2)
        return life

    monkeypatch.setattr(yard.provider, "kill", slowly)
    row = yard.row(sandbox)
    killer = Thread(target=yard.tally.sandboxes._steps.end, args=(row, "credits"))  # noqa: SLF001

    def during() -> None:
        killer.start()
        died.wait()

    yard.provider.during = during
    yard.run(sandbox)
    killer.join()
    assert ("stopped", "credits") == yard.state(sandbox)


def test_extending_never_shortens(yard: Yard) -> None:
    """Ten minutes more from now, no less than before, and never past the plan's hour."""
    sandbox = yard.make(timeout=600)
    yard.pass_time(60)
    yard.tally.sandboxes.extend(yard.ann, sandbox, timeout=10)
    assert 600_000 == yard.row(sandbox).timeout_ms
    yard.tally.sandboxes.extend(yard.ann, sandbox, timeout=900)
    assert 960_000 == yard.row(sandbox).timeout_ms
    yard.tally.sandboxes.extend(yard.ann, sandbox, timeout=3600)
    assert 3_600_000 == yard.row(sandbox).timeout_ms
    yard.pass_time(3000)
    assert "running" == yard.state(sandbox)[0]
    with pytest.raises(errors.PlanLimitReached):
        yard.tally.sandboxes.extend(yard.ann, sandbox, timeout=3600)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"1A": "x"}, "begin with no digit, not '1A'"),
        ({"A B": "x"}, "letters, digits and _ that begin with no digit, not 'A B'"),
        ({"A": "x\0"}, "text without NUL or lone surrogates for A"),
    ],
)
def test_variables_that_are_refused_are_named(yard: Yard, env: dict[str, str], message: str) -> None:
    """With what was expected of them."""
    with pytest.raises(errors.ValidationFailed, match=message):
        yard.make(env=env)


def test_nothing_is_extended_past_the_providers_longest_session(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever runs it would end it sooner than it says."""
    able = replace(ScriptedSandboxes().capabilities, session_seconds_max=1000)
    monkeypatch.setattr(ScriptedSandboxes, "capabilities", able)
    with Yard(database_url, tmp_path) as yard:
        sandbox = yard.make(timeout=600)
        yard.pass_time(60)
        assert 1_000_000 == yard.tally.sandboxes.extend(yard.ann, sandbox, timeout=3000).timeout_ms
        with pytest.raises(errors.ValidationFailed, match="at most 1000 seconds from its start"):
            yard.tally.sandboxes.extend(yard.ann, sandbox, timeout=3000)


@pytest.mark.parametrize(
    ("env", "timeout", "refusal"),
    [
        ({"A": "1"}, 0, errors.ValidationFailed),
        ({"A": "1"}, 3600, errors.PlanLimitReached),
        ({"A": "1" * 60_000}, None, errors.ValidationFailed),
        ({}, None, errors.ValidationFailed),
    ],
)
def test_a_change_that_is_refused_changes_and_costs_nothing(
    yard: Yard, env: dict[str, str], timeout: int | None, refusal: type[errors.Refusal]
) -> None:
    """Not the variables, not the time, and no credits."""
    sandbox = yard.make(env={"B": "2" * 10_000}, timeout=3600)
    yard.pass_time(60)
    before = yard.row(sandbox)
    with pytest.raises(refusal):
        yard.tally.sandboxes.configure(yard.ann, sandbox, env=env, timeout=timeout)
    assert (before.env, before.timeout_ms) == (yard.row(sandbox).env, yard.row(sandbox).timeout_ms)
    assert (355 * MICROS, 0) == (yard.available("rUv"), yard.world.balance("rUv").held)


def test_a_change_costs_its_price_once_and_extends(yard: Yard) -> None:
    """Variables and time together are one operation."""
    sandbox = yard.make(env={"B": "2"}, timeout=600)
    yard.pass_time(60)
    row = yard.tally.sandboxes.configure(yard.ann, sandbox, env={"A": "1"}, timeout=900).value
    assert ('{"B": "2", "A": "1"}', 960_000) == (row.env, row.timeout_ms)
    assert row == yard.row(sandbox)
    assert 353 * MICROS == yard.available("rUv")


def test_a_change_with_a_key_is_done_once(yard: Yard) -> None:
    """Also when it comes again later, or many times at once, or when the sandbox is gone; another one is refused."""
    sandbox = yard.make(timeout=600)

    def change(_: int = 0, **terms: Any) -> Answer[SandboxRow]:
        given: dict[str, Any] = {"env": {"A": "1"}, "timeout": 900, "idempotency_key": "k"} | terms
        return yard.tally.sandboxes.configure(yard.ann, sandbox, **given)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(change, range(8)))
    assert [False] + [True] * 7 == sorted(each.replayed for each in answers)
    yard.pass_time(60)
    yard.tally.sandboxes.configure(yard.ann, sandbox, env={"A": "2"})
    assert change().replayed
    assert ('{"A": "2"}', 900_000) == (yard.row(sandbox).env, yard.row(sandbox).timeout_ms)
    others: tuple[dict[str, Any], ...] = ({"timeout": 901}, {"env": {"A": "3"}})
    for other in others:
        with pytest.raises(errors.IdempotencyKeyReused):
            change(**other)
    with pytest.raises(errors.IdempotencyKeyReused):
        yard.tally.sandbox_runs.write_file(yard.ann, sandbox, "a", b"1", idempotency_key="k")
    assert 351 * MICROS == yard.available("rUv")
    yard.tally.sandboxes.stop(yard.ann, sandbox)
    again = change()
    assert (True, "stopped") == (again.replayed, again.value.status)
    with pytest.raises(errors.SandboxNotRunning):
        change(idempotency_key="another")
    assert (351 * MICROS, 0) == (yard.available("rUv"), yard.world.balance("rUv").held)


def test_a_change_that_was_refused_leaves_its_key_free(yard: Yard) -> None:
    """Nothing was done under it."""
    sandbox = yard.make()
    with pytest.raises(errors.ValidationFailed):
        yard.tally.sandboxes.configure(yard.ann, sandbox, env={"": "1"}, idempotency_key="k")
    assert not yard.tally.sandboxes.configure(yard.ann, sandbox, env={"A": "1"}, idempotency_key="k").replayed


def test_a_change_that_changes_nothing_costs_nothing(yard: Yard) -> None:
    """What is asked for is so already."""
    sandbox = yard.make(env={"A": "1", "B": "2"}, timeout=600)
    for terms in ({"env": {"A": "1"}}, {"timeout": 1}, {"env": {"B": "2"}, "timeout": 599}):
        yard.tally.sandboxes.configure(yard.ann, sandbox, **terms)
    assert 355 * MICROS == yard.available("rUv")


def test_variables_that_are_set_at_the_same_time_are_all_there(yard: Yard) -> None:
    """Neither change is lost to the other."""
    sandbox = yard.make()
    threads = [
        Thread(target=yard.tally.sandboxes.configure, args=(yard.ann, sandbox), kwargs={"env": {name: "1"}})
        for name in "ABCDEFGH"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("ABCDEFGH") == sorted(json.loads(yard.row(sandbox).env or "{}"))


def test_another_size_is_billed_as_it_is(yard: Yard) -> None:
    """A provider that gives more than was ordered is paid for what it gave."""
    yard.provider.size = (4, 1024)
    sandbox = yard.make()
    yard.pass_time(10)
    yard.tally.sandboxes.stop(yard.ann, sandbox)
    assert 560 + 45 == yard.cost(sandbox)


def test_stopping_twice_is_stopping_once(yard: Yard) -> None:
    """The second changes nothing."""
    sandbox = yard.make()
    yard.pass_time(5)
    first = yard.tally.sandboxes.stop(yard.ann, sandbox)
    yard.pass_time(5)
    assert first == yard.tally.sandboxes.stop(yard.ann, sandbox)


def test_another_process_takes_over_what_was_left_behind(yard: Yard) -> None:
    """A hosted sandbox whose process is gone lives on and is billed in full; nobody bills it twice."""
    sandbox = yard.make(timeout=3000)
    yard.pass_time(100)
    other = yard.world.open()
    try:
        for _ in range(40):
            yard.pass_time(30, keep=False)
            other.sandbox_keeper.run_once()
        assert "running" == yard.state(sandbox)[0]
        yard.tally.sandbox_keeper.run_once()
        other.sandboxes.stop(yard.ann, sandbox)
    finally:
        other.close()
    assert 1_300_000 == yard.row(sandbox).metered_ms == yard.lived(sandbox)


def test_a_sandbox_that_nobody_knows_is_ended(yard: Yard) -> None:
    """What runs at the provider and is in no book costs somebody money."""
    sandbox = yard.make()
    handle = yard.row(sandbox).handle
    assert handle is not None
    yard.tally.sandboxes.stop(yard.ann, sandbox)
    yard.provider.boxes[handle].ended_at = None
    yard.pass_time(60)
    assert {} == yard.provider.running()


def test_an_idle_sandbox_is_told_of_once(yard: Yard) -> None:
    """Ten minutes without use; once for each time that it was left alone."""
    sandbox = yard.make(timeout=3600)
    yard.pass_time(1500)
    yard.run(sandbox)
    yard.pass_time(1500)
    told = [each.type for each in yard.tally.notifications.list(yard.ann).items]
    assert 2 == told.count("sandbox.idle")


def test_two_turns_at_the_same_time_tell_of_an_idle_sandbox_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's, and that of a moved test clock."""
    with Yard(database_url, tmp_path, provider=ScriptedSandboxes(name="local")) as yard:
        yard.make(timeout=3600)
        yard.pass_time(590, turn=5)
        yard.pass_time(20, keep=False)
        look, others = yard.provider.look, [yard.turn]

        def look_while_another_turns(handle: str) -> Life:
            if others:
                others.pop()()
            return look(handle)

        monkeypatch.setattr(yard.provider, "look", look_while_another_turns)
        yard.turn()
        told = [each.type for each in yard.tally.notifications.list(yard.ann).items]
        assert 1 == told.count("sandbox.idle")
