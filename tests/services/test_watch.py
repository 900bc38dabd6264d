"""The balance watch: one message for each threshold that a balance passes, whoever charges and whoever looks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from tallystick.bootstrap import Tally
from tallystick.core.errors import InsufficientCredits, UnknownCustomer, UnknownUnit
from tallystick.core.watch import Watch
from tallystick.services.context import SYSTEM
from tallystick.services.due_work import DueWork
from tallystick.services.watch import EXPIRING, BalanceWatch
from tallystick.store import notifications, wallets
from tallystick.store.audit import audit
from tallystick.store.schema import balance_alerts, refill_requests
from tallystick.store.schema_notifications import notifications as table
from tallystick.worker import Worker
from tests.services.installation import at_once
from tests.tallies import ECONOMY, USER, World

THRESHOLDS = "credits = [10, 50]"


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer who is told below 50 and below 10 credits; the audit finds nothing in the end."""
    with World(database_url, tmp_path) as world:
        yield world
        assert audit(world.tally.database).ok


def look(world: World, tally: Tally | None = None) -> list[tuple[str, float, float | None]]:
    """Let a worker take its turn; gives the messages so far: type, threshold and available amount."""
    of = tally or world.tally
    DueWork(
        of.context, of.watch, of.tasks
    ).run_once()  # without the payments, which would take the requests for refills
    return told(world)


def told(world: World, *, customer: str = USER) -> list[tuple[str, float, float | None]]:
    """The messages about balances so far."""
    return [
        (kind, data["threshold"], data["available"])
        for kind, data in messages(world, customer=customer)
        if kind.startswith("balance.")
    ]


def messages(world: World, *, customer: str = USER) -> list[tuple[str, dict[str, Any]]]:
    """What the watch told a customer, in the order of the messages' numbers."""
    with world.tally.database.read() as connection:
        rows = connection.execute(
            sa.select(table.c.type, table.c.data)
            .where(table.c.customer_id == number_of(world, customer))
            .where(sa.or_(table.c.type.like("balance.%"), table.c.type == EXPIRING))
            .order_by(table.c.sequence)
        )
        return [(kind, json.loads(data)) for kind, data in rows]


def number_of(world: World, customer: str = USER) -> int:
    return world.tally.customers.resolve(SYSTEM, customer)


def watch_of(world: World, unit: str = "credits", *, customer: str = USER) -> tuple[Watch, int | None]:
    """What a wallet is watched for."""
    with world.tally.database.read() as connection:
        wallet = wallets.of_customer(connection, number_of(world, customer))[unit]
        return wallet.watch, wallet.refill_below


def alerts(world: World) -> int:
    """How many marks wait for a worker."""
    return count(world, balance_alerts)


def refills(world: World) -> int:
    """How many refills have been asked for."""
    return count(world, refill_requests)


def count(world: World, rows: sa.Table) -> int:
    with world.tally.database.read() as connection:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(rows)) or 0)


def refill_below(world: World, credits_: int | None) -> None:
    """Set up a refill."""
    micros = None if credits_ is None else credits_ * 1_000_000
    context = world.tally.context
    context.database.transact(
        lambda connection: context.ledger.set_refill_below(
            connection, number_of(world), "credits", micros, now=context.now()
        )
    )


def well(world: World) -> None:
    """A balance of 100, which a worker has seen."""
    world.grant(100)
    assert [] == look(world)
    assert (Watch(None, 50_000_000, None), None) == watch_of(world)


# --- what is told ------------------------------------------------------------------------------------------


def test_a_charge_across_a_threshold_is_told_once(world: World) -> None:
    """With the threshold and what is available; further charges below it say nothing new."""
    well(world)
    world.charge(50)
    assert 0 == alerts(world)
    world.charge(1)
    assert 1 == alerts(world)
    assert [("balance.low", 50, 49)] == look(world)
    world.charge(20)
    assert 0 == alerts(world)
    assert [("balance.low", 50, 49)] == look(world)
    assert {"unit", "threshold", "available"} == set(messages(world)[0][1])


def test_fifty_charges_at_once_are_told_once(world: World) -> None:
    """Below the threshold each of them could be the one."""
    well(world)
    at_once([partial(world.charge, 1)] * 50)
    assert 50 == world.available()
    at_once([partial(world.charge, 1)] * 30)
    assert [("balance.low", 50, 20)] == look(world)


