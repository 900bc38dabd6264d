"""Who may set, see and remove which budget."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.errors import Conflict, NotAllowed, NotFound, Refusal, UnknownCustomer, ValidationFailed
from tallystick.core.ids import to_text
from tallystick.services import budgets as services
from tallystick.services.budgets import BudgetInfo
from tallystick.services.context import SYSTEM, Caller
from tests.services.installation import Clock, Spender, at_once, customer_of, economy_file, key_of, log_in


@pytest.fixture
def tally(database_url: str, tmp_path: Path) -> Iterator[Tally]:
    """An installation whose clock stands still."""
    with Tally.open(database_url, source=Clock(), economy=economy_file(tmp_path)) as tally:
        yield tally


@pytest.fixture
def ada(tally: Tally) -> Caller:
    """A user."""
    return log_in(tally)


@pytest.fixture
def eve(tally: Tally) -> Caller:
    """Another user."""
    return log_in(tally, "eve@example.com")


def test_a_budget_is_set_changed_listed_and_removed(tally: Tally, ada: Caller) -> None:
    """Changing the amount keeps what was spent."""
    first = tally.budgets.put(ada, level="agent", subject="bot", amount=10, per="day")
    Spender(tally, ada, agent="bot").charge(7)
    changed = tally.budgets.put(ada, level="agent", subject="bot", amount="7.5", per="day")
    assert (first.id, 7_500_000, 7_000_000, "bot", "credits") == (
        changed.id,
        changed.amount,
        changed.spent,
        changed.subject,
        changed.unit,
    )
    assert ("budget:agent:bot", ada.customer_id, first.created_at) == (
        changed.source,
        changed.customer_id,
        changed.created_at,
    )
    assert [changed] == tally.budgets.list(ada)
    tally.budgets.remove(ada, level="agent", subject="bot", per="day")
    assert [] == tally.budgets.list(ada)
    with pytest.raises(NotFound, match="there is no budget budget:agent:bot per day"):
        tally.budgets.remove(ada, level="agent", subject="bot", per="day")


def test_each_unit_period_agent_and_key_has_a_budget_of_its_own(tally: Tally, ada: Caller) -> None:
    """Removing one leaves the others; the customer sees all of them."""
    key = key_of(tally, ada)
    customer = customer_of(ada)
    subjects = [("customer", None), ("agent", "a"), ("agent", "b"), ("key", key.name)]
    for level, subject in subjects:
        for per in ("day", "month"):
            tally.budgets.put(ada, level=level, subject=subject, amount=1, per=per)
    names = ["customer:" + customer, "agent:a", "agent:b", f"key:{key.name}"]
    wanted = [(f"budget:{name}", per) for name in names for per in ("day", "month")]
    assert wanted == [(budget.source, budget.per) for budget in tally.budgets.list(ada)]
    tally.budgets.remove(ada, level="customer", subject=customer, per="day")
    tally.budgets.remove(ada, level="key", subject=key.name, per="month")
    del wanted[0], wanted[-1]
    assert wanted == [(budget.source, budget.per) for budget in tally.budgets.list(ada)]
    assert ["day"] == [budget.per for budget in tally.budgets.list(ada, key=key.name)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"level": "team"}, "level"),
        ({"level": "agent"}, "subject"),
        ({"level": "agent", "subject": ""}, "subject"),
        ({"level": "agent", "subject": "x" * 201}, "subject"),
        ({"level": "agent", "subject": "nul\x00"}, "subject"),
        ({"level": "customer", "subject": "bot"}, "subject"),
        ({"per": "hour"}, "per"),
        ({"amount": "-1"}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "0.0000001"}, "amount"),
    ],
)
def test_a_budget_that_makes_no_sense_is_not_set(
    tally: Tally, ada: Caller, change: dict[str, str], field: str
) -> None:
    """The refusal names the field."""
    with pytest.raises(ValidationFailed) as caught:
        tally.budgets.put(ada, **({"level": "customer", "amount": "1", "per": "day"} | change))
    assert field == caught.value.detail.partition(":")[0]
    assert [] == tally.budgets.list(ada)


def test_pitfall_42_budgets_of_others_cannot_be_seen_or_touched(
    tally: Tally, ada: Caller, eve: Caller
) -> None:
    """Neither those of another customer nor those of another's key; what is not one's own is unknown."""
    key = key_of(tally, eve).name
    tally.budgets.put(eve, level="key", subject=key, amount=5, per="day")
    hers = customer_of(eve)
    customers: list[Callable[[], object]] = [
        partial(tally.budgets.put, ada, level="customer", customer=hers, amount=1, per="day"),
        partial(tally.budgets.put, ada, level="agent", subject="bot", customer=hers, amount=1, per="day"),
        partial(tally.budgets.list, ada, customer=hers),
    ]
    for attempt in customers:
        with pytest.raises(UnknownCustomer):
            attempt()
    keys: list[Callable[[], object]] = [
        partial(tally.budgets.put, ada, level="key", subject=key, amount=500, per="day"),
        partial(tally.budgets.remove, ada, level="key", subject=key, per="day"),
        partial(tally.budgets.put, ada, level="key", subject="key_unknown", amount=1, per="day"),
        partial(tally.budgets.put, ada, level="key", amount=1, per="day"),
        partial(tally.budgets.list, ada, key=key),
    ]
    for attempt in keys:
        with pytest.raises(NotFound, match="there is no key"):
            attempt()
    assert [5_000_000] == [budget.amount for budget in tally.budgets.list(eve)]


def test_a_service_sets_budgets_for_any_customer(tally: Tally, ada: Caller) -> None:
    """It names the customer, or the customer's key; so does an admin."""
    service = key_of(tally, SYSTEM, name="service", role="service")
    for maker in (service, SYSTEM):
        tally.budgets.put(maker, level="customer", customer=customer_of(ada), amount=5, per="day")
        tally.budgets.put(maker, level="key", subject=key_of(tally, ada).name, amount=5, per="day")
        with pytest.raises(ValidationFailed, match="customer: expected"):
            tally.budgets.put(maker, level="customer", amount=5, per="day")
    assert 3 == len(tally.budgets.list(service, customer=customer_of(ada)))


