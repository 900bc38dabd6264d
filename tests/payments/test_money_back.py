"""Refunds and disputes on both providers: credits follow the money, down and up, and what was spent becomes debt."""

from dataclasses import replace

import pytest

from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tests.payments.broken import Broken, Crash
from tests.payments.fixtures import Open
from tests.payments.shop import USER, Shop, refused
from tests.services.installation import at_once


def test_refunds_in_parts(shop: Shop) -> None:
    """Each takes its part of the credits; they add up to the whole and no further."""
    row = shop.buy()
    first = shop.refund(row, "5")
    assert ("succeeded", 500) == (first.refund.status, first.payment.refunded_cents)
    assert (1_500, "partially_refunded") == (shop.balance(), shop.status(row))
    shop.deliver()
    assert 1_500 == shop.balance()
    assert "invalid_amount" == refused(lambda: shop.refund(row, "15.01"))
    shop.refund(row)
    assert (0, "refunded") == (shop.balance(), shop.status(row))
    assert "invalid_amount" == refused(lambda: shop.refund(row))
    shop.deliver()
    assert [] == shop.reconcile().differences


def test_one_key_refunds_once(shop: Shop) -> None:
    """A repeat gives the first answer, another body is refused; many at the same moment are one."""
    row = shop.buy()
    again = shop.refund(row, "5", key="mine")
    assert again.refund.id == shop.refund(row, "5", key="mine").refund.id
    assert "idempotency_key_reused" == refused(lambda: shop.refund(row, "6", key="mine"))
    at_once([lambda: shop.refund(row, "2", key="next")] * 5)
    shop.deliver()
    assert (1_300, 700) == (shop.balance(), shop.payment(row.id).refunded_cents)


def test_a_refund_by_an_admins_key_is_written_down(shop: Shop) -> None:
    """Before the provider is asked, and what came of it afterwards; a repeat and a refusal are not."""
    made = shop.tally.keys.create(SYSTEM, name="Olga", role="admin")
    olga = replace(shop.tally.identity.authenticate(made.key, shop.tally.context.now()), door="cli")
    row = shop.buy()
    payment = to_text("pay", row.id)
    for _ in range(2):
        shop.tally.payment_refunds.create(olga, payment, amount="5", reason="broken", idempotency_key="one")
    assert "invalid_amount" == refused(
        lambda: shop.tally.payment_refunds.create(olga, payment, amount="16", idempotency_key="two")
    )
    [action] = shop.tally.operator_actions.list().items
    assert ("refund_payment", "done", "broken", "cli", payment) == (
        action.action,
        action.status,
        action.reason,
        action.door,
        action.subject,
    )
    assert (action.outcome or "").startswith("$5 was paid back (ref_")


def test_only_admins_refund_what_was_paid(shop: Shop) -> None:
    """Nobody gives back what never came, or another's money."""
    view = shop.order()
    assert "conflict" == refused(lambda: shop.refund(shop.payment(view.payment_id)))
    row = shop.buy()
    name = to_text("pay", row.id)
    assert "not_allowed" == refused(
        lambda: shop.tally.payment_refunds.create(shop.customer(), name, idempotency_key="k")
    )
    assert 2_000 == shop.balance()


def test_a_refund_in_the_dashboard(shop: Shop) -> None:
    """Nobody told us but the event; or, when it is lost, the reconciler."""
    row = shop.buy()
    assert row.reference is not None
    shop.hands.refund(row.reference, 500)
    shop.deliver()
    assert 1_500 == shop.balance()
    shop.hands.refund(row.reference, 700)
    shop.lose_events()
    assert 1_500 == shop.balance()
    report = shop.reconcile()
    assert ([], 800) == (report.differences, shop.balance())


def test_a_refund_after_the_credits_were_spent(shop: Shop) -> None:
    """What is missing is debt, seen at once and repaid first by the next credit."""
    row = shop.buy()
    shop.spend(1_700)
    shop.refund(row)
    assert (-1_700, 0, 1_700) == shop.figures()
    assert "insufficient_credits" == refused(lambda: shop.spend(1))
    shop.give(1_000)
    assert (-700, 0, 700) == shop.figures()
    shop.buy()
    assert (1_300, 1_300, 0) == shop.figures()


def test_a_refund_that_fails_late(shop: Shop) -> None:
    """Its credits come back, its debt goes, and the refund is told as failed."""
    row = shop.buy()
    shop.spend(1_000)
    shop.refund(row, "15")
    shop.deliver()
    assert (-500, 0, 500) == shop.figures()
    assert row.reference is not None
    shop.hands.fail_refund(row.reference)
    shop.deliver()
    assert (1_000, 1_000, 0) == shop.figures()
    assert "succeeded" == shop.status(row)
    shop.hands.advance("PT1M")
    shop.work()
    _, [refund], _ = shop.tally.checkouts.detail(SYSTEM, to_text("pay", row.id))
    assert "failed" == refund.status
    assert refund.failure
    shop.refund(row)
    assert -1_000 == shop.balance()