def test_pitfall_49_a_flapping_balance_gives_one_message(world: World) -> None:
    """Ten times below and above the threshold, with a worker that looks each time."""
    well(world)
    world.charge(51)
    for _ in range(10):
        world.grant(5)
        look(world)
        world.charge(5)
        look(world)
    assert [("balance.low", 50, 49)] == told(world)


def test_a_balance_recovers_clearly_above_the_threshold(world: World) -> None:
    """A tenth above it; then it may fall again, and is told of again."""
    well(world)
    world.charge(60)
    look(world)
    world.grant(14)
    assert [("balance.low", 50, 40)] == look(world)
    world.grant(1)
    assert [("balance.low", 50, 40), ("balance.recovered", 50, 55)] == look(world)
    world.charge(6)
    assert ("balance.low", 50, 49) == look(world)[-1]


def test_several_thresholds_at_once_are_one_message(world: World) -> None:
    """The lowest says it for all; after a recovery from it the higher one still stands."""
    well(world)
    world.charge(95)
    assert [("balance.low", 10, 5)] == look(world)
    world.charge(5)
    assert ("balance.depleted", 0, 0) == look(world)[-1]
    world.grant(20)
    assert ("balance.recovered", 10, 20) == look(world)[-1]
    world.grant(80)
    assert ("balance.recovered", 50, 100) == look(world)[-1]
    assert 4 == len(told(world))


def test_nothing_is_told_of_a_customer_who_began_with_nothing(world: World) -> None:
    """Nor that the first credits brought the balance above a threshold."""
    assert (Watch(None, None, 11_000_000), None) == watch_of(world)
    world.grant(5)
    assert [] == look(world)
    world.grant(100)
    assert [] == look(world)
    world.charge(100)
    assert [("balance.low", 10, 5)] == look(world)


def test_holds_expiries_and_clawbacks_are_watched_as_well(world: World) -> None:
    """What can be spent counts, and whatever changes it."""
    well(world)
    world.hold(60)
    assert ("balance.low", 50, 40) == look(world)[-1]
    world.clock.advance("PT2H")
    assert ("balance.recovered", 50, 100) == look(world)[-1]
    grant = world.grant(10, "purchase")
    world.grant(40, expires_at="2027-01-20T00:00:00Z", priority=60)
    world.charge(65)
    look(world)
    world.clock.set("2027-01-21T00:00:00Z")
    look(world)
    assert ("balance.low", 50, 45) == look(world)[-1]
    world.claw_back(grant, 10)
    look(world)
    world.charge(world.available())
    assert ["balance.low", "balance.recovered", "balance.low", "balance.depleted"] == [
        kind for kind, _, _ in look(world)
    ]


def test_a_unit_without_thresholds_is_not_watched(world: World) -> None:
    """Not even that nothing is left."""
    world.grant(20, unit="tokens")
    world.grant(100)
    world.charge(10, "both")
    look(world)
    assert (Watch(), None) == watch_of(world, "tokens")
    assert [] == told(world)


def test_a_frozen_wallet_says_nothing_before_its_thaw(world: World) -> None:
    """A mark from before waits no longer than the others; the thaw leaves a new one."""
    well(world)
    world.charge(60)
    world.freeze()
    assert [] == look(world)
    assert 0 == alerts(world)
    world.thaw()
    assert [("balance.low", 50, 40)] == look(world)


def test_an_unlimited_plan_is_never_low(world: World) -> None:
    """It brings a low balance back, without a figure; after it the balance is told of when it falls again."""
    well(world)
    world.charge(60)
    assert [("balance.low", 50, 40)] == look(world)
    world.plan("unlimited")
    assert ("balance.recovered", 50, None) == look(world)[-1]
    world.charge(500)
    assert 2 == len(look(world))
    world.plan("none")
    assert ("balance.low", 50, 40) == look(world)[-1]


# --- whoever looks -----------------------------------------------------------------------------------------


def test_two_workers_at_once_tell_once(world: World) -> None:
    """Each customer's mark is taken by one of them."""
    names = [f"c{number}" for number in range(8)]
    for name in names:
        world.customer(name)
        world.grant(100, customer=name)
    look(world)
    with ExitStack() as stack:
        tallies = [stack.enter_context(world.open()) for _ in range(3)]
        for turn in range(3):
            for name in names:
                world.charge(60, customer=name)
            done = at_once([tally.watch.run_once for tally in tallies])
            assert 8 == sum(each.get("balance_notice", 0) for each in done if isinstance(each, dict))
            for name in names:
                world.grant(60, customer=name)
            at_once([tally.watch.run_once for tally in tallies])
            for name in names:
                kinds = [kind for kind, _, _ in told(world, customer=name)]
                assert ["balance.low", "balance.recovered"] * (turn + 1) == kinds