def test_the_budget_of_a_service_is_set_by_an_admin(tally: Tally) -> None:
    """A service sees its own, and neither sets nor lifts it; of other services it knows nothing."""
    service = key_of(tally, SYSTEM, name="service", role="service")
    other = key_of(tally, SYSTEM, name="other", role="service")
    with pytest.raises(NotAllowed, match="an admin sets"):
        tally.budgets.put(service, level="key", subject=service.name, amount=5, per="day")
    with pytest.raises(NotFound):
        tally.budgets.put(service, level="key", subject=other.name, amount=5, per="day")
    made = tally.budgets.put(SYSTEM, level="key", subject=service.name, amount=5, per="day")
    assert (
        [made]
        == tally.budgets.list(service, key=service.name)
        == tally.budgets.list(SYSTEM, key=service.name)
    )
    with pytest.raises(NotFound):
        tally.budgets.list(other, key=service.name)


def test_a_budget_that_is_set_twice_at_once_is_one(database_url: str, tally: Tally, ada: Caller) -> None:
    """Also by two processes, at every level."""
    key = key_of(tally, ada).name
    with Tally.open(database_url, source=tally.clock.now) as other:
        for level, subject in (("customer", None), ("agent", "bot"), ("key", key)):
            answers: list[BudgetInfo | Refusal] = at_once(
                [
                    partial(each.budgets.put, ada, level=level, subject=subject, amount=5, per="day")
                    for each in [tally, other] * 5
                ]
            )
            assert 1 == len({answer.id for answer in answers if isinstance(answer, BudgetInfo)})
    assert ["agent", "customer", "key"] == sorted(budget.level for budget in tally.budgets.list(ada))


