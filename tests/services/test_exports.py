"""Exports of statements, usage and payments: whole, in order, in bounded memory, whatever is booked meanwhile."""

import asyncio
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from threading import Event, Thread

import pytest

from tallystick.api.answers.exports import TRANSACTIONS, csv_file
from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import from_text, to_text
from tallystick.core.times import format_rfc3339, parse_rfc3339
from tallystick.services import exports
from tallystick.services.context import SYSTEM
from tallystick.services.exports import Export, StatementLine
from tallystick.services.pricing import Usage
from tallystick.store import payments as payment_rows
from tests.tallies import USER, World, whole

LINES = 20_000


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A Tally with one customer."""
    with World(database_url, tmp_path) as made:
        yield made


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of three lines, and of one day."""
    monkeypatch.setattr(exports, "PAGE_LINES", 3)
    monkeypatch.setattr(exports, "PAGE_DAYS", 1)


def statement(found: Export[StatementLine]) -> list[StatementLine]:
    """All lines, after checking that they follow from each other."""
    lines = [line for page in found.pages for line in page]
    for before, after in pairwise(lines):
        assert before.number + 1 == after.number
        assert before.balance_after + after.amount == after.balance_after
        assert before.at <= after.at
    return lines


def charge_many(world: World, count: int) -> None:
    """Charges of one credit, a thousand at a time."""
    for first in range(0, count, 1000):
        work: list[tuple[Usage, str | None] | errors.Refusal] = [
            (Usage("work", customer=USER), f"many {number}") for number in range(first, first + 1000)
        ]
        outcomes = asyncio.run(world.tally.charges.create_batch(SYSTEM, work))
        assert not any(isinstance(each, errors.Refusal) for each in outcomes)


def pay(
    world: World, number: int, *, customer: str = USER, status: str = "paid", unit: str = "credits"
) -> int:
    """A payment's row, as if the provider had said so."""
    customer_id = world.tally.customers.resolve(SYSTEM, customer)
    payment_id = world.tally.context.new_id()
    values = {
        "id": payment_id,
        "customer_id": customer_id,
        "kind": "amount",
        "status": status,
        "provider": "simulated",
        "live": False,
        "unit": unit,
        "credits": number * MICROS,
        "amount_cents": number,
        "currency": "usd",
        "title": f"payment {number}",
        "economy": world.tally.context.economy().version,
        "created_at": world.clock(),
        "token": "t",
    }
    world.tally.database.transact(lambda connection: payment_rows.add(connection, **values))
    return payment_id


@pytest.mark.usefixtures("short_pages")
def test_a_statement_is_exported_whole_and_oldest_first(world: World) -> None:
    """Each line once, numbered without a gap, with what the list in pages says of it too."""
    grant = world.grant(50, reason="gift")
    for _ in range(7):
        world.clock.advance("PT1H")
        world.charge(2)
    held = world.hold(5)
    captured = world.capture(held, 3)
    world.refund(captured, 1)
    lines = statement(world.tally.exports.transactions(SYSTEM, customer=USER))
    entries = world.entries()
    assert [number + 1 for number in range(len(entries))] == [line.number for line in lines]
    assert [
        (each.id, each.date, each.type, each.category, each.meter, each.amount, each.balance_after, each.reference)
        for each in entries
    ] == [
        (each.transaction_id, each.at, each.type, each.category, each.meter, each.amount, each.balance_after,
         each.reference)
        for each in lines
    ]  # fmt: skip
    assert (grant, captured) == (lines[0].reference, lines[-2].reference)
    assert world.balance().balance == sum(line.amount for line in lines) == lines[-1].balance_after


@pytest.mark.usefixtures("short_pages")
def test_an_export_of_a_month_begins_where_the_last_one_ended(world: World) -> None:
    """`from` is included and `to` is not, so that months fit together."""
    world.grant(100)
    for day in range(1, 20):
        world.clock.set(f"2027-01-{11 + day:02d}T00:00:00Z")
        world.charge(1)
    cut = parse_rfc3339("2027-01-20T00:00:00Z")
    of = world.tally.exports.transactions
    first, rest = (
        statement(of(SYSTEM, customer=USER, end=cut)),
        statement(of(SYSTEM, customer=USER, start=cut)),
    )
    assert statement(of(SYSTEM, customer=USER)) == first + rest
    assert (9, cut) == (len(first), rest[0].at)
    assert first[-1].balance_after == rest[0].balance_after - rest[0].amount
    start, end = parse_rfc3339("2027-01-21T00:00:00Z"), parse_rfc3339("2027-01-23T00:00:00Z")
    assert [21, 22] == [
        int(format_rfc3339(line.at)[8:10])
        for line in statement(of(SYSTEM, customer=USER, start=start, end=end))
    ]


