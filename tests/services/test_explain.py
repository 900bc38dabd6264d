"""Where a figure comes from: charges with their working, and balances as of a moment."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import from_text, to_text
from tallystick.core.times import Micros, parse_rfc3339
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.explain import ChargeView
from tallystick.services.pricing import Usage
from tests.tallies import ECONOMY, USER, World, whole


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer on a plan without an allowance."""
    with World(database_url, tmp_path) as world:
        yield world


def explain(world: World, charge: str) -> ChargeView:
    """A charge as an admin sees it."""
    return world.tally.explain.charge(SYSTEM, charge)


# --- a charge -----------------------------------------------------------------------------------------------


def test_a_charge_is_explained_line_by_line(database_url: str, tmp_path: Path) -> None:
    """The lines of a graduated price add up to the amount, and the economy is named by name and version."""
    with World(database_url, tmp_path, economy="starter") as world:
        view = explain(world, world.charge(300, "enrich"))
        [part] = view.explain.prices
        assert [50 * MICROS, 50 * MICROS] == [line.amount_micros for line in part.lines]
        assert ("enrich", "data", 100 * MICROS, 300 * MICROS) == (
            part.meter,
            part.category,
            part.amount,
            part.quantity,
        )
        economy = world.tally.context.economy()
        assert (economy.version, "starter") == (view.explain.economy, view.explain.economy_name)
        assert view.explain.seal_ok


def test_a_charge_is_explained_by_the_prices_of_its_time(world: World) -> None:
    """A later economy does not change what an earlier charge cost."""
    world.grant(100)
    charge = world.charge(4)
    before = explain(world, charge)
    world.write_economy(ECONOMY.replace("per_unit = 1\n", "per_unit = 3\n"))
    world.tally.economies.activate(world.economy)
    assert before == explain(world, charge)
    assert [4 * MICROS] == [part.amount for part in before.explain.prices]
    later = explain(world, world.charge(4))
    assert [12 * MICROS] == [line.amount_micros for line in later.explain.prices[0].lines]
    assert later.explain.economy != before.explain.economy


def test_a_charge_names_the_grants_that_paid_and_the_balance_around_it(world: World) -> None:
    """With their terms, in the order of the draw."""
    world.grant(10, "purchase", reason="pack")
    world.grant(3, expires_at="2027-02-01T00:00:00Z", reason="welcome")
    view = explain(world, world.charge(5))
    assert [
        ("welcome", "bonus", "free", 3, parse_rfc3339("2027-02-01T00:00:00Z")),
        ("pack", "purchase", "paid", 2, None),
    ] == [
        (lot.reason, lot.category, lot.origin, whole(lot.amount), lot.expires_at) for lot in view.explain.lots
    ]
    [change] = view.explain.balances
    assert ("credits", 13, 8) == (change.unit, whole(change.before), whole(change.after))
    assert (8, 5, 0, 5) == tuple(
        whole(amount) for amount in (view.balance, view.amount, view.refunded, view.refundable)
    )


def test_refunds_are_part_of_the_explanation(world: World) -> None:
    """When, how much, why, and to which grants."""
    world.grant(3)
    world.grant(10, "purchase")
    charge = world.charge(5)
    world.clock.advance("P1D")
    world.tally.charges.refund(SYSTEM, charge, amount=1, reason="slow", idempotency_key="r1")
    world.tally.charges.refund(SYSTEM, charge, amount=2, reason="wrong", idempotency_key="r2")
    view = explain(world, charge)
    assert [("slow", (("credits", MICROS),)), ("wrong", (("credits", 2 * MICROS),))] == [
        (refund.reason, refund.amounts) for refund in view.explain.refunds
    ]
    assert {world.clock.micros} == {refund.date for refund in view.explain.refunds}
    assert [("bonus", 1), ("purchase", 2)] == [
        (lot.category, whole(lot.refunded)) for lot in view.explain.lots
    ]
    assert (3, 2) == (whole(view.refunded), whole(view.refundable))


def test_a_captured_hold_is_explained_as_the_charge_that_it_became(world: World) -> None:
    """By amount, below the hold: what was taken, from where, and which hold it was."""
    world.grant(100, expires_at="2027-01-10T12:30:00Z")
    hold = world.hold(60)
    world.clock.set("2027-01-10T12:45:00Z")
    view = explain(world, world.capture(hold, 45))
    assert (from_text("hold", hold), 45 * MICROS) == (view.hold_id, view.amount)
    assert [45] == [whole(lot.amount) for lot in view.explain.lots]
    [part] = view.explain.prices
    assert (45 * MICROS, None, ()) == (part.amount, part.quantity, part.lines)
    assert 45 * MICROS == view.refundable
    assert view.explain.seal_ok


