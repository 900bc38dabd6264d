"""Any transaction explained: which grants gave or got what, as each of its customers sees it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tallystick.services.movements import TransactionView
from tests.tallies import USER, World, whole


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer on a plan without an allowance."""
    with World(database_url, tmp_path) as world:
        yield world


def explained(world: World, *, customer: str = USER) -> list[TransactionView]:
    """Every transaction of the statement, oldest first, after checking that its movements are what its lines say."""
    found = []
    # A transaction may have several lines.
    for number in dict.fromkeys(entry.id for entry in world.entries(customer=customer)):
        view = world.tally.movements.get(SYSTEM, to_text("txn", number), customer=customer)
        moved = sum(each.amount for each in view.movements)
        assert sum(line.amount for line in view.lines) == moved
        found.append(view)
    return found


def moved(view: TransactionView) -> list[tuple[str | None, int]]:
    return [
        (None if each.grant is None else each.grant.category, whole(each.amount)) for each in view.movements
    ]


def test_a_charge_says_which_grants_gave_what(world: World) -> None:
    """In the order of the draw; its refund goes back to the same ones and names the charge."""
    world.grant(5, "promotional_grant")
    world.grant(5, "purchase")
    charge = world.charge(7)
    world.refund(charge, 3)
    *_, used, back = explained(world)
    assert [("promotional_grant", -5), ("purchase", -2)] == moved(used)
    assert used.is_charge
    assert charge == to_text("chg", used.charge_id or 0)
    assert (charge, False) == (to_text("chg", back.charge_id or 0), back.is_charge)
    assert 3 == sum(amount for _, amount in moved(back))


def test_what_is_owed_is_told_apart_from_grants(world: World) -> None:
    """A clawback of what was spent makes a debt, and the next credits repay it."""
    grant = world.grant(10, "purchase")
    world.charge(8)
    world.claw_back(grant, 10)
    world.grant(20)
    views = explained(world)
    assert [None] == [name for name, amount in moved(views[2]) if amount == -8]
    assert 8 in [amount for view in views[3:] for name, amount in moved(view) if name is None]


def test_a_captured_hold_is_explained_as_a_charge(world: World) -> None:
    """What it took of each grant, and not what it had reserved."""
    world.grant(10)
    world.capture(world.hold(6), 4)
    *_, view = explained(world)
    assert [("bonus", -4)] == moved(view)
    assert view.is_charge


def test_each_side_of_a_settlement_sees_its_own(world: World) -> None:
    """Who pays sees the grants that gave, who is paid the one that was made; neither sees the other's."""
    bob = world.customer("bob")
    world.grant(30, "purchase")
    world.tally.settlements.create(SYSTEM, payer=USER, payee="bob", price=20, idempotency_key="s")
    *_, paid = explained(world)
    *_, earned = explained(world, customer="bob")
    assert paid.id == earned.id
    assert [("purchase", -20)] == moved(paid)
    assert {"task_credit"} == {name for name, _ in moved(earned)}
    world.grant(1)
    *_, newest = explained(world)
    with pytest.raises(errors.NotFound):
        world.tally.movements.get(bob, to_text("txn", newest.id))


def test_everything_else_adds_up_too(world: World) -> None:
    """Grants that expire, are voided, begin later, renew with a plan, or cover whatever is used."""
    world.grant(5, expires_at="2027-01-11T00:00:00Z")
    world.void(world.grant(4))
    world.plan("lose")
    world.charge(3)
    world.clock.advance("P40D")
    world.plan("unlimited")
    world.charge(50)
    views = explained(world)
    assert {"grant", "void", "charge", "expiry"} <= {view.kind for view in views}


@pytest.mark.parametrize("name", ["txn_0", "nothing", "chg_1", ""])
def test_what_is_no_transaction_is_not_found(world: World, name: str) -> None:
    """Whatever the address says."""
    with pytest.raises(errors.NotFound):
        world.tally.movements.get(SYSTEM, name, customer=USER)


def test_amounts_are_micro_units(world: World) -> None:
    """As everywhere in services."""
    world.grant(2)
    [view] = explained(world)
    assert [2 * MICROS] == [each.amount for each in view.movements]
