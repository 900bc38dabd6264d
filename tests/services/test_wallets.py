"""Clawing credits back, debt and its repayment; freezing and thawing wallets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.times import parse_rfc3339
from tallystick.services.context import SYSTEM
from tests.tallies import USER, World


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer on a plan without an allowance."""
    with World(database_url, tmp_path) as world:
        yield world


# --- clawback and debt --------------------------------------------------------------------------------------


def test_a_clawback_of_unspent_credits_leaves_no_debt(world: World) -> None:
    """They are simply gone."""
    payment = world.grant(100, "purchase")
    world.charge(30)
    world.claw_back(payment, 70)
    assert (0, 0, 0, 0) == world.figures()


def test_a_clawback_of_spent_credits_is_debt_that_the_next_credit_repays_first(world: World) -> None:
    """The balance falls below zero at once, and what comes in can be spent once the debt is gone."""
    payment = world.grant(100, "purchase")
    world.charge(80)
    world.claw_back(payment, 100)
    assert (-80, 0, 0, 80) == world.figures()
    world.grant(50)
    assert (-30, 0, 0, 30) == world.figures()
    with pytest.raises(errors.InsufficientCredits):
        world.charge(1)
    world.grant(50)
    assert (20, 20, 0, 0) == world.figures()
    assert [
        ("clawback", -100),
        ("bonus", 50),
        ("debt_repayment", 0),
        ("bonus", 50),
        ("debt_repayment", 0),
    ] == [line[1:] for line in world.statement()[-5:]]


def test_debt_is_repaid_by_a_refund_and_by_the_monthly_grant(world: World) -> None:
    """Every credit counts, also those that come by themselves."""
    payment = world.grant(100, "purchase")
    charge = world.charge(100)
    world.claw_back(payment, 100)
    world.refund(charge, 40)
    assert (-60, 0, 0, 60) == world.figures()
    world.plan("later")
    world.clock.set("2027-02-01T00:00:00Z")
    assert (40, 40, 0, 0) == world.figures()


def test_a_clawback_takes_no_more_than_the_payment_gave(world: World) -> None:
    """In one part or in several, and never of what is only scheduled or was voided."""
    payment = world.grant(100, "purchase")
    world.claw_back(payment, 60)
    for amount in (41, 100):
        with pytest.raises(errors.ExceedsRefundable) as refused:
            world.claw_back(payment, amount)
        assert 40 * MICROS == refused.value.fields["refundable"]
    world.claw_back(payment, 40)
    scheduled = world.grant(5, "purchase", effective_at="2027-02-01T00:00:00Z")
    with pytest.raises(errors.ExceedsRefundable):
        world.claw_back(scheduled, 1)
    voided = world.grant(5, "purchase")
    world.void(voided)
    with pytest.raises(errors.Conflict):
        world.claw_back(voided, 1)
    assert (0, 0, 0, 0) == world.figures()


def test_held_credits_that_are_clawed_back_become_debt(world: World) -> None:
    """The hold keeps what it has; what it gives back is there again, beside the debt."""
    payment = world.grant(100, "purchase")
    hold = world.hold(60)
    world.claw_back(payment, 100)
    assert (0, 0, 60, 60) == world.figures()
    world.release(hold)
    assert (0, 60, 0, 60) == world.figures()


# --- freezing -----------------------------------------------------------------------------------------------


def test_nothing_is_drawn_from_a_frozen_wallet(world: World) -> None:
    """Charges and holds are refused by name; credits still come in, and the balance is shown."""
    world.grant(10)
    world.freeze()
    for ask in (world.charge, world.hold):
        with pytest.raises(errors.WalletFrozen):
            ask(1)
    world.grant(5)
    assert (15, 15, 0, 0) == world.figures()
    assert world.clock.micros == world.balance().frozen_at
    world.thaw()
    world.charge(15)
    assert world.balance().frozen_at is None


def test_the_other_wallet_of_a_customer_is_not_frozen_with_it(world: World) -> None:
    """But an operation that needs both is refused whole."""
    world.grant(10)
    world.grant(10, unit="tokens")
    world.tally.wallets.freeze(SYSTEM, customer=USER, unit="tokens")
    world.charge(1)
    with pytest.raises(errors.WalletFrozen):
        world.charge(1, "both")
    assert 9 == world.available()


def test_nothing_is_lost_while_a_wallet_is_frozen_and_expiry_moves_on(world: World) -> None:
    """A grant with ten days left has ten days left after the thaw, in the same burn order."""
    world.grant(10, reason="ten days", expires_at="2027-01-20T12:00:00Z")
    world.grant(20, reason="forty days", expires_at="2027-02-19T12:00:00Z")
    world.grant(30, reason="for ever")
    world.freeze()
    world.clock.set("2027-04-10T12:00:00Z")
    assert (60, 60, 0, 0) == world.figures()
    world.thaw()
    assert (60, 60, 0, 0) == world.figures()
    assert ["ten days", "forty days", "for ever"] == [grant.reason for grant in world.balance().grants]
    assert parse_rfc3339("2027-04-20T12:00:00Z") == world.balance().grants[0].expires_at
    world.clock.set("2027-04-20T12:00:00Z")
    assert 50 == world.available()
    world.clock.set("2027-05-20T12:00:00Z")
    assert 30 == world.available()


def test_credits_that_come_back_to_a_frozen_wallet_are_not_lost(world: World) -> None:
    """A hold that ends, and a refund, after the grant would have expired."""
    world.grant(10, expires_at="2027-01-11T00:00:00Z")
    hold = world.hold(4, expires_in=30 * 86_400)
    charge = world.charge(3)
    world.freeze()
    world.clock.set("2027-01-12T00:00:00Z")
    world.release(hold)
    world.refund(charge)
    assert (10, 10, 0, 0) == world.figures()
    world.thaw()
    assert (10, 10, 0, 0) == world.figures()
    world.clock.advance("PT12H")
    assert (0, 0, 0, 0) == world.figures()


def test_a_frozen_wallet_keeps_its_monthly_credits_and_still_gets_new_ones(world: World) -> None:
    """Nothing that would have expired at the end of the month is taken meanwhile."""
    world.plan("lose")
    world.freeze()
    world.clock.set("2027-03-15T00:00:00Z")
    assert 300 == world.available()
    world.thaw()
    assert 300 == world.available()


def test_freezing_twice_and_thawing_twice_changes_nothing_more(world: World) -> None:
    """The first moment counts, and credits do not gain time by repeats."""
    world.grant(10, expires_at="2027-01-20T12:00:00Z")
    world.freeze()
    since = world.clock.micros
    world.clock.advance("P1D")
    world.freeze()
    assert since == world.balance().frozen_at
    world.thaw()
    world.clock.advance("P1D")
    world.thaw()
    assert parse_rfc3339("2027-01-21T12:00:00Z") == world.balance().grants[0].expires_at
