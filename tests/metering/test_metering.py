"""Metering through a server that goes away at any step: what was delivered is charged once, and nothing else is."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from unittest import mock

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.bootstrap import Tally
from tallystick.core.errors import ConfigurationError
from tallystick.metering import Lease, Metering, Receipt, Refused, Rule
from tallystick.metering.orders import Answered, Held, Order, Step
from tallystick.metering.settling import Settler
from tallystick.services.context import SYSTEM
from tests.metering.flaky import AFTER, BEFORE, NEVER, Flaky, flaky

_numbers = itertools.count()
LENT = Rule(meter="work", when_away=Lease(quantity=10))


class Desk:
    """A metering, its flaky way, and customers with 100 credits each."""

    def __init__(self, tally: Tally, file: Path | None = None) -> None:
        self.tally = tally
        with mock.patch.object(Settler, "wake"):  # what is in the file already waits as well
            self.metering = Metering(tally, unsettled_file=file)
        self.way: Flaky = flaky(self.metering, tally)

    def customer(self) -> str:
        """Somebody new."""
        name = f"customer-{next(_numbers)}"
        self.tally.customers.create(SYSTEM, external_id=name)
        self.tally.grants.create(SYSTEM, customer=name, amount=100, category="bonus", idempotency_key=name)
        return name

    def figures(self, customer: str) -> tuple[int | Decimal, int | Decimal]:
        """The balance, and what is held of it."""
        found = self.tally.billing.balance(SYSTEM, customer=customer)
        return Decimal(found.balance).scaleb(-6), Decimal(found.held).scaleb(-6)

    def call(
        self, rule: Rule, order: Order, used: int | None = None, *, fails: bool = False
    ) -> Receipt | None:
        """A call from its beginning to its end. Raises ``Refused`` where it did not run, or gave nothing."""
        held = self.metering.begin(rule, order)
        if held is None:
            return None
        if fails:
            self.metering.give_back(held)
            raise Refused({"code": "FAILED"})
        return self.metering.end(held, used)


def order(customer: str, key: str = "k", quantity: int = 4) -> Order:
    return Order(key=f"{customer}/{key}", customer=customer, meter="work", quantity=quantity)


@pytest.fixture
def desk(tests_tally: Tally, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tests_tally, tmp_path / "unsettled.db")
    yield desk
    desk.metering.close()


@pytest.fixture
def tests_tally(database_url: str, tmp_path: Path) -> Iterator[Tally]:
    economy = tmp_path / "work.toml"
    economy.write_text(
        '[economy]\ntitle = "T"\nprimary_unit = "credits"\ndefault_plan = "none"\n[plans.none]\ntitle = "None"\n'
        '[units.credits]\ndescription = "C"\n[meters.work]\ncategory = "work"\ndescription = "W"\n'
        '[[meters.work.prices]]\nkind = "per_unit"\nper_unit = 1\n'
    )
    with Tally.open(database_url, economy=str(economy)) as tally:
        yield tally


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int, bool, list[str], str, bool]]:
    """Calls: key, used, fails, the faults of their steps, what the rule says of them, whether all is settled after it."""
    fault = st.sampled_from([NEVER, NEVER, BEFORE, AFTER])
    call = st.tuples(
        st.sampled_from("ab"),
        st.integers(1, 4),
        st.booleans(),
        st.lists(fault, max_size=5),
        st.sampled_from(["closed", "lend"]),
        st.booleans(),
    )
    return draw(st.lists(call, min_size=1, max_size=6))


@pytest.mark.slow
def test_whatever_is_delivered_is_charged_once(tests_tally: Tally, tmp_path: Path) -> None:
    """And whatever is not is not charged, whichever step or answer was lost, by which repeat."""
    desk = Desk(tests_tally, tmp_path / "unsettled.db")

    @settings(max_examples=150)
    @given(history=histories())
    def check(history: list[tuple[str, int, bool, list[str], str, bool]]) -> None:
        customer = desk.customer()
        delivered: dict[str, set[int]] = {}
        for key, used, fails, faults, policy, settles in history:
            desk.way.faults = list(faults)
            desk.metering._paused_until = 0  # noqa: SLF001 - time goes by
            rule = LENT if policy == "lend" else Rule(meter="work")
            try:
                desk.call(rule, order(customer, key), used, fails=fails)
                delivered.setdefault(key, set()).add(used)
            except Refused:
                pass
            desk.way.faults = []
            if settles:
                assert {} == desk.metering.settle()
        assert {} == desk.metering.settle()
        balance, held = desk.figures(customer)
        assert 0 == held
        # A repeat with another figure has the receipt of the one that was charged, whichever that was.
        possible = {Decimal(100 - sum(each)) for each in itertools.product(*delivered.values())}
        assert balance in possible

    check()
    desk.metering.close()


def test_what_a_key_is_charged_is_told_to_its_repeats(desk: Desk) -> None:
    """The same receipt, whether the answer arrived the first time or not."""
    customer = desk.customer()
    desk.way.faults = [NEVER, AFTER]
    pending = desk.call(Rule(meter="work"), order(customer), 3)
    assert pending is not None
    assert (True, 3, None) == (pending.pending, pending.quantity, pending.charge)
    again = desk.call(Rule(meter="work"), order(customer), 3)
    assert again is not None
    assert (Decimal(3), "credits", Decimal(97)) == (again.charged, again.unit, again.balance)
    assert {} == desk.metering.settle()
    assert (97, 0) == desk.figures(customer)


def test_an_amount_is_charged_without_a_meter(desk: Desk) -> None:
    """What it costs is rounded up to the sixth decimal; an amount of 0 needs no ledger."""
    customer = desk.customer()
    rule = Rule(amount=Decimal("0.3333335"), unit="credits")
    asked = Order(key=customer, customer=customer, amount=rule.amount, unit="credits", quantity=3)
    held = desk.metering.begin(rule, asked)
    assert held is not None
    assert (100, Decimal("1.000001")) == desk.figures(customer)
    receipt = desk.metering.end(held, 1)
    assert (Decimal("0.333334"), Decimal("99.666666")) == (receipt.charged, receipt.balance)
    nothing = dataclasses.replace(asked, amount=0, key="free")
    assert desk.metering.begin(Rule(amount=0), nothing) is None


def test_a_lease_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """By customer and meter, and by the time since the server was last heard of; what is settled is lent anew."""
    customer, other = desk.customer(), desk.customer()
    with desk.way.away():
        assert "SERVICE_UNAVAILABLE" == refused(desk, order(customer, "never heard of"))
    desk.call(LENT, order(customer, "contact"), 1)
    with desk.way.away():
        for key in ("a", "b"):
            assert desk.call(LENT, order(customer, key), 4) is not None
        assert "SERVICE_UNAVAILABLE" == refused(desk, order(customer, "c"))
        assert desk.call(LENT, order(other, "c"), 4) is not None
        later = time.time() + 3601
        monkeypatch.setattr(time, "time", lambda: later)
        assert "SERVICE_UNAVAILABLE" == refused(desk, order(other, "d"))
        monkeypatch.undo()
    assert {} == desk.metering.settle()
    assert ((91, 0), (96, 0)) == (desk.figures(customer), desk.figures(other))
    desk.metering._paused_until = 0  # noqa: SLF001 - time goes by
    with desk.way.away():
        assert desk.call(LENT, order(customer, "e"), 4) is not None


def refused(desk: Desk, asked: Order) -> str:
    with pytest.raises(Refused) as raised:
        desk.call(LENT, asked)
    return raised.value.code


def test_a_loan_outlives_its_process(desk: Desk, tests_tally: Tally, tmp_path: Path) -> None:
    """Another process settles what it finds in the file, and knows how long ago the server was heard of."""
    customer = desk.customer()
    desk.call(LENT, order(customer, "contact"), 1)
    with desk.way.away():
        assert desk.call(LENT, order(customer, "a"), 4) is not None
        other = Desk(tests_tally, tmp_path / "unsettled.db")
        with other.way.away():
            assert other.call(LENT, order(customer, "b"), 4) is not None
            assert {"owed": 2} == other.metering.settle()
    assert {} == other.metering.settle()
    assert (91, 0) == desk.figures(customer)
    other.metering.close()


def test_a_key_is_lent_once(desk: Desk) -> None:
    """A repeat has the loan of the first; another call under its key is refused."""
    customer = desk.customer()
    desk.call(LENT, order(customer, "contact"), 1)
    with desk.way.away():
        first, second = (desk.metering.begin(LENT, order(customer, "a")) for _ in range(2))
        assert isinstance(first, Held)
        assert first == second
        assert desk.metering.end(first, 4).pending
        assert desk.call(LENT, order(customer, "a"), 4) is not None
        assert "IDEMPOTENCY_KEY_REUSED" == refused(desk, order(customer, "a", quantity=3))
        given = desk.metering.begin(LENT, order(customer, "b"))
        assert given is not None
        desk.metering.give_back(given)
    assert {} == desk.metering.settle()
    assert (95, 0) == desk.figures(customer)


def test_what_cannot_be_charged_later_is_kept(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Its operator reads why, and it is charged when credits are there."""
    customer = desk.customer()
    desk.call(LENT, order(customer, "contact"), 1)
    with desk.way.away():
        assert desk.call(LENT, order(customer, "a"), 4) is not None
    desk.call(LENT, order(customer, "all", quantity=99))
    assert {"refused": 1} == desk.metering.settle()
    assert "INSUFFICIENT_CREDITS" in caplog.text
    desk.tally.grants.create(SYSTEM, customer=customer, amount=4, category="bonus", idempotency_key="more")
    assert {} == desk.metering.settle()
    assert (0, 0) == desk.figures(customer)


