"""Monthly plans on the clock: months of every length, what is owed, changes in the middle."""

import pytest

from tallystick.core.times import parse_rfc3339
from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Invoice, Subscription
from tallystick.providers.simulated.subscriptions import prorate
from tallystick.store.engine import Database
from tests.providers.conformance import fresh, page_of, payer_of, plan_of, read, subscribed
from tests.providers.simulated.simulation import Simulation


def invoices(simulation: Simulation) -> list[Invoice]:
    """Every bill, in the order of being told, each once."""
    names = dict.fromkeys(event.subject_id for event in simulation.told() if event.subject == "invoice")
    found = [simulation.provider.invoice(name) for name in names]
    return [invoice for invoice in found if invoice is not None]


def changed(simulation: Simulation, plan: Subscription, cents: int) -> Subscription:
    """The plan at another price."""
    return simulation.provider.change_subscription(
        plan.id, plan="max", title="Max", amount_cents=cents, price=None, key=fresh("key")
    )


def latest(simulation: Simulation, plan: Subscription) -> Invoice:
    """The newest bill of a plan."""
    found = simulation.provider.invoice(str(plan_of(simulation, plan.id).latest_invoice))
    assert found is not None
    return found


def test_months_are_counted_from_the_first_day(simulation: Simulation) -> None:
    """A plan from January 31 is renewed on the last day of short months and on the 31st of long ones."""
    simulation.at("2027-01-31T10:00:00Z")
    plan = subscribed(simulation)
    simulation.told()
    simulation.at("2027-06-15T00:00:00Z")
    bills = invoices(simulation)
    assert [parse_rfc3339(f"2027-{day}T10:00:00Z") for day in ("02-28", "03-31", "04-30", "05-31")] == [
        bill.period_start for bill in bills
    ]
    assert {(True, "cycle", 2_000)} == {(bill.paid, bill.reason, bill.amount_cents) for bill in bills}
    after = plan_of(simulation, plan.id)
    assert (parse_rfc3339("2027-05-31T10:00:00Z"), parse_rfc3339("2027-06-30T10:00:00Z"), "active") == (
        after.period_start, after.period_end, after.status
    )  # fmt: skip
    payments = [simulation.provider.payment(str(bill.payment)) for bill in bills]
    assert [bill.period_start for bill in bills] == [each.created_at for each in payments if each is not None]


def test_running_again_renews_nothing_more(simulation: Simulation, database_url: str) -> None:
    """A second turn, here or in another process, finds nothing due."""
    subscribed(simulation)
    simulation.micros = parse_rfc3339("2027-03-15T00:00:00Z")
    assert {"simulated_renewal": 2} == simulation.run()
    other = Database(database_url)
    assert {} == simulation.open(other).run_once()
    other.close()


def test_what_is_owed_is_tried_again_and_then_the_plan_ends(simulation: Simulation) -> None:
    """A failed renewal is tried after 3, 5 and 7 days, each time with word of it; then the plan is over."""
    plan = subscribed(simulation, "then_soft")
    simulation.told()
    simulation.at("2027-02-10T12:00:00Z")
    assert "past_due" == plan_of(simulation, plan.id).status
    bill = latest(simulation, plan)
    assert (False, "The card has insufficient funds.") == (bill.paid, bill.failure_text)
    for day in ("02-13", "02-18", "02-25"):
        simulation.told()
        simulation.at(f"2027-{day}T11:59:59Z")
        assert [] == simulation.told()
        simulation.at(f"2027-{day}T12:00:00Z")
        assert ("invoice.payment_failed", bill.id) in {
            (event.type, event.subject_id) for event in simulation.told()
        }
    after = plan_of(simulation, plan.id)
    assert ("canceled", parse_rfc3339("2027-02-25T12:00:00Z")) == (after.status, after.canceled_at)
    simulation.at("2027-06-01T00:00:00Z")
    assert [] == simulation.told()


def test_another_card_pays_what_is_owed(simulation: Simulation) -> None:
    """The next try charges the card that is the default by then, and the plan is active again."""
    plan = subscribed(simulation, "then_hard")
    simulation.at("2027-02-10T12:00:00Z")
    page = page_of(simulation, plan.payer, mode="setup")
    simulation.pay(page, "good")
    simulation.at("2027-02-13T12:00:00Z")
    assert ("active", True) == (plan_of(simulation, plan.id).status, latest(simulation, plan).paid)


