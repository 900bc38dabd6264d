"""Bugs that shipping systems had in their ledgers and under concurrency (pitfalls 1 to 12, 15 and 18)."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.core.operations import Charge, Part
from tallystick.services.context import Answer, Caller
from tallystick.services.pricing import Usage
from tallystick.store.results import idempotency_of
from tallystick.store.schema import accounts, holds, wallets

ECONOMY = """
[economy]
title = "Pitfalls"
primary_unit = "credits"
default_plan = "free"

[units.credits]
description = "Credits"

[plans.free]
title = "Free"
price_usd = 0

[meters.call]
category = "api"
description = "One call"
[[meters.call.prices]]
kind = "per_unit"
per_unit = 1

[meters.token]
category = "api"
description = "One token"
[[meters.token.prices]]
kind = "per_unit"
per_unit = 0.001
"""

ADMIN = Caller(role="admin", scope="service:operator", name="operator")
SERVICE = Caller(role="service", scope="service:gateway", name="gateway")
CREDIT = 1_000_000


@pytest.fixture
def tally(database_url: str, tmp_path: Path) -> Iterator[Tally]:
    """An open Tallystick without any sign-up grant."""
    path = tmp_path / "pitfalls.toml"
    path.write_text(ECONOMY, encoding="utf-8")
    with Tally.open(database_url, economy=str(path)) as opened:
        yield opened


def customer_with(tally: Tally, amount: int, name: str = "ada") -> str:
    """A customer who holds one grant of so many credits."""
    tally.customers.create(ADMIN, external_id=name)
    if amount:
        grant(tally, amount, f"start-{name}", name)
    return name


def grant(tally: Tally, amount: Decimal | int, key: str, name: str = "ada") -> Any:
    return tally.grants.create(
        ADMIN, customer=name, amount=amount, category="bonus", reason="test", idempotency_key=key
    )


def charge(
    tally: Tally, quantity: Decimal | int, key: str, name: str = "ada", meter: str = "call"
) -> Answer[Any]:
    usage = Usage(meter=meter, quantity=quantity, customer=name)
    return tally.charges.create(SERVICE, usage, idempotency_key=key)


def balance(tally: Tally, name: str = "ada") -> Any:
    return tally.billing.balance(ADMIN, customer=name)


def outcomes(calls: list[Callable[[], Any]]) -> tuple[list[Any], list[errors.Refusal]]:
    """Run all calls at the same time; gives what succeeded and what was refused."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait()
        try:
            return call()
        except errors.Refusal as refusal:
            return refusal

    with ThreadPoolExecutor(len(calls)) as pool:
        done = list(pool.map(run, calls))
    return (
        [each for each in done if not isinstance(each, errors.Refusal)],
        [each for each in done if isinstance(each, errors.Refusal)],
    )


def test_pitfall_01_a_retried_top_up_credits_once(tally: Tally) -> None:
    """The same grant sent again, alone and many times at once, is one grant."""
    customer_with(tally, 0)
    first = grant(tally, 100, "top-up")
    again, refused = outcomes([lambda: grant(tally, 100, "top-up") for _ in range(10)])
    assert {each.value for each in again} | {first.value} == {first.value}
    assert all(each.replayed for each in again)
    assert all(isinstance(each, errors.IdempotencyInFlight) for each in refused)
    assert balance(tally).balance == 100 * CREDIT


def test_pitfall_02_nothing_settles_twice(tally: Tally) -> None:
    """A hold that was captured can be neither captured nor released again, whatever the order."""
    customer_with(tally, 100)
    hold = to_text(
        "hold", tally.holds.create(SERVICE, Usage("call", 10, customer="ada"), idempotency_key="h").value.id
    )
    tally.holds.capture(SERVICE, hold, amount=10, idempotency_key="c1")
    attempts: list[Callable[[], Any]] = [
        partial(tally.holds.capture, SERVICE, hold, amount=10, idempotency_key="c2"),
        partial(tally.holds.release, SERVICE, hold, idempotency_key="r"),
    ]
    for attempt in attempts:
        with pytest.raises(errors.HoldNotOpen, match="captured"):
            attempt()
    assert balance(tally).balance == 90 * CREDIT


def test_pitfall_03_concurrent_writes_never_overwrite_each_other(tally: Tally) -> None:
    """Grants and charges at the same time all count."""
    customer_with(tally, 100)
    calls: list[Callable[[], Any]] = [partial(grant, tally, 5, f"g{n}") for n in range(16)]
    calls += [partial(charge, tally, 3, f"c{n}") for n in range(16)]
    done, refused = outcomes(calls)
    assert (len(done), refused) == (32, [])
    assert balance(tally).balance == (100 + 16 * 5 - 16 * 3) * CREDIT


