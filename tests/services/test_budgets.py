"""Budgets of keys, agents and customers: they nest, and the one that refuses is named."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.errors import BudgetExceeded, InsufficientCredits, Refusal
from tallystick.core.ids import to_text
from tallystick.core.membership import ChangePlan
from tallystick.core.operations import ChargeResult
from tallystick.core.times import parse_rfc3339
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.pricing import Usage
from tallystick.store.audit import audit
from tests.services.installation import (
    Clock,
    Spender,
    at_once,
    customer_of,
    economy_file,
    key_of,
    log_in,
    register,
    who,
)


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def two_units(tmp_path: Path) -> str:
    """An economy that counts credits and dollars."""
    return economy_file(tmp_path)


@pytest.fixture
def tally(database_url: str, clock: Clock, two_units: str) -> Iterator[Tally]:
    """An installation on that clock, whose budgets and ledger agree in the end."""
    with Tally.open(database_url, source=clock, economy=two_units) as tally:
        yield tally
        report = audit(tally.database, now=tally.context.now())
        assert report.ok, [rule.violations for rule in report.rules]


@pytest.fixture
def ada(tally: Tally) -> Caller:
    """A user."""
    return log_in(tally)


def refused(spender: Spender, amount: int | str = 1, *, meter: str = "lookup") -> tuple[object, ...]:
    """Have a charge refused by a budget: gives who refused, and the figures."""
    with pytest.raises(BudgetExceeded) as caught:
        spender.charge(amount, meter=meter)
    return tuple(caught.value.fields[name] for name in ("limit_source", "required", "available", "shortfall"))


# --- what a budget refuses ------------------------------------------------------------------------------


def test_a_customers_budget_bounds_everything_it_spends(tally: Tally, ada: Caller) -> None:
    """Up to the last micro-unit, whoever spends; the refusal says what is left and until when."""
    tally.budgets.put(ada, level="customer", amount=50, per="day")
    Spender(tally, ada).charge(30)
    Spender(tally, key_of(tally, ada), agent="bot").charge("19.999999")
    with pytest.raises(BudgetExceeded) as caught:
        Spender(tally, ada).charge("0.000002")
    fields = caught.value.fields
    source = f"budget:customer:{customer_of(ada)}"
    assert (source, 2, 1, 1, True) == tuple(
        fields[name] for name in ("limit_source", "required", "available", "shortfall", "retryable")
    )
    assert parse_rfc3339("2026-03-11T00:00:00Z") == fields["reset_at"]
    assert 950_000_000 == Spender(tally, ada).charge("0.000001").balance


def test_budgets_nest_and_the_narrowest_that_refuses_is_named(tally: Tally, ada: Caller) -> None:
    """Key within agent within customer; each of them counts everything below it."""
    key = tally.keys.create(ada, name="key", budget=(10, None, "day"))
    tally.budgets.put(ada, level="agent", subject="bot", amount=20, per="day")
    tally.budgets.put(ada, level="customer", amount=30, per="day")
    by_key = Spender(tally, who(tally, key.key), agent="bot")
    by_agent, by_customer = Spender(tally, ada, agent="bot"), Spender(tally, ada)
    by_key.charge(10)
    by_key_source, by_agent_source = f"budget:key:{to_text('key', key.id)}", "budget:agent:bot"
    assert (by_key_source, 1_000_000, 0, 1_000_000) == refused(by_key)
    assert (by_key_source, 25_000_000, 0, 25_000_000) == refused(by_key, 25)
    assert (by_agent_source, 11_000_000, 10_000_000, 1_000_000) == refused(by_agent, 11)
    by_agent.charge(10)
    assert by_agent_source == refused(by_agent)[0]
    assert (f"budget:customer:{customer_of(ada)}", 11_000_000, 10_000_000, 1_000_000) == refused(
        by_customer, 11
    )
    by_customer.charge(10)
    assert [10_000_000, 20_000_000, 30_000_000] == [budget.spent for budget in tally.budgets.list(ada)]


def test_a_wider_budget_that_is_used_up_refuses_though_the_narrow_one_has_room(
    tally: Tally, ada: Caller
) -> None:
    """And what was refused counts nowhere."""
    key = Spender(tally, key_of(tally, ada, budget=(10, None, "month")))
    tally.budgets.put(ada, level="customer", amount=5, per="day")
    Spender(tally, ada).charge(5)
    assert f"budget:customer:{customer_of(ada)}" == refused(key)[0]
    assert [0, 5_000_000] == [budget.spent for budget in tally.budgets.list(ada)]


def test_an_agents_budget_bounds_that_agent_alone(tally: Tally, ada: Caller) -> None:
    """Not its namesake of another customer, and not the customer itself."""
    eve = log_in(tally, "eve@example.com")
    tally.budgets.put(ada, level="agent", subject="bot", amount=5, per="day")
    tally.budgets.put(eve, level="agent", subject="bot", amount=7, per="day")
    Spender(tally, ada, agent="bot").charge(5)
    refused(Spender(tally, ada, agent="bot"))
    Spender(tally, ada, agent="other").charge(100)
    Spender(tally, ada).charge(100)
    Spender(tally, eve, agent="bot").charge(7)
    refused(Spender(tally, eve, agent="bot"))


def test_a_keys_budget_bounds_that_key_alone(tally: Tally, ada: Caller) -> None:
    """Its siblings and its user spend on."""
    limited, free = key_of(tally, ada, budget=(5, None, "day")), key_of(tally, ada)
    assert (True, False) == (limited.key_has_budget, free.key_has_budget)
    Spender(tally, limited).charge(5)
    refused(Spender(tally, limited))
    Spender(tally, free).charge(100)
    Spender(tally, ada).charge(100)


def test_a_budget_counts_one_unit(tally: Tally, ada: Caller) -> None:
    """What is spent in another is not its business; a charge in both needs room in both."""
    tally.budgets.put(ada, level="customer", unit="USD", amount=10, per="day")
    spender = Spender(tally, ada)
    spender.charge(500)
    spender.charge(6, meter="machine")
    assert (f"budget:customer:{customer_of(ada)}", 5_000_000, 4_000_000, 1_000_000) == refused(
        spender, 5, meter="both"
    )
    spender.charge(4, meter="both")
    tally.budgets.put(ada, level="customer", unit="USD", amount=100, per="day")
    tally.budgets.put(ada, level="customer", amount=10, per="day")
    refused(spender, 11, meter="both")
    assert [10_000_000, 0] == [budget.spent for budget in tally.budgets.list(ada)]


def test_what_is_free_of_charge_needs_no_room(tally: Tally, ada: Caller) -> None:
    """A budget of nothing lets nothing through that costs anything, and says so in a quote."""
    tally.budgets.put(ada, level="customer", amount=0, per="month")
    spender = Spender(tally, ada)
    assert 0 == spender.charge(meter="ping").amount
    refused(spender, "0.000001")
    quote = tally.charges.quote(ada, Usage("lookup"))
    assert (False, "budget_exceeded") == (quote.affordable, quote.refused_by)


def test_credits_do_not_widen_a_budget_nor_a_budget_the_credits(tally: Tally, ada: Caller) -> None:
    """Each refuses for itself; the budget is asked first."""
    tally.budgets.put(ada, level="customer", amount=2000, per="day")
    spender = Spender(tally, ada)
    refused(spender, 2001)
    with pytest.raises(InsufficientCredits):
        spender.charge(1001)


def test_an_unlimited_plan_is_bounded_by_a_budget_all_the_same(tally: Tally, ada: Caller) -> None:
    """That is what somebody on such a plan sets one for."""
    assert ada.customer_id is not None
    economy = tally.context.economy()
    change = ChangePlan(customer_id=ada.customer_id, caller="test", plan=economy.plan("max"), catalog=economy)
    tally.context.commit.run(change).value()
    tally.budgets.put(ada, level="customer", amount=5000, per="day")
    spender = Spender(tally, ada)
    assert 1000_000_000 == spender.charge(4000).balance
    refused(spender, 1001)
    hold = spender.hold(1000)
    refused(spender)
    spender.release(hold)
    spender.charge(1000)


# --- that it takes effect -------------------------------------------------------------------------------


def test_a_budget_takes_effect_at_once_in_every_process(
    database_url: str, two_units: str, tally: Tally, ada: Caller
) -> None:
    """Also for customers whose wallets a process has in its memory."""
    with Tally.open(database_url, source=tally.clock.now, economy=two_units) as other:
        spenders = [Spender(tally, ada), Spender(other, ada)]
        for spender in spenders * 2:
            spender.charge(1)
        tally.budgets.put(ada, level="customer", amount=3, per="day")
        for spender in spenders:
            refused(spender, 4)
            spender.charge(1)
        other.budgets.put(ada, level="customer", amount=2, per="day")
        for spender in spenders:
            refused(spender)
        tally.budgets.remove(ada, level="customer", per="day")
        for spender in spenders:
            spender.charge(100)


def test_a_budget_bounds_a_unit_that_the_economy_gained_afterwards(
    database_url: str, two_units: str, tmp_path: Path
) -> None:
    """It may be set before anybody has a wallet in that unit, and older ones hold for charges in both."""
    with Tally.open(database_url, economy=economy_file(tmp_path, dollars=False)) as tally:
        ada = log_in(tally)
        tally.budgets.put(ada, level="customer", amount=1, per="day")
        tally.economies.activate(two_units)
        refused(Spender(tally, ada), 2, meter="both")
        tally.budgets.put(ada, level="customer", unit="USD", amount=10, per="day")
        refused(Spender(tally, ada), 11, meter="machine")
        with pytest.raises(InsufficientCredits):
            Spender(tally, ada).charge(10, meter="machine")


# --- many at once ---------------------------------------------------------------------------------------


def exactly(answers: list[ChargeResult | Refusal], done: int) -> None:
    """So many were done, and every other one was refused by a budget."""
    assert done == sum(isinstance(answer, ChargeResult) for answer in answers)
    assert len(answers) - done == sum(isinstance(answer, BudgetExceeded) for answer in answers)


@pytest.mark.parametrize("level", ["customer", "agent", "key"])
def test_pitfall_04_a_hundred_at_once_against_a_budget_of_fifty(
    database_url: str, two_units: str, tally: Tally, ada: Caller, level: str
) -> None:
    """Exactly fifty are done, in two processes at once, at every level."""
    key = tally.keys.create(ada, name="key")
    subject = {"customer": None, "agent": "bot", "key": to_text("key", key.id)}[level]
    tally.budgets.put(ada, level=level, subject=subject, amount=50, per="day")
    caller = who(tally, key.key)
    with Tally.open(database_url, source=tally.clock.now, economy=two_units) as other:
        spenders = [Spender(each, caller, agent="bot") for each in (tally, other)] * 50
        exactly(at_once([partial(spender.charge, 1) for spender in spenders]), 50)
    [budget] = tally.budgets.list(ada)
    assert (50_000_000, 50_000_000) == (budget.spent, budget.amount)


def test_a_hundred_at_once_by_a_service_for_many_customers(
    database_url: str, two_units: str, tally: Tally
) -> None:
    """The budget of a service's key counts what it spends for all of them together, exactly."""
    service = key_of(tally, SYSTEM, name="gateway", role="service", budget=(50, None, "day"))
    customers = [
        to_text("cust", register(tally, f"user{number}@example.com").customer_id) for number in range(10)
    ]
    with Tally.open(database_url, source=tally.clock.now, economy=two_units) as other:
        processes = [tally, other]
        work = [
            partial(Spender(processes[number % 2], service, customer=customers[number % 10]).charge, 1)
            for number in range(100)
        ]
        exactly(at_once(work), 50)
    [budget] = tally.budgets.list(service, key=service.name)
    assert (50_000_000, None) == (budget.spent, budget.customer_id)
