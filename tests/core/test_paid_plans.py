"""Paid plans in the core alone: whatever order and number of bills, each period is granted what was paid for it, once."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.core import errors
from tallystick.core.catalog import Economy
from tallystick.core.economy_file import load
from tallystick.core.holdings import Membership
from tallystick.core.membership import ChangePlan, OpenCustomer
from tallystick.core.operations import Operation
from tallystick.core.paid_plans import REMEMBERED, EndPaidPlan, PaidPeriod, PaidResult
from tests.core.memory_ledger import MemoryLedger
from tests.model.calendar import DAY

START = 1_795_000_000_000_000
MONTH = 30 * DAY
UNIT = 1_000_000
CUSTOMER = 7
TEXT = """
[economy]
title = "By the month"
primary_unit = "credits"
default_plan = "free"
[units.credits]
description = "Credits"
[plans.free]
title = "Free"
price_usd = 0
renews = "anniversary"
[[plans.free.allowances]]
amount = 10
[plans.calendar]
title = "Free, by the calendar"
price_usd = 0
[[plans.calendar.allowances]]
amount = 15
[plans.small]
title = "Small"
price_usd = 10
[[plans.small.allowances]]
amount = 100
[plans.large]
title = "Large"
price_usd = 30
[[plans.large.allowances]]
amount = 400
[plans.rolling]
title = "Rolls over"
price_usd = 20
[[plans.rolling.allowances]]
amount = 200
rollover_cap = 150
[plans.unlimited]
title = "Unlimited"
price_usd = 90
[[plans.unlimited.allowances]]
amount = "unlimited"
"""
ALLOWANCES = {"small": 100, "large": 400, "rolling": 200}


@dataclass(frozen=True)
class Bill:
    """A bill: which month of the subscription it is for, from which day of it on, and for which plan."""

    month: int
    day: int
    plan: str


class Payer:
    """A customer in memory."""

    def __init__(self, economy: Economy | None = None) -> None:
        self.economy = load(TEXT, name="months") if economy is None else economy
        self.ledger = MemoryLedger(self.economy)
        self.now = START
        self.post(OpenCustomer(catalog=self.economy, customer_id=CUSTOMER, caller="test"))

    def post(self, operation: Operation) -> Any:
        """Post one operation now."""
        [outcome], _ = self.ledger.post([operation], self.now)
        self.ledger.check()
        return outcome.value()

    def pay(
        self, bill: Bill, *, subscription: str = "sub", running: bool = True, newest: bool = True
    ) -> PaidResult:
        """A bill was paid; a repeat has its first answer."""
        first = START + bill.month * MONTH
        key = f"invoice:{subscription}:{bill}"
        result: PaidResult = self.post(
            PaidPeriod(
                customer_id=CUSTOMER,
                caller="test",
                plan=self.economy.plans[bill.plan],
                catalog=self.economy,
                subscription=subscription,
                start=first + bill.day * DAY,
                end=first + MONTH,
                running=running,
                newest=newest,
                reference="pay_1",
                idempotency=key,
                idempotency_key=key,
                request_digest=key,
            )
        )
        return result

    def end(self, plan: str = "free", *, subscription: str = "sub") -> PaidResult:
        """The subscription has ended."""
        result: PaidResult = self.post(
            EndPaidPlan(
                customer_id=CUSTOMER,
                caller="test",
                plan=self.economy.plans[plan],
                catalog=self.economy,
                subscription=subscription,
            )
        )
        return result

    def change(self, plan: str) -> Any:
        """An operator changes the plan."""
        return self.post(
            ChangePlan(
                customer_id=CUSTOMER, caller="test", plan=self.economy.plans[plan], catalog=self.economy
            )
        )

    @property
    def membership(self) -> Membership:
        """The plan as it stands."""
        return self.ledger.memberships[CUSTOMER]

    def has(self) -> int:
        """What can be spent."""
        self.post(
            PaidPeriod(
                customer_id=CUSTOMER,
                caller="test",
                plan=self.economy.plans["unlimited"],
                catalog=self.economy,
                subscription="nobody's",
                start=0,
                end=1,
                running=False,
                newest=False,
            )
        )  # It grants nothing, and lets all that is due be booked.
        return self.ledger.wallets[CUSTOMER, "credits"].available(self.now) // UNIT

    def granted(self) -> dict[int | None, int]:
        """What paid grants came to in all, by when they expire."""
        sums: dict[int | None, int] = {}
        for terms in self.ledger.grants.values():
            if terms.lot.origin == "paid":
                expires_at = terms.first_expires_at
                sums[expires_at] = sums.get(expires_at, 0) + terms.amount // UNIT
        return sums


def bills(plans: tuple[str, ...]) -> st.SearchStrategy[list[tuple[Bill, int]]]:
    """Different bills, each with the number of times that it is told."""
    bill = st.builds(Bill, st.integers(0, 3), st.integers(0, 29), st.sampled_from(plans))
    return st.lists(
        st.tuples(bill, st.integers(1, 3)),
        min_size=1,
        max_size=8,
        unique_by=lambda each: (each[0].month, each[0].day),
    )


# --- properties ---------------------------------------------------------------------------------------------


@given(told=bills(("small", "large")), data=st.data())
@settings(max_examples=150)
def test_any_order_and_number_of_bills_grants_each_period_once(
    told: list[tuple[Bill, int]], data: st.DataObject
) -> None:
    """A period is granted the largest allowance that was paid in it; the last bill of the last period says the plan."""
    payer = Payer()
    payer.now = START + data.draw(st.integers(0, 5 * 30)) * DAY
    events = [bill for bill, times in told for _ in range(times)]
    for bill in data.draw(st.permutations(events)):
        payer.pay(bill)
        payer.now += data.draw(st.sampled_from((0, 0, DAY)))
    expected: dict[int | None, int] = {}
    for bill, _ in told:
        end = START + (bill.month + 1) * MONTH
        expected[end] = max(expected.get(end, 0), ALLOWANCES[bill.plan])
    assert expected == payer.granted()
    last = max((bill for bill, _ in told), key=lambda bill: (bill.month, bill.day))
    end = START + (last.month + 1) * MONTH
    if payer.membership.paid_by is None:
        assert end <= payer.now  # All was over when it was told.
        return
    assert (last.plan, end) == (payer.membership.plan, payer.membership.period_end)
    assert min(bill.day for bill, _ in told if bill.month == last.month) * DAY == (
        payer.membership.period_start - START - last.month * MONTH
    )


@given(data=st.data(), months=st.integers(1, 4))
@settings(max_examples=60)
def test_what_rolls_over_is_the_same_in_any_order(data: st.DataObject, months: int) -> None:
    """Late months leave no more than the cap beside the newest."""
    payer = Payer()
    payer.now = START + (months - 1) * MONTH + DAY
    for month in data.draw(st.permutations(range(months))):
        payer.pay(Bill(month, 0, "rolling"))
    rolled = min(150, 200 * (months - 1))
    assert 10 + 200 + rolled == payer.has()  # The 10 are of the free month in which the first bill was told.


@given(data=st.data())
@settings(max_examples=60)
def test_the_end_of_a_subscription_comes_before_or_after_its_bills(data: st.DataObject) -> None:
    """What was paid for is granted either way, and the customer is on the free plan."""
    payer = Payer()
    payer.now = START + MONTH // 2
    events = [Bill(0, 0, "small"), Bill(0, 10, "large"), None]
    for event in data.draw(st.permutations(events)):
        if event is None:
            payer.end()
        else:
            payer.pay(event, running=False)
    assert ("free", None) == (payer.membership.plan, payer.membership.paid_by)
    assert {START + MONTH: 400} == payer.granted()
    assert 410 == payer.has()


# --- a period -----------------------------------------------------------------------------------------------


def test_the_bill_says_the_period() -> None:
    """With its grant, which it is reached by."""
    payer = Payer()
    payer.now += DAY
    result = payer.pay(Bill(0, 1, "small"))
    assert ("free", "small", None, "sub") == (
        result.previous,
        result.plan,
        result.was_paid_by,
        result.paid_by,
    )
    assert (START + DAY, START + MONTH) == (result.period_start, result.period_end)
    [(number, unit, amount)] = result.granted
    terms = payer.ledger.grants[number]
    assert ("credits", 100 * UNIT, "pay_1", "paid") == (unit, amount, terms.reference, terms.lot.origin)


def test_time_alone_begins_no_paid_period() -> None:
    """The allowance expires; the next comes with its bill, to that period's end, however late."""
    payer = Payer()
    payer.pay(Bill(0, 0, "small"))
    payer.now = START + MONTH + 10 * DAY
    assert 0 == payer.has()
    payer.pay(Bill(1, 0, "small"))
    assert {START + MONTH: 100, START + 2 * MONTH: 100} == payer.granted()
    assert ("small", START + 2 * MONTH) == (payer.membership.plan, payer.membership.period_end)