def test_a_customer_has_only_so_many_budgets(
    tally: Tally, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every charge reads those of the customer and its agents; those of keys do not count."""
    monkeypatch.setattr(services, "MAX_BUDGETS", 2)
    for agent in ("a", "b", "a"):
        tally.budgets.put(ada, level="agent", subject=agent, amount=1, per="day")
    with pytest.raises(Conflict, match="at most 2 budgets"):
        tally.budgets.put(ada, level="customer", amount=1, per="day")
    tally.budgets.put(ada, level="key", subject=key_of(tally, ada).name, amount=1, per="day")
    tally.budgets.remove(ada, level="agent", subject="a", per="day")
    tally.budgets.put(ada, level="customer", amount=1, per="day")
    assert to_text("cust", ada.customer_id or 0) == tally.budgets.list(ada)[-1].subject


def test_a_budget_is_removed_by_its_id_by_whoever_may_manage_it(
    tally: Tally, ada: Caller, eve: Caller
) -> None:
    """For everybody else it does not exist."""
    service = key_of(tally, SYSTEM, name="service", role="service")
    hers = tally.budgets.put(ada, level="customer", amount=5, per="day")
    its = tally.budgets.put(SYSTEM, level="key", subject=service.name, amount=5, per="day")
    limited = key_of(tally, SYSTEM, name="service", role="service", budget=(1, None, "day"))
    plain = key_of(tally, SYSTEM, name="plain", role="service")
    for caller, budget in ((eve, hers), (ada, its), (plain, its)):
        with pytest.raises(NotFound, match="there is no budget"):
            tally.budgets.remove_by_id(caller, to_text("budget", budget.id))
    for name in ("budget_unknown", to_text("key", hers.id), to_text("budget", 1), ""):
        with pytest.raises(NotFound):
            tally.budgets.remove_by_id(SYSTEM, name)
    with pytest.raises(NotAllowed, match="a key with a budget"):
        tally.budgets.remove_by_id(limited, to_text("budget", hers.id))
    tally.budgets.remove_by_id(ada, to_text("budget", hers.id))
    tally.budgets.remove_by_id(SYSTEM, to_text("budget", its.id))
    assert [] == tally.budgets.list(ada) + tally.budgets.list(SYSTEM, key=service.name)
    with pytest.raises(NotFound):
        tally.budgets.remove_by_id(ada, to_text("budget", hers.id))


def test_a_budget_that_an_operator_set_is_not_its_customers_to_change(tally: Tally, ada: Caller) -> None:
    """Neither raised nor removed, by its terms or by its id; the operator may do both."""
    customer = customer_of(ada)
    made = tally.budgets.put(SYSTEM, level="customer", customer=customer, amount=1, per="day")
    with pytest.raises(NotAllowed):
        tally.budgets.put(ada, level="customer", amount=1000, per="day")
    with pytest.raises(NotAllowed):
        tally.budgets.remove(ada, level="customer", per="day")
    with pytest.raises(NotAllowed):
        tally.budgets.remove_by_id(ada, to_text("budget", made.id))
    assert [1_000_000] == [each.amount for each in tally.budgets.list(ada)]
    assert (
        2_000_000
        == tally.budgets.put(SYSTEM, level="customer", customer=customer, amount=2, per="day").amount
    )
    tally.budgets.remove_by_id(SYSTEM, to_text("budget", made.id))
    assert [] == tally.budgets.list(ada)


def test_a_budget_taken_over_by_an_operator_stays_the_operators(tally: Tally, ada: Caller) -> None:
    """What a customer set and an operator changed is the operator's from then on."""
    tally.budgets.put(ada, level="agent", subject="bot", amount=10, per="day")
    tally.budgets.put(SYSTEM, level="agent", subject="bot", customer=customer_of(ada), amount=5, per="day")
    with pytest.raises(NotAllowed):
        tally.budgets.put(ada, level="agent", subject="bot", amount=10, per="day")