def test_a_refund_that_takes_its_time(shop: Shop) -> None:
    """It counts as soon as it is on its way."""
    row = shop.buy(card="later")
    assert row.reference is not None
    shop.hands.settle(row.reference, succeeded=True)
    shop.deliver()
    assert "pending" == shop.refund(row, "5").refund.status
    assert 1_500 == shop.balance()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("days", [0, 3])
def test_a_crash_in_the_middle_of_a_refund(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, after: bool, days: int
) -> None:
    """The worker ends it, whether it was made or not, also when the provider has forgotten the key: once."""
    row = shop.buy()
    with monkeypatch.context() as patch:
        broken = Broken(shop.tally.payment_provider, "refund", after=after)
        patch.setattr(shop.tally.payment_refunds, "_provider", broken)
        with pytest.raises(Crash):
            shop.refund(row, "5", key="mine")
    shop.restart()
    shop.lose_events()
    shop.hands.advance(f"P{days}DT2M")
    shop.work(deliver=False)
    assert (1_500, 500) == (shop.balance(), shop.payment(row.id).refunded_cents)
    assert "succeeded" == shop.refund(row, "5", key="mine").refund.status
    [paid] = shop.hands.payments()
    assert (500, 1_500) == (paid.refunded_cents, shop.balance())


def test_a_crash_before_a_refund_is_booked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider has made it; its credits follow by the event, or by the worker without one."""
    for lost in (False, True):
        row = shop.buy(customer="bob" if lost else USER)
        with monkeypatch.context() as patch:
            patch.setattr(shop.tally.payment_refunds, "_fulfilment", Broken(shop.tally.fulfilment, "look"))
            with pytest.raises(Crash):
                shop.refund(row, "5")
        if lost:
            shop.lose_events()
            shop.reconcile()
        else:
            shop.deliver()
    assert (1_500, 1_500) == (shop.balance(), shop.balance("bob"))


def test_a_grant_that_was_clawed_back_by_hand(shop: Shop) -> None:
    """A refund takes what is left of it, and no more; the difference is told."""
    row = shop.buy()
    shop.tally.grants.claw_back(
        SYSTEM, to_text("grant", row.grant_id or 0), amount=1_500, reason="by hand", idempotency_key="c"
    )
    shop.refund(row)
    assert (0, 0, 0) == shop.figures()


def test_a_voided_grant(shop: Shop) -> None:
    """A refund finds nothing to take back; the payment is refunded all the same."""
    row = shop.buy()
    shop.tally.grants.void(SYSTEM, to_text("grant", row.grant_id or 0), reason="mistake", idempotency_key="v")
    shop.refund(row)
    assert ((0, 0, 0), "refunded") == (shop.figures(), shop.status(row))


# --- disputes --------------------------------------------------------------------------------------------------------


def test_a_lost_dispute(shop: Shop) -> None:
    """The credits go when the money does, and stay away."""
    row = shop.buy()
    shop.spend(500)
    assert row.reference is not None
    shop.hands.dispute(row.reference)
    shop.deliver()
    assert ((-500, 0, 500), "disputed") == (shop.figures(), shop.status(row))
    shop.hands.decide(row.reference, won=False)
    shop.deliver()
    assert ((-500, 0, 500), "charged_back") == (shop.figures(), shop.status(row))
    assert [] == shop.reconcile().differences


def test_a_won_dispute(shop: Shop) -> None:
    """The credits come back with the money."""
    row = shop.buy()
    shop.spend(500)
    assert row.reference is not None
    shop.hands.dispute(row.reference)
    shop.deliver()
    shop.hands.decide(row.reference, won=True)
    shop.deliver()
    assert ((1_500, 1_500, 0), "succeeded") == (shop.figures(), shop.status(row))


@pytest.mark.parametrize("won", [True, False], ids=["won", "lost"])
def test_what_was_earned_with_disputed_money_is_not_paid_out(shop: Shop, *, won: bool) -> None:
    """However often it was passed on, and whatever its payer's debt was repaid with; unless the dispute is won."""
    bought = shop.buy()
    shop.buy(customer="cleo")
    shop.settle("ann", "bob", 1_900)
    shop.settle("cleo", "bob", 500)
    for price in (1_900, 300):
        shop.settle("bob", "dora", price)
    earned = {"bob": (2_400, 200, 0), "dora": (2_200, 2_200, 0)}
    assert earned == shop.payouts()
    shop.hands.dispute(str(bought.reference))
    shop.deliver()
    doubtful = {"bob": (2_400, 200, 0), "dora": (2_200, 300, 1_900)}
    assert doubtful == shop.payouts()
    shop.hands.decide(str(bought.reference), won=won)
    shop.deliver()
    shop.give(2_000)
    assert (earned if won else doubtful) == shop.payouts()