def test_a_capture_by_quantity_shows_its_working(world: World) -> None:
    """What was used is rated, and not what was held."""
    world.grant(100)
    hold = world.hold(60)
    answer = world.tally.holds.capture(SYSTEM, hold, quantity=7, idempotency_key="k")
    view = explain(world, to_text("chg", answer.value.id))
    [part] = view.explain.prices
    assert (7 * MICROS, 7 * MICROS, 1) == (part.amount, part.quantity, len(part.lines))


def test_a_charge_in_two_units_is_explained_in_both(world: World) -> None:
    """Prices, grants and balances of each."""
    world.grant(100)
    world.grant(100, unit="tokens")
    charge = world.charge(10, "both")
    world.refund(charge)
    view = explain(world, charge)
    assert (("credits", 10 * MICROS), ("tokens", 20 * MICROS)) == view.amounts
    assert [("credits", 10, 10), ("tokens", 20, 20)] == [
        (lot.unit, whole(lot.amount), whole(lot.refunded)) for lot in view.explain.lots
    ]
    assert [("credits", 90), ("tokens", 80)] == [
        (change.unit, whole(change.after)) for change in view.explain.balances
    ]
    assert [10 * MICROS, 20 * MICROS] == [part.amount for part in view.explain.prices]
    assert [1, 1] == [len(part.lines) for part in view.explain.prices]


def test_each_unit_of_a_charge_says_what_still_can_be_refunded(world: World) -> None:
    """Where all of the first unit went back, the second one still can."""
    world.grant(100)
    world.grant(100, unit="tokens")
    charge = world.charge(10, "both")
    world.tally.charges.refund(SYSTEM, charge, amount=10, unit="credits", idempotency_key="r1")
    world.tally.charges.refund(SYSTEM, charge, amount=5, unit="tokens", idempotency_key="r2")
    view = explain(world, charge)
    assert [("credits", 10, 0), ("tokens", 5, 15)] == [
        (each.unit, whole(each.refunded), whole(each.refundable)) for each in view.refunds
    ]


def test_further_meters_of_a_charge_are_parts_of_their_own(world: World) -> None:
    """Each meter shows its own quantity and working."""
    world.grant(100)
    usage = Usage("work", quantity=4, also=[("limited", 1)], customer=USER)
    charge = world.tally.charges.create(SYSTEM, usage, idempotency_key="k").value
    parts = explain(world, to_text("chg", charge.id)).explain.prices
    assert [("work", 4, 1), ("limited", 1, 1)] == [
        (part.meter, whole(part.amount), len(part.lines)) for part in parts
    ]


def test_limits_and_budgets_that_counted_are_named(world: World) -> None:
    """The hourly limit with what was left, and the budget with its period."""
    world.grant(100)
    world.tally.budgets.put(SYSTEM, level="customer", customer=USER, amount=50, per="day")
    world.charge(1, "limited")
    for charge in (world.charge(1, "limited"), world.capture(world.hold(1, "limited"))):
        view = explain(world, charge)
        assert view.explain.limit is not None
        assert (3, parse_rfc3339("2027-01-10T13:00:00Z")) == (
            view.explain.limit.limit,
            view.explain.limit.reset_at,
        )
        [budget] = view.explain.budgets
        assert (f"budget:customer:{to_text('cust', view.customer_id)}", MICROS) == (
            budget.source,
            budget.amount,
        )
        assert parse_rfc3339("2027-01-10T00:00:00Z") == budget.period_at


def test_a_charge_under_an_unlimited_plan_was_paid_by_the_plan(world: World) -> None:
    """From a grant made for it; the balance is the same before and after."""
    world.plan("unlimited")
    view = explain(world, world.charge(10))
    [lot] = view.explain.lots
    assert ("monthly_grant", 10) == (lot.category, whole(lot.amount))
    assert [(0, 0)] == [(change.before, change.after) for change in view.explain.balances]


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE transactions SET amount = amount - 1 WHERE id = {id}",
        "UPDATE transactions SET meter = 'limited' WHERE id = {id}",
        "UPDATE transfers SET amount = amount + 1 WHERE transaction_id = {id}",
        "UPDATE entries SET balance_after = balance_after + 1 WHERE transaction_id = {id}",
        "DELETE FROM entries WHERE transaction_id = {id}",
    ],
)
def test_a_charge_that_was_edited_afterwards_shows_a_broken_seal(world: World, edit: str) -> None:
    """Whichever of its rows it was."""
    world.grant(10)
    charge = world.charge(4)
    assert explain(world, charge).explain.seal_ok
    with world.tally.database.write() as connection:
        connection.exec_driver_sql(edit.format(id=from_text("chg", charge)))
    assert not explain(world, charge).explain.seal_ok