def sent(found: Export[StatementLine]) -> tuple[int, int]:
    """How many bytes a file has, and how many were needed at once to make it."""

    async def send() -> int:
        size = 0
        async for piece in csv_file("transactions", found, TRANSACTIONS).body_iterator:
            size += len(piece)
        return size

    tracemalloc.start()
    try:
        return asyncio.run(send()), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_long_statement_needs_little_memory(world: World) -> None:
    """20,000 lines take no more than 2,000, and no page has more lines than it may."""
    world.grant(LINES)
    charge_many(world, LINES)

    def begun() -> Export[StatementLine]:
        return world.tally.exports.transactions(SYSTEM, customer=USER)

    few = 2000 // exports.PAGE_LINES
    sent(replace(begun(), pages=islice(begun().pages, few)))  # what is made once is made
    few_bytes, few_peak = sent(replace(begun(), pages=islice(begun().pages, few)))
    all_bytes, all_peak = sent(begun())
    assert all_bytes > 9 * few_bytes
    assert all_peak < 1.3 * few_peak
    assert all_peak < all_bytes / 2
    sizes = [len(page) for page in begun().pages]
    assert (LINES + 1, exports.PAGE_LINES) == (sum(sizes), max(sizes))


@pytest.mark.usefixtures("short_pages")
def test_charges_go_on_while_a_statement_is_exported(world: World) -> None:
    """No line is missing and none comes twice; what came later is in the next export."""
    world.grant(10_000)
    for _ in range(10):
        world.charge(1)
    ended, charged = Event(), Event()

    def charge_on() -> None:
        while not ended.is_set():
            world.charge(1)
            charged.set()

    thread = Thread(target=charge_on)
    thread.start()
    lengths = []
    try:
        for _ in range(3):
            for _ in range(2):  # the first may have been made before
                charged.clear()
                assert charged.wait(60)
            found = world.tally.exports.transactions(SYSTEM, customer=USER)
            lines = statement(found)
            assert list(range(1, len(lines) + 1)) == [line.number for line in lines]
            assert len(lines) == len({line.transaction_id for line in lines})
            lengths.append(len(lines))
    finally:
        ended.set()
        thread.join()
    assert 11 <= lengths[0] < lengths[1] < lengths[2]


@pytest.mark.usefixtures("short_pages")
def test_what_is_booked_between_two_pages_is_not_in_the_export(world: World) -> None:
    """It ends where the statement ended when it began, also where a bound lies in the future."""
    world.grant(100)
    for _ in range(4):
        world.charge(1)
    later = parse_rfc3339("2030-01-01T00:00:00Z")
    for end in (None, later):
        before = world.entries()
        found = world.tally.exports.transactions(SYSTEM, customer=USER, end=end)
        lines = list(next(found.pages))
        world.charge(1)
        world.charge(1)
        lines += [line for page in found.pages for line in page]
        assert len(before) == len(lines)


@pytest.mark.usefixtures("short_pages")
def test_usage_by_meter_is_that_of_the_statement(world: World) -> None:
    """For each day and meter: what was charged, what went back, and how many lines it sums."""
    world.grant(500)
    world.charge(3)
    first = world.charge(4)
    world.clock.advance("P1D")
    world.refund(first, 1)
    world.charge(2, "limited")
    world.clock.advance("P40D")
    world.charge(5)
    found = world.tally.exports.usage(SYSTEM, customer=USER)
    lines = [line for page in found.pages for line in page]
    assert [
        ("2027-01-10", "work", 2, 7, 0, 7),
        ("2027-01-11", "limited", 1, 1, 0, 1),
        ("2027-01-11", "work", 1, 0, 1, -1),
        ("2027-02-20", "work", 1, 5, 0, 5),
    ] == [
        (each.date, each.meter, each.entries, whole(each.charged), whole(each.refunded),
         whole(each.spent))
        for each in lines
    ]  # fmt: skip
    assert world.balance().spent == sum(line.spent for line in lines)


def test_usage_has_what_work_between_customers_cost_and_earned(world: World) -> None:
    """Without a meter; the days' sums are those that `usage` shows."""
    world.customer("bob")
    world.grant(50)
    world.tally.settlements.create(SYSTEM, payer=USER, payee="bob", price=20, idempotency_key="s")
    shown = {name: world.tally.billing.usage(SYSTEM, customer=name).totals for name in (USER, "bob")}
    for name in (USER, "bob"):
        found = world.tally.exports.usage(SYSTEM, customer=name)
        lines = [line for page in found.pages for line in page]
        assert {None} == {line.meter for line in lines}
        assert (shown[name].spent, shown[name].earned) == (
            sum(line.spent for line in lines),
            sum(line.earned for line in lines),
        )
    assert (20 * MICROS, 20 * MICROS) == (shown[USER].spent, shown["bob"].earned)