def test_an_inquiry(shop: Shop) -> None:
    """It takes nothing; when it becomes a dispute, that takes all."""
    first, second = shop.buy(), shop.buy(10)
    assert first.reference is not None
    assert second.reference is not None
    for each in (first, second):
        shop.hands.inquire(str(each.reference))
    shop.deliver()
    assert (3_000, "disputed") == (shop.balance(), shop.status(first))
    shop.hands.decide(first.reference, won=True)
    shop.hands.dispute(second.reference)
    shop.deliver()
    assert (2_000, "succeeded", "disputed") == (shop.balance(), shop.status(first), shop.status(second))


def test_a_refund_and_a_dispute_of_one_payment(shop: Shop) -> None:
    """Together they take no more than the payment brought; when the dispute is won, the refund stays."""
    row = shop.buy()
    shop.refund(row, "8")
    assert row.reference is not None
    shop.hands.dispute(row.reference)
    shop.deliver()
    assert (0, 0, 0) == shop.figures()
    assert "payment_failed" == refused(lambda: shop.refund(row, "1"))
    shop.hands.decide(row.reference, won=True)
    shop.deliver()
    assert ((1_200, 1_200, 0), "partially_refunded") == (shop.figures(), shop.status(row))


def test_lost_events_of_a_dispute(shop: Shop) -> None:
    """A reconcile finds how it ended."""
    row = shop.buy()
    assert row.reference is not None
    shop.hands.dispute(row.reference)
    shop.lose_events()
    shop.reconcile()
    assert 0 == shop.balance()
    shop.hands.decide(row.reference, won=True)
    shop.lose_events()
    assert ([], 2_000) == (shop.reconcile().differences, shop.balance())


def test_events_of_a_dispute_backwards_and_twice(shop: Shop) -> None:
    """Each asks for what is so now."""
    row = shop.buy()
    assert row.reference is not None
    shop.hands.dispute(row.reference)
    shop.hands.decide(row.reference, won=True)
    shop.hands.refund(row.reference, 500)
    events = shop.hands.take_events()
    for event in [*reversed(events), *events]:
        shop.send(event)
    assert 1_500 == shop.balance()


# --- a wallet is frozen while a dispute is open --------------------------------------------------------------------------


def test_an_open_dispute_freezes_only_where_it_is_asked_for(shop: Shop) -> None:
    """Without the setting nothing is frozen."""
    row = shop.buy()
    shop.hands.dispute(str(row.reference))
    shop.deliver()
    assert not shop.frozen()


def test_two_disputes_freeze_until_the_last_has_ended(open_shop: Open) -> None:
    """The end of the first one thaws nothing yet."""
    shop = open_shop(freeze=True)
    first, second = shop.buy(), shop.buy(10)
    shop.give(100)
    shop.hands.dispute(str(first.reference))
    shop.hands.dispute(str(second.reference))
    shop.deliver()
    assert shop.frozen()
    assert "wallet_frozen" == refused(lambda: shop.spend(1))
    shop.hands.decide(str(first.reference), won=True)
    shop.deliver()
    assert shop.frozen()
    shop.hands.decide(str(second.reference), won=False)
    shop.deliver()
    assert not shop.frozen()
    shop.spend(1)


def test_an_inquiry_freezes_when_it_becomes_a_dispute(open_shop: Open) -> None:
    """Not before, and until its end."""
    shop = open_shop(freeze=True)
    row = shop.buy()
    shop.hands.inquire(str(row.reference))
    shop.deliver()
    assert not shop.frozen()
    shop.hands.dispute(str(row.reference))
    shop.deliver()
    assert shop.frozen()
    shop.hands.decide(str(row.reference), won=True)
    shop.deliver()
    assert not shop.frozen()


@pytest.mark.parametrize("before", [True, False])
def test_an_operators_freeze_outlives_a_dispute(open_shop: Open, *, before: bool) -> None:
    """Whether it came before the dispute or during it."""
    shop = open_shop(freeze=True)
    row = shop.buy()
    if before:
        shop.tally.wallets.freeze(SYSTEM, customer=USER)
    shop.hands.dispute(str(row.reference))
    shop.deliver()
    if not before:
        shop.tally.wallets.freeze(SYSTEM, customer=USER)
    shop.hands.decide(str(row.reference), won=True)
    shop.deliver()
    assert shop.frozen()
    shop.tally.wallets.thaw(SYSTEM, customer=USER)
    assert not shop.frozen()


def test_an_operator_may_thaw_during_a_dispute(open_shop: Open) -> None:
    """Further news of the same dispute freeze nothing again."""
    shop = open_shop(freeze=True)
    row = shop.buy()
    shop.hands.dispute(str(row.reference))
    shop.deliver()
    shop.tally.wallets.thaw(SYSTEM, customer=USER)
    shop.tally.fulfilment.look(row.id)
    assert not shop.frozen()


def test_a_deleted_payer(shop: Shop) -> None:
    """The next purchase makes a new one; the old payments can still be refunded."""
    row = shop.buy()
    shop.hands.delete_payer(str(row.payer))
    shop.deliver()
    other = shop.buy()
    assert row.payer != other.payer
    assert 4_000 == shop.balance()
    shop.refund(row)
    assert 2_000 == shop.balance()