def test_a_renewal_that_wants_its_owner(simulation: Simulation) -> None:
    """A card that must be confirmed leaves the plan past due, and the payer is told to act."""
    page = page_of(simulation, payer_of(simulation), mode="subscription", cents=2_000, plan="pro")
    simulation.pay(page, "authentication")
    plan = plan_of(simulation, read(simulation, page).subscription)
    simulation.told()
    simulation.end_period(plan)
    assert {"invoice.payment_failed", "invoice.payment_action_required"} <= {
        event.type for event in simulation.told()
    }
    payment = simulation.provider.payment(str(latest(simulation, plan).payment))
    assert payment is not None
    assert ("failed", "authentication") == (payment.status, payment.decline)


@pytest.mark.parametrize(("succeeded", "status"), [(True, "active"), (False, "canceled")])
def test_a_plan_that_is_paid_later_waits(simulation: Simulation, succeeded: bool, status: str) -> None:  # noqa: FBT001
    """It is incomplete until its first payment has come; without that it never begins."""
    page = page_of(simulation, payer_of(simulation), mode="subscription", cents=2_000, plan="pro")
    simulation.pay(page, "later")
    plan = plan_of(simulation, read(simulation, page).subscription)
    bill = latest(simulation, plan)
    assert ("incomplete", False) == (plan.status, bill.paid)
    with pytest.raises(ProviderRefused):
        changed(simulation, plan, 3_000)
    simulation.settle(str(bill.payment), succeeded=succeeded)
    assert (status, succeeded) == (plan_of(simulation, plan.id).status, latest(simulation, plan).paid)


def test_a_dearer_plan_costs_the_difference_for_the_rest(simulation: Simulation) -> None:
    """Half way through the month, half of the difference is billed at once; the next month costs the whole."""
    simulation.at("2027-04-01T00:00:00Z")
    plan = subscribed(simulation, cents=2_000)
    simulation.at("2027-04-16T00:00:00Z")
    after = changed(simulation, plan, 5_000)
    bill = latest(simulation, plan)
    assert (1_500, True, "update") == (bill.amount_cents, bill.paid, bill.reason)
    assert (simulation.now(), plan.period_end) == (bill.period_start, bill.period_end)
    simulation.end_period(after)
    assert (5_000, "cycle", "max") == (
        latest(simulation, plan).amount_cents, latest(simulation, plan).reason, latest(simulation, plan).plan
    )  # fmt: skip


def test_a_cheaper_plan_leaves_a_credit_for_the_next_bills(simulation: Simulation) -> None:
    """Nothing is charged for a downgrade; what was paid too much is taken off the next months."""
    simulation.at("2027-04-01T00:00:00Z")
    plan = subscribed(simulation, cents=5_000)
    after = changed(simulation, plan, 1_000)
    assert (0, True, "update") == (
        latest(simulation, plan).amount_cents, latest(simulation, plan).paid, latest(simulation, plan).reason
    )  # fmt: skip
    costs = []
    for _ in range(5):
        after = plan_of(simulation, plan.id)
        simulation.end_period(after)
        costs.append(latest(simulation, plan).amount_cents)
    assert [0, 0, 0, 0, 1_000] == costs
    assert "active" == plan_of(simulation, plan.id).status


def test_changing_to_the_same_price_bills_nothing(simulation: Simulation) -> None:
    """There is no bill where nothing is owed."""
    plan = subscribed(simulation)
    assert plan.latest_invoice == changed(simulation, plan, plan.amount_cents).latest_invoice


def test_a_change_does_not_pay_what_is_owed(simulation: Simulation) -> None:
    """A plan that is past due stays so when a change is paid: the old bill is tried again on its day."""
    plan = subscribed(simulation, "then_soft")
    simulation.end_period(plan)
    owed = latest(simulation, plan)
    simulation.pay(page_of(simulation, plan.payer, mode="setup"), "good")
    assert "past_due" == changed(simulation, plan, 5_000).status
    simulation.advance("P3D")
    paid = simulation.provider.invoice(owed.id)
    assert paid is not None
    assert (True, "active") == (paid.paid, plan_of(simulation, plan.id).status)


def test_proration_is_exact_to_the_cent() -> None:
    """Half a cent is rounded up, the whole is the whole, and nothing is nothing."""
    assert [0, 1, 1, 2, 3] == [prorate(3, rest=rest, whole=6) for rest in (0, 1, 2, 3, 6)]
    assert 2_000 == prorate(2_000, rest=2_678_400_000_000, whole=2_678_400_000_000)