def test_pitfall_04_a_hundred_requests_against_fifty_credits(tally: Tally) -> None:
    """Exactly fifty of a hundred concurrent charges succeed, and the balance ends at zero."""
    customer_with(tally, 50)
    done, refused = outcomes([partial(charge, tally, 1, f"k{n}") for n in range(100)])
    assert (len(done), len(refused)) == (50, 50)
    assert {refusal.code for refusal in refused} == {"insufficient_credits"}
    assert balance(tally).balance == 0


def test_pitfall_05_a_forgotten_hold_ends_by_itself(database_url: str, tmp_path: Path) -> None:
    """A hold that nobody resolves gives its credits back when its time is up, without any worker."""
    path = tmp_path / "pitfalls.toml"
    path.write_text(ECONOMY, encoding="utf-8")
    moment = [1_800_000_000_000_000]
    with Tally.open(database_url, economy=str(path), source=lambda: moment[0]) as tally:
        customer_with(tally, 10)
        tally.holds.create(SERVICE, Usage("call", 10, customer="ada"), idempotency_key="h", expires_in=60)
        with pytest.raises(errors.InsufficientCredits):
            charge(tally, 1, "early")
        moment[0] += 61 * 1_000_000
        assert charge(tally, 1, "late").value.available == 9 * CREDIT


def test_pitfall_06_a_revoked_keys_holds_are_not_stranded(tally: Tally) -> None:
    """The holds of a key that is revoked can still be resolved by an admin, and by another key of the same service."""
    customer_with(tally, 100)
    key = tally.keys.create(ADMIN, name="gateway", role="service")
    caller = tally.identity.authenticate(key.key, tally.clock.now())
    made = [
        tally.holds.create(caller, Usage("call", 10, customer="ada"), idempotency_key=f"h{n}").value.id
        for n in (1, 2)
    ]
    tally.keys.revoke(ADMIN, to_text("key", key.id))
    tally.holds.release(ADMIN, to_text("hold", made[0]), idempotency_key="r1")
    renewed = tally.identity.authenticate(
        tally.keys.create(ADMIN, name="gateway", role="service").key, tally.clock.now()
    )
    tally.holds.capture(renewed, to_text("hold", made[1]), amount=4, idempotency_key="c2")
    assert (balance(tally).available, balance(tally).held) == (96 * CREDIT, 0)


def test_pitfall_07_capturing_more_than_was_held_charges_all_of_it(tally: Tally) -> None:
    """What was used beyond the hold is drawn too; when it is not there, nothing is captured and the hold stays open."""
    customer_with(tally, 100)
    first, second = (
        to_text(
            "hold",
            tally.holds.create(SERVICE, Usage("call", 10, customer="ada"), idempotency_key=key).value.id,
        )
        for key in ("h1", "h2")
    )
    captured = tally.holds.capture(SERVICE, first, amount=25, idempotency_key="c1").value
    assert (captured.captured, captured.balance) == (25 * CREDIT, 75 * CREDIT)
    with pytest.raises(errors.InsufficientCredits) as refused:
        tally.holds.capture(SERVICE, second, amount=76, idempotency_key="c2")
    assert refused.value.fields["required"] == 66 * CREDIT
    assert (balance(tally).balance, balance(tally).held) == (75 * CREDIT, 10 * CREDIT)
    assert tally.holds.capture(SERVICE, second, amount=75, idempotency_key="c2").value.balance == 0


def test_pitfall_08_a_refused_hold_cannot_be_captured(tally: Tally) -> None:
    """A hold that was refused does not exist, under its key neither."""
    customer_with(tally, 5)
    with pytest.raises(errors.InsufficientCredits):
        tally.holds.create(SERVICE, Usage("call", 10, customer="ada"), idempotency_key="h")
    with tally.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(holds)) == 0
    with pytest.raises(errors.NotFound):
        tally.holds.capture(SERVICE, to_text("hold", 1), amount=1, idempotency_key="c")
    grant(tally, 5, "more")
    assert (
        tally.holds.create(SERVICE, Usage("call", 10, customer="ada"), idempotency_key="h").replayed is False
    )


async def run_batch(tally: Tally, quantities: list[object]) -> list[Any]:
    usages = [
        (Usage("call", quantity, customer="ada"), f"b{index}")  # type: ignore[arg-type]
        for index, quantity in enumerate(quantities)
    ]
    return await tally.charges.create_batch(SERVICE, usages)