def test_two_bills_that_begin_at_one_moment_are_told_apart_by_the_newest() -> None:
    """The plan is that of the bill which the provider made last, in either order."""
    for order in ((True, False), (False, True)):
        payer = Payer()
        for newest in order:
            payer.pay(Bill(0, 5, "large" if newest else "small"), subscription="sub", newest=newest)
        assert "large" == payer.membership.plan
        assert {START + MONTH: 400} == payer.granted()


def test_an_unlimited_plan_is_paid_too() -> None:
    """Charges are covered from its bill on, and no more when the plan is another."""
    payer = Payer()
    result = payer.pay(Bill(0, 0, "unlimited"))
    [(unit, before, after)] = result.covers
    assert ("credits", None) == (unit, before)
    assert payer.ledger.wallets[CUSTOMER, "credits"].cover_id == after
    assert ((("credits", after, None),)) == payer.end().covers


def test_a_month_that_was_over_before_it_was_told_brings_the_plan_that_was_paid() -> None:
    """Its credits have expired; while the subscription runs, the customer has its plan and waits for the next bill."""
    payer = Payer()
    payer.now = START + 3 * MONTH
    result = payer.pay(Bill(0, 0, "small"))
    assert ("small", "sub") == (result.plan, result.paid_by)
    assert {START + MONTH: 100} == payer.granted()
    payer.pay(Bill(3, 0, "small"))
    assert {START + MONTH: 100, START + 4 * MONTH: 100} == payer.granted()