def test_a_charge_is_shown_to_its_owner_and_to_services_only(world: World) -> None:
    """For everybody else there is no such charge; a hold, a grant and garbage are no charges."""
    world.grant(10)
    charge, hold = world.charge(4), world.hold(1)
    bob = world.customer("bob")
    ann = Caller(role="user", scope="", name="", customer_id=explain(world, charge).customer_id)
    service = Caller(role="service", scope="service:s", name="key_x")
    assert world.tally.explain.charge(ann, charge) == world.tally.explain.charge(service, charge)
    with pytest.raises(errors.NotFound):
        world.tally.explain.charge(bob, charge)
    for text in (hold.replace("hold_", "chg_"), "chg_zzz", "", "chg_0000000000000"):
        with pytest.raises(errors.NotFound):
            explain(world, text)


# --- a balance as of a moment -------------------------------------------------------------------------------


def test_a_balance_as_of_a_moment_is_what_was_shown_then(world: World) -> None:
    """After grants, charges, holds, captures, refunds, expiry, a clawback and a month's end."""
    shown: dict[Micros, tuple[object, ...]] = {}

    def look() -> None:
        balance = world.balance()
        lots = tuple((lot.id, lot.remaining, lot.held) for lot in balance.grants)
        shown[world.clock.micros] = (balance.balance, balance.available, balance.held, balance.debt, *lots)
        world.clock.advance("PT1H")

    steps: list[Callable[[], object]] = [
        lambda: world.plan("roll"),
        lambda: world.grant(50, expires_at="2027-01-11T03:30:00Z"),
        lambda: world.grant(30, "purchase"),
        lambda: world.charge(20),
        lambda: world.hold(60, expires_in=3 * 86_400),
        lambda: world.charge(10, "both"),
        lambda: world.hold(40, expires_in=2 * 3600),
    ]
    world.grant(500, unit="tokens")
    for step in steps:
        look()
        step()
    hold = world.hold(25, expires_in=86_400)
    look()
    charge = world.capture(hold, 12)
    look()
    world.refund(charge, 5)
    look()
    payment = world.grant(100, "purchase")
    look()
    world.charge(world.available())
    look()
    world.claw_back(payment, 100)
    look()
    for _ in range(80):  # past the expiry, the holds' ends and the month's
        look()
        world.clock.advance("PT7H")
    assert len({figures[0] for figures in shown.values()}) >= 10
    for moment, figures in shown.items():
        found = world.tally.explain.customer(SYSTEM, USER, moment)
        wallet = next(each for each in found.wallets if each.unit == "credits")
        lots = tuple((lot.grant_id, lot.remaining, lot.held) for lot in wallet.lots)
        assert figures == (wallet.balance, wallet.available, wallet.held, wallet.debt, *lots)
        assert all(each.statement_agrees for each in found.wallets)


def test_before_the_first_line_a_wallet_was_empty(world: World) -> None:
    """And without a moment, it is now."""
    world.grant(5)
    first = world.tally.explain.customer(SYSTEM, USER, world.clock.micros - 1).wallets[0]
    assert (0, 0, ()) == (first.balance, first.entries, first.lots)
    now = world.tally.explain.customer(SYSTEM, USER)
    assert (world.clock.micros, 5 * MICROS, 1) == (now.at, now.wallets[0].balance, now.wallets[0].entries)


def test_a_frozen_wallet_is_shown_as_frozen_from_that_moment_on(world: World) -> None:
    """Not before it, and not any more once it is thawed."""
    before = world.clock.micros
    world.clock.advance("PT1H")
    world.freeze()
    frozen_at = world.clock.micros
    world.clock.advance("PT1H")
    shown = world.tally.explain.customer(SYSTEM, USER).wallets[0]
    assert (frozen_at, None) == (
        shown.frozen_at,
        world.tally.explain.customer(SYSTEM, USER, before).wallets[0].frozen_at,
    )
    world.thaw()
    assert world.tally.explain.customer(SYSTEM, USER).wallets[0].frozen_at is None


def test_a_statement_that_was_edited_does_not_agree_any_more(world: World) -> None:
    """The balance is worked out from the transfers, so the forged line stands out."""
    world.grant(5)
    with world.tally.database.write() as connection:
        connection.exec_driver_sql("UPDATE entries SET balance_after = 500000000")
    wallet = world.tally.explain.customer(SYSTEM, USER).wallets[0]
    assert (5 * MICROS, False) == (wallet.balance, wallet.statement_agrees)


def test_only_admins_explain_customers_and_only_the_past(world: World) -> None:
    """Services and users are refused; the future is not known."""
    service = Caller(role="service", scope="service:s", name="key_x")
    for caller in (service, world.customer("bob")):
        with pytest.raises(errors.NotAllowed):
            world.tally.explain.customer(caller, "bob")
    with pytest.raises(errors.ValidationFailed):
        world.tally.explain.customer(SYSTEM, USER, world.clock.micros + 1)
    with pytest.raises(errors.UnknownCustomer):
        world.tally.explain.customer(SYSTEM, "nobody")