def test_a_mark_survives_a_process_that_ends(world: World) -> None:
    """The charge has committed, and nobody has looked."""
    well(world)
    world.charge(60)
    world.tally.close()
    world.tally = world.open()
    assert [("balance.low", 50, 40)] == look(world)


def test_a_message_and_its_mark_go_together(world: World) -> None:
    """A worker that ends in between has told nothing, and the next one finds the mark."""
    well(world)
    world.charge(60)
    ledger = type(world.tally.context.ledger)
    with (
        mock.patch.object(ledger, "set_watch", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        look(world)
    assert [] == told(world)
    assert 1 == alerts(world)
    assert [("balance.low", 50, 40)] == look(world)


def test_one_customer_who_cannot_be_looked_at_keeps_nobody_from_it(world: World) -> None:
    """The worker comes back to it after an hour."""
    well(world)
    world.customer("bob")
    world.grant(100, customer="bob")
    look(world)
    world.charge(60, customer="bob")
    world.charge(60)
    emit, bob = notifications.emit, number_of(world, "bob")

    def fail_for_bob(*arguments: Any, customer_id: int, **named: Any) -> int:
        if customer_id == bob:
            raise ValueError
        return emit(*arguments, customer_id=customer_id, **named)

    with mock.patch.object(notifications, "emit", fail_for_bob):
        assert [("balance.low", 50, 40)] == look(world)
    look(world)
    assert [] == told(world, customer="bob")
    world.clock.advance("PT1H1M")
    look(world)
    assert [("balance.low", 50, 40)] == told(world, customer="bob")


def test_a_process_that_remembers_the_wallet_follows_the_figures(world: World) -> None:
    """Another process has told and set them; charges from memory do not leave marks by the old ones, nor miss new ones."""
    well(world)
    with world.open() as other:
        world.charge(45)
        world.charge(6)
        assert [("balance.low", 50, 49)] == look(world, other)
        for _ in range(20):
            world.charge(1)
        assert 0 == alerts(world)
        world.charge(20)
        assert [("balance.low", 50, 49), ("balance.low", 10, 9)] == look(world, other)
        refill_below(world, 5)
        world.charge(4)
        assert 0 == alerts(world)
        world.charge(1)
        look(world, other)
        assert 1 == refills(world)


def test_the_worker_of_the_same_process_is_woken(world: World) -> None:
    """Long before its pause is over."""
    well(world)
    worker = Worker(world.tally, pause_seconds=30)
    done = threading.Event()
    run_once = BalanceWatch.run_once

    def watched(service: BalanceWatch) -> dict[str, int]:
        counts = run_once(service)
        if counts.get("balance_notice"):
            done.set()
        return counts

    with mock.patch.object(BalanceWatch, "run_once", watched):
        worker.start()
        try:
            world.charge(60)
            assert done.wait(10)
        finally:
            worker.stop()
    assert [("balance.low", 50, 40)] == told(world)


# --- refills -----------------------------------------------------------------------------------------------


def test_a_charge_below_the_refills_figure_asks_for_a_refill(world: World) -> None:
    """However many charges there are, and independently of what is told."""
    well(world)
    refill_below(world, 30)
    world.charge(70)
    look(world)
    assert 0 == refills(world)
    at_once([partial(world.charge, 1)] * 10)
    look(world)
    assert 1 == refills(world)
    assert [("balance.low", 50, 30)] == told(world)


def test_a_figure_that_the_balance_is_below_already_asks_at_once(world: World) -> None:
    """Without waiting for a charge; ended, nothing is asked any more."""
    world.grant(20)
    look(world)
    refill_below(world, 20)
    look(world)
    assert 0 == refills(world)
    refill_below(world, 21)
    look(world)
    assert 1 == refills(world)
    with world.tally.database.write() as connection:
        connection.execute(refill_requests.delete())
    refill_below(world, None)
    world.charge(15)
    look(world)
    assert 0 == refills(world)


def test_a_refused_charge_asks_for_a_refill(world: World) -> None:
    """It changes nothing, and yet the customer needs credits: after a refill that failed, for example."""
    world.grant(20)
    refill_below(world, 30)
    look(world)
    with world.tally.database.write() as connection:
        connection.execute(refill_requests.delete())
    before = world.entries()
    for attempt in range(3):
        with pytest.raises(InsufficientCredits):
            world.charge(21) if attempt else world.hold(21)
        assert 1 == alerts(world)
    assert before == world.entries()
    look(world)
    assert 1 == refills(world)


def test_neither_a_frozen_wallet_nor_an_unlimited_plan_asks_for_a_refill(world: World) -> None:
    """The thaw and the next plan do."""
    world.grant(20)
    world.freeze()
    refill_below(world, 30)
    look(world)
    assert 0 == refills(world)
    world.plan("unlimited")
    world.thaw()
    look(world)
    world.charge(5)
    look(world)
    assert 0 == refills(world)
    world.plan("none")
    look(world)
    assert 1 == refills(world)


def test_refills_of_nobody_and_of_nothing_are_refused(world: World) -> None:
    """Names that do not exist."""
    context = world.tally.context
    for customer_id, unit, refusal in ((5, "credits", UnknownCustomer), (number_of(world), "x", UnknownUnit)):
        with pytest.raises(refusal), context.database.write() as connection:
            context.ledger.set_refill_below(connection, customer_id, unit, 5, now=context.now())


# --- other thresholds --------------------------------------------------------------------------------------


def with_thresholds(world: World, line: str) -> None:
    """The operator loads an economy with other thresholds."""
    world.tally.economies.activate(world.write_economy(ECONOMY.replace(THRESHOLDS, line)))


def test_new_thresholds_hold_for_everybody_after_a_turn(world: World) -> None:
    """Also for those whom nobody charges meanwhile, and in units that had none; nobody is told anything yet."""
    well(world)
    world.grant(30, unit="tokens")
    with_thresholds(world, "credits = [10, 50, 120]\ntokens = [25]")
    assert [] == look(world)
    assert (Watch(None, 50_000_000, 132_000_000), None) == watch_of(world)
    assert (Watch(None, 25_000_000, None), None) == watch_of(world, "tokens")
    assert {} == world.tally.watch.run_once()
    world.charge(5, "both")
    assert [("balance.low", 25, 20)] == look(world)


def test_a_database_of_an_earlier_version_is_watched_after_a_turn(world: World) -> None:
    """Its wallets have no figures; nobody is told of what was so before."""
    names = [f"c{number}" for number in range(5)]
    for name in names:
        world.customer(name)
        world.grant(20, customer=name)
    with world.tally.database.write() as connection:
        connection.execute(
            sa.text("UPDATE wallets SET told_below = NULL, watch_below = NULL, watch_above = NULL")
        )
        connection.execute(sa.text("DELETE FROM settings WHERE name = 'balances_placed'"))
        connection.execute(balance_alerts.delete())
    with world.open() as tally, mock.patch("tallystick.services.watch.WALLETS_PER_BATCH", 3):
        assert {"balance_placed": 6} == tally.watch.run_once()
        assert {} == tally.watch.run_once()
    for name in names:
        assert (Watch(None, 10_000_000, 55_000_000), None) == watch_of(world, customer=name)
        assert [] == told(world, customer=name)


def test_a_process_with_an_older_economy_does_not_bring_back_its_thresholds(world: World) -> None:
    """What was activated last counts for all workers."""
    well(world)
    with world.open() as older:
        with_thresholds(world, "credits = [80]")
        assert [] == look(world)
        world.charge(25)
        assert [("balance.low", 80, 75)] == look(world, older)
        assert {} == older.watch.run_once()
        assert (Watch(80_000_000, 1, 88_000_000), None) == watch_of(world)


# --- credits that expire -----------------------------------------------------------------------------------


def expiries(world: World) -> list[tuple[float, str]]:
    """What was told of expiries: how much is left, and when it expires."""
    return [(data["remaining"], data["expires_at"]) for kind, data in messages(world) if kind == EXPIRING]


def test_credits_that_expire_are_told_of_a_week_before(world: World) -> None:
    """Once, with what is left of them by then; nothing of those that are used up."""
    grant = world.grant(30, expires_at="2027-01-31T00:00:00Z")
    world.grant(20, expires_at="2027-01-30T00:00:00Z", priority=1)
    world.charge(25)
    look(world)
    world.clock.set("2027-01-23T23:59:59Z")
    look(world)
    assert [] == expiries(world)
    world.clock.set("2027-01-24T00:00:01Z")
    assert {"expiry_notice": 1} == world.tally.watch.run_once()
    assert [(25, "2027-01-31T00:00:00Z")] == expiries(world)
    [(_, data)] = messages(world)
    assert {"grant": grant, "unit": "credits", "category": "bonus"} == {
        name: data[name] for name in ("grant", "unit", "category")
    }
    with world.open() as other:
        assert {} == other.watch.run_once()
    world.clock.advance("P20D")
    look(world)
    assert 1 == len(expiries(world))


def test_several_workers_tell_of_each_grant_once(world: World) -> None:
    """A batch at a time; short-lived grants are not told of, and neither are those that have gone."""
    for hour in range(1, 8):
        world.grant(hour, expires_at=f"2027-01-31T0{hour}:00:00Z")
    world.clock.set("2027-01-25T12:00:00Z")
    world.grant(50, expires_at="2027-01-31T00:00:00Z")
    with (
        world.open() as first,
        world.open() as second,
        mock.patch("tallystick.services.watch.GRANTS_PER_BATCH", 2),
    ):
        done = at_once([tally.watch.run_once for tally in (first, second, world.tally)])
    assert 7 == sum(each.get("expiry_notice", 0) for each in done if isinstance(each, dict))
    assert [1, 2, 3, 4, 5, 6, 7] == sorted(remaining for remaining, _ in expiries(world))


def test_the_time_of_a_frozen_wallet_stands_still(world: World) -> None:
    """Its credits are told of a week before they really expire."""
    world.grant(30, expires_at="2027-01-31T00:00:00Z")
    world.clock.set("2027-01-21T00:00:00Z")
    world.freeze()
    world.clock.set("2027-01-26T00:00:00Z")
    look(world)
    world.thaw()
    look(world)
    assert [] == expiries(world)
    world.clock.set("2027-01-29T00:00:01Z")
    look(world)
    assert [(30, "2027-02-05T00:00:00Z")] == expiries(world)


def test_a_moved_expiry_is_not_told_of_again(world: World) -> None:
    """A grant is told of once, also when its wallet was frozen afterwards; the note goes when the grant has gone."""
    world.grant(30, expires_at="2027-01-31T00:00:00Z")
    world.clock.set("2027-01-25T00:00:00Z")
    look(world)
    world.freeze()
    world.clock.set("2027-01-28T00:00:00Z")
    world.thaw()
    with world.open() as other:
        assert {} == other.watch.run_once()
    assert [(30, "2027-01-31T00:00:00Z")] == expiries(world)
    world.clock.set("2027-02-20T00:00:00Z")
    assert 1 == world.tally.due_work.run_all()["expiry_notices"]


def test_looking_for_expiries_reads_the_index(world: World) -> None:
    """However many grants there are, only those that expire soon are looked at."""
    world.grant(1, expires_at="2027-01-31T00:00:00Z")
    plans: list[str] = []
    with world.tally.database.write() as connection:

        def explain(_connection: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
            if "expiry_notices" in statement and "accounts" in statement:
                prefix = "EXPLAIN QUERY PLAN " if world.tally.database.is_sqlite else "EXPLAIN "
                cursor.execute(prefix + statement, parameters)
                plans.append(str(cursor.fetchall()))

        if not world.tally.database.is_sqlite:
            connection.execute(sa.text("SET LOCAL enable_seqscan TO off"))
        sa.event.listen(connection, "before_cursor_execute", explain)
        from tallystick.store import watches

        watches.expiring(connection, after=(0, 0), until=2**62, lifetime=0, limit=5)
    [plan] = plans
    assert "ix_accounts_expiring" in plan


def test_the_test_clock_tells_what_it_let_happen(world: World) -> None:
    """The worker's turn belongs to the move."""
    world.grant(60, expires_at="2027-01-12T00:00:00Z")
    look(world)
    with Tally.open(world.url, economy=world.economy, test_mode=True, source=world.clock) as tally:
        _, ran = tally.test_clock.move(mock.Mock(is_admin=True), advance="P3D")
    assert {"expiry": 1, "balance_look": 1, "balance_notice": 1} == {name: n for name, n in ran if n}
    assert ("balance.depleted", 0, 0) == told(world)[-1]