@pytest.mark.usefixtures("short_pages")
def test_payments_are_exported_while_they_change(world: World) -> None:
    """Each once, in the order in which they were ordered; those that come meanwhile belong to the next export."""
    made = [pay(world, number) for number in range(1, 8)]
    found = world.tally.exports.payments(SYSTEM, customer=USER)
    first = list(next(found.pages))
    pay(world, 99)
    world.tally.database.transact(
        lambda connection: payment_rows.change(connection, made[5], refunded_cents=6)
    )
    records = first + [record for page in found.pages for record in page]
    assert made == [record.row.id for record in records]
    assert ["succeeded"] * 5 + ["refunded", "succeeded"] == [record.status for record in records]
    assert {USER} == {record.external_id for record in records}
    assert 8 == sum(len(page) for page in world.tally.exports.payments(SYSTEM, customer=USER).pages)


@pytest.mark.usefixtures("short_pages")
def test_payments_of_everybody_and_of_one(world: World) -> None:
    """Services and admins may have everybody's; a customer has its own, and nobody else's."""
    bob = world.customer("bob")
    mine = [pay(world, number) for number in (1, 2, 3, 4)]
    world.clock.advance("P1D")
    his = [pay(world, number, customer="bob", status="failed", unit="tokens") for number in (5, 6)]
    of = world.tally.exports.payments

    def ids(found: Export[exports.PaymentRecord]) -> list[int]:
        return [record.row.id for page in found.pages for record in page]

    assert mine + his == ids(of(SYSTEM, everybody=True))
    assert mine == ids(of(SYSTEM, customer=USER))
    assert his == ids(of(bob)) == ids(of(bob, customer="bob"))
    assert his == ids(of(SYSTEM, everybody=True, unit="tokens"))
    cut = parse_rfc3339("2027-01-11T12:00:00Z")
    assert (mine, his) == (
        ids(of(SYSTEM, everybody=True, end=cut)),
        ids(of(SYSTEM, everybody=True, start=cut)),
    )
    with pytest.raises(errors.NotAllowed):
        of(bob, everybody=True)
    with pytest.raises(errors.UnknownCustomer):
        of(bob, customer=USER)
    with pytest.raises(errors.ValidationFailed):
        of(SYSTEM, customer=USER, everybody=True)
    with pytest.raises(errors.UnknownUnit):
        of(SYSTEM, everybody=True, unit="nothing")


@pytest.mark.usefixtures("short_pages")
def test_a_unit_that_was_dropped_is_still_exported(world: World) -> None:
    """Statement and payments of a unit that the economy does not have any more."""
    world.grant(3, unit="tokens")
    paid = pay(world, 5, unit="tokens")
    text = Path(world.economy).read_text()
    world.write_economy(
        text.replace('[units.tokens]\ndescription = "A second unit"\n', "").partition("[meters.both]")[0]
        + text[text.index("[meters.limited]") :]
    )
    with world.open() as tally:
        assert "tokens" not in tally.context.economy().units
        lines = statement(tally.exports.transactions(SYSTEM, customer=USER, unit="tokens"))
        assert [3 * MICROS] == [line.amount for line in lines]
        [[record]] = tally.exports.payments(SYSTEM, customer=USER, unit="tokens").pages
        assert paid == record.row.id


def test_a_grant_says_what_it_was_given_for(world: World) -> None:
    """So do its clawback and its expiry; a line that belongs to no grant says nothing."""
    number = world.tally.context.new_id()
    payment = to_text("pay", number)
    grant = world.tally.grants.create(
        SYSTEM,
        customer=USER,
        amount=10,
        category="purchase",
        reference=payment,
        expires_at=parse_rfc3339("2027-02-01T00:00:00Z"),
        idempotency_key="g",
    )
    name = to_text("grant", grant.value.id)
    world.charge(3)
    world.claw_back(name, 2)
    world.clock.set("2027-02-02T00:00:00Z")
    lines = statement(world.tally.exports.transactions(SYSTEM, customer=USER))
    assert ["purchase", "usage", "clawback", "expiry"] == [line.type for line in lines]
    assert [payment, None, payment, payment] == [line.grant_reference for line in lines]
    assert [name, name, name] == [line.reference for line in lines if line.type != "usage"]
    assert number == from_text("pay", payment)