def test_pitfall_09_each_item_of_a_bulk_call_stands_alone(tally: Tally) -> None:
    """A refused item of a batch changes nothing, and keeps no other item from being charged."""
    import asyncio

    customer_with(tally, 10)
    first, second, third, fourth = asyncio.run(run_batch(tally, [4, 7, -1, 6]))
    assert first.value.balance == 6 * CREDIT
    assert isinstance(second, errors.InsufficientCredits)
    assert isinstance(third, errors.InvalidQuantity)
    assert fourth.value.balance == 0


def test_pitfall_10_a_refund_cannot_be_refunded(tally: Tally) -> None:
    """A refund is no charge, so it has no refund; and a charge goes back once."""
    customer_with(tally, 100)
    made = charge(tally, 10, "k").value
    refund = tally.charges.refund(ADMIN, to_text("chg", made.id), idempotency_key="r1").value
    with pytest.raises(errors.NotFound):
        tally.charges.refund(ADMIN, to_text("chg", refund.id), idempotency_key="r2")
    with pytest.raises(errors.ExceedsRefundable):
        tally.charges.refund(ADMIN, to_text("chg", made.id), idempotency_key="r3")
    assert balance(tally).balance == 100 * CREDIT


def test_pitfall_11_two_captures_at_once_take_once(tally: Tally) -> None:
    """Of captures that race for one hold, exactly one wins."""
    customer_with(tally, 100)
    hold = to_text(
        "hold", tally.holds.create(SERVICE, Usage("call", 10, customer="ada"), idempotency_key="h").value.id
    )
    done, refused = outcomes(
        [partial(tally.holds.capture, SERVICE, hold, amount=10, idempotency_key=f"c{n}") for n in range(12)]
    )
    assert (len(done), {refusal.code for refusal in refused}) == (1, {"hold_not_open"})
    assert (balance(tally).balance, balance(tally).held) == (90 * CREDIT, 0)


def test_pitfall_12_a_hold_counts_in_available(tally: Tally) -> None:
    """What is held cannot be spent, and shows as held and not as available."""
    customer_with(tally, 10)
    tally.holds.create(SERVICE, Usage("call", 8, customer="ada"), idempotency_key="h")
    seen = balance(tally)
    assert (seen.balance, seen.available, seen.held) == (10 * CREDIT, 2 * CREDIT, 8 * CREDIT)
    with pytest.raises(errors.InsufficientCredits):
        charge(tally, 3, "k")


def test_pitfall_15_totals_never_overflow(tally: Tally) -> None:
    """An amount that would not fit into what can be counted is refused, alone, and nothing is changed."""
    customer_with(tally, 10)
    tally.database.transact(fill_nearly)
    with pytest.raises(errors.AmountTooLarge):
        grant(tally, 1_000_000_000, "huge")
    assert balance(tally).balance == 10 * CREDIT
    assert charge(tally, 1, "small").value.balance == 9 * CREDIT


def fill_nearly(connection: sa.engine.Connection) -> None:
    """As if nearly everything that can be counted had been issued already."""
    connection.execute(
        accounts.update()
        .where(accounts.c.code == "issuance:bonus")
        .values(debits_posted=(1 << 63) - 1_000_000_000)
    )


def test_pitfall_18_a_hot_wallet_is_updated_once_per_batch(
    tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred charges of one wallet in one batch update each of its rows once."""
    customer_with(tally, 1000)
    updates: list[tuple[str, int]] = []
    change = tally.database.driver.change

    def watch(raw: Any, what: Any, rows: Any) -> None:
        updates.append((what.table, len(rows)))
        change(raw, what, rows)

    monkeypatch.setattr(tally.database.driver, "change", watch)
    number = tally.customers.resolve(ADMIN, "ada")
    operations = [
        Charge(
            customer_id=number,
            caller="test",
            parts=(Part("call", "api", "credits", CREDIT),),
            meter="call",
            quantity=CREDIT,
            idempotency=idempotency_of("test", str(n)),
            request_digest="same",
        )
        for n in range(100)
    ]
    posted = tally.database.transact(
        lambda connection: tally.context.ledger.post(connection, operations, now=tally.context.now())
    )
    assert [outcome.refusal for outcome in posted] == [None] * 100
    assert sum(count for table, count in updates if table == "wallets") == 1
    assert sum(count for table, count in updates if table == "accounts") == 2
    with tally.database.read() as connection:
        stored = connection.execute(sa.select(wallets.c.balance, wallets.c.sequence)).one()
    assert tuple(stored) == (900 * CREDIT, 101)
    assert json.dumps(balance(tally).balance) == str(900 * CREDIT)