def test_bills_of_last_year_are_forgotten() -> None:
    """So many periods are remembered, and no more."""
    payer = Payer()
    for month in range(REMEMBERED + 4):
        payer.now = START + month * MONTH
        payer.pay(Bill(month, 0, "small"))
    assert REMEMBERED == len(payer.membership.before)


# --- the end ------------------------------------------------------------------------------------------------


def test_a_period_that_is_not_over_grants_nothing_twice_when_it_ends() -> None:
    """Up, down and up again: the free plan adds nothing to a month that gave more."""
    payer = Payer()
    payer.pay(Bill(0, 0, "small"))
    payer.now += DAY
    assert () == payer.end().granted
    assert 110 == payer.has()
    payer.now += DAY
    payer.pay(Bill(0, 2, "large"), subscription="other")
    payer.now += DAY
    assert () == payer.end(subscription="other").granted
    assert {START + MONTH: 500} == payer.granted()  # Two subscriptions, each paid in full.


def test_who_comes_back_to_the_calendar_has_had_this_month() -> None:
    """What the month gave before the paid plan counts when it is entered again."""
    payer = Payer()
    payer.change("calendar")
    before = payer.has()
    payer.pay(Bill(0, 0, "unlimited"))
    payer.now += DAY
    assert () == payer.end("calendar").granted
    assert before == payer.has()


def test_the_plan_that_follows_may_be_the_same() -> None:
    """A plan that was paid and is free now."""
    payer = Payer()
    payer.pay(Bill(0, 0, "small"))
    result = payer.end("small")
    assert ("small", "small", None, ()) == (result.previous, result.plan, result.paid_by, result.granted)


def test_the_end_of_something_else_changes_nothing() -> None:
    """An older subscription that ends late does not end the new one."""
    payer = Payer()
    payer.pay(Bill(0, 0, "small"), subscription="new")
    result = payer.end(subscription="old")
    assert ("small", "new", ()) == (result.plan, result.paid_by, result.granted)


def test_the_free_period_begins_where_the_paid_one_ended() -> None:
    """Also when that is known late, and with the months since."""
    payer = Payer()
    payer.pay(Bill(0, 0, "small"))
    payer.now = START + MONTH + DAY
    result = payer.end()
    assert START + MONTH == result.period_start
    assert [10 * UNIT] == [amount for _, _, amount in result.granted]
    assert 10 == payer.has()


# --- an operator --------------------------------------------------------------------------------------------


def test_a_paid_plan_is_not_changed_by_hand() -> None:
    """Its own plan may be set again: an economy that gained an allowance does so."""
    payer = Payer()
    payer.pay(Bill(0, 0, "small"))
    with pytest.raises(errors.Conflict):
        payer.change("large")
    assert () == payer.change("small").granted
    payer.now = START + MONTH
    assert () == payer.change("small").granted