def test_a_cancelled_beginning_leaves_no_hold(desk: Desk) -> None:
    """Whoever goes away while credits are being held finds them again."""
    customer = desk.customer()

    async def work() -> None:
        arrived = asyncio.Event()

        async def slow(step: Step) -> Answered:
            answer = desk.way.do(step)
            arrived.set()
            await asyncio.sleep(30)
            return answer

        desk.way.do_async = slow  # type: ignore[method-assign]
        task = asyncio.create_task(desk.metering.begin_async(Rule(meter="work"), order(customer)))
        await arrived.wait()
        assert (100, 4) == desk.figures(customer)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    anyio.run(work)
    assert {} == desk.metering.settle()
    assert (100, 0) == desk.figures(customer)


def test_it_is_settled_in_the_background(tests_tally: Tally) -> None:
    """Without anybody asking for it, soon after the server is back."""
    desk = Desk(tests_tally)
    del desk.metering._settler.wake  # noqa: SLF001 - in the background, this time
    customer = desk.customer()
    held = desk.metering.begin(Rule(meter="work"), order(customer))
    assert held is not None
    with desk.way.away():
        assert desk.metering.end(held).pending
        time.sleep(0.1)
        assert (100, 4) == desk.figures(customer)
    until = time.monotonic() + 30
    while desk.figures(customer) != (96, 0) and time.monotonic() < until:
        time.sleep(0.05)
    assert (96, 0) == desk.figures(customer)
    desk.metering.close()


def test_rules_that_lend_need_a_file(tests_tally: Tally, tmp_path: Path) -> None:
    """And a file that can be written."""
    with pytest.raises(ConfigurationError, match="unsettled_file"):
        Metering(tests_tally).check(LENT)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Metering(tests_tally, unsettled_file=tmp_path / "missing" / "unsettled.db")
    with pytest.raises(ConfigurationError, match="expected a"):
        Metering("http://somewhere")  # type: ignore[arg-type]
