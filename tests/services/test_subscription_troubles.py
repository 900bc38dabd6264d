"""Paid plans when answers get lost, programs end in the middle, events come in any order, and somebody pays twice."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tallystick.core import errors
from tallystick.ports.payments import Event
from tallystick.services.plans import Plans
from tallystick.services.subscription_looks import SubscriptionLooks
from tallystick.services.subscriptions import Subscriptions
from tallystick.store.schema_payments import subscriptions
from tests.services.installation import at_once
from tests.services.subscribers import GOOD, THEN_DECLINED, Flaky, Subscriber


@pytest.fixture
def sue(database_url: str, tmp_path: Path) -> Iterator[Subscriber]:
    """A customer on the free plan; afterwards the audit must find nothing."""
    with Subscriber(database_url, tmp_path) as world:
        yield world
        assert world.clean()


def flaky(sue: Subscriber) -> Flaky:
    """From now on requests for plans go through a provider whose answers can be lost."""
    tally = sue.tally
    provider: Any = Flaky(sue.provider)
    looks = SubscriptionLooks(tally.context, provider, tally.fulfilment)
    plans = Plans(tally.context, tally.customers)
    tally.subscriptions = Subscriptions(tally.context, tally.customers, provider, plans, looks)
    flakiness: Flaky = provider
    return flakiness


# --- lost answers -------------------------------------------------------------------------------------------


def test_an_upgrade_whose_answer_is_lost_is_asked_for_again(sue: Subscriber) -> None:
    """The card was charged; the same request finds that, and charges nothing more."""
    sue.subscribe("pro")
    flaky(sue).lose_answers_of.add("change_subscription")
    with pytest.raises(errors.PaymentsUnavailable):
        sue.ask("team")
    assert "team" == sue.ask("team").tier
    sue.tally.run_all()
    assert ([10, 1000, 4000], 2) == (sue.granted(), len(sue.bills()))


def test_an_upgrade_whose_answer_is_lost_comes_without_asking(sue: Subscriber) -> None:
    """The worker finds what was written down."""
    sue.subscribe("pro")
    flaky(sue).lose_requests_of.add("change_subscription")
    with pytest.raises(errors.PaymentsUnavailable):
        sue.ask("team")
    assert "pro" == sue.plan_of()
    sue.clock.advance("PT3M")
    sue.tally.subscriptions.run_once()
    sue.tally.run_all()
    assert ("team", [10, 1000, 4000]) == (sue.plan_of(), sue.granted())


def test_another_plan_can_be_asked_for_while_an_answer_is_missing(sue: Subscriber) -> None:
    """What was asked for first is settled first."""
    sue.subscribe("saver")
    flaky(sue).lose_answers_of.add("change_subscription")
    with pytest.raises(errors.PaymentsUnavailable):
        sue.ask("pro")
    assert "team" == sue.ask("team").tier
    sue.tally.run_all()
    assert (5510, [10, 500, 500, 4000]) == (sue.has() + 500, sue.granted())


def test_a_page_whose_answer_is_lost_is_the_same_page(sue: Subscriber) -> None:
    """Only one can ever be paid."""
    flakiness = flaky(sue)
    flakiness.lose_answers_of.add("create_checkout")
    with pytest.raises(errors.PaymentsUnavailable):
        sue.ask("pro")
    first = sue.ask("pro")
    flakiness.lose_answers_of.add("create_checkout")
    second = sue.ask("pro")
    assert first.checkout_url == second.checkout_url


def test_a_page_whose_answer_never_came_is_given_up(sue: Subscriber) -> None:
    """Nobody knows its address."""
    flaky(sue).lose_answers_of.add("create_checkout")
    with pytest.raises(errors.PaymentsUnavailable):
        sue.ask("pro")
    sue.go("2027-01-10T12:05:00Z")
    assert "expired" == sue.see().status
    sue.subscribe("pro")
    assert "pro" == sue.plan_of()


def test_a_cancellation_that_was_not_heard_is_told_again(sue: Subscriber) -> None:
    """The next month must not be billed."""
    sue.subscribe("pro")
    flaky(sue).lose_requests_of.add("cancel_subscription")
    with pytest.raises(errors.PaymentsUnavailable):
        sue.tally.subscriptions.cancel(sue.user)
    assert sue.see().ends_at is None
    sue.clock.advance("PT3M")
    sue.tally.subscriptions.run_once()
    assert sue.see().ends_at is not None


def test_a_provider_that_is_away_keeps_nobody_from_looking(sue: Subscriber) -> None:
    """What is known is shown, and asked for again later."""
    sue.ask("pro")
    flakiness = flaky(sue)
    flakiness.lose_requests_of.add("checkout")
    assert "pending" == sue.see().status
    sue.subscribe("pro")
    flakiness.lose_requests_of.add("subscription")
    sue.clock.set("2027-02-10T13:00:01Z")
    assert {"subscription_looked_at": 1} == sue.tally.subscriptions.run_once()
    assert {} == sue.tally.subscriptions.run_once()


# --- a program that ends in the middle ----------------------------------------------------------------------


def test_a_crash_between_the_answer_and_the_commit_loses_nothing(
    sue: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider has the money, our books do not say so: whoever looks next books it, once."""
    sue.subscribe("pro")

    def crash(*_args: object, **_fields: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sue.tally.context.ledger.__class__, "post", crash)
        with pytest.raises(KeyboardInterrupt):
            sue.ask("team")
    assert ("pro", 1010) == (sue.plan_of(), sue.has())
    assert "team" == sue.ask("team").tier or sue.plan_of() == "team"
    sue.tally.run_all()
    assert ("team", [10, 1000, 4000], 2) == (sue.plan_of(), sue.granted(), len(sue.bills()))


# --- events -------------------------------------------------------------------------------------------------


def history(sue: Subscriber) -> list[Event]:
    """Subscribe, upgrade, renew, cancel and end, while nobody listens; gives the events, newest last."""
    sue.pay(sue.ask("pro"))
    [page] = [row for row in [sue.see()] if row.status == "active"]
    assert page.plan == "pro"
    sue.clock.set("2027-01-20T12:00:00Z")
    provider, reference = sue.provider, reference_of(sue)
    provider.change_subscription(
        reference, plan="team", title="Team", amount_cents=9000, price=None, key="by hand"
    )
    for moment in ("2027-02-10T12:00:01Z", "2027-03-10T12:00:01Z"):
        sue.clock.set(moment)
        while provider.run_once():
            pass
    provider.cancel_subscription(reference, at_period_end=True, key="by hand too")
    sue.clock.set("2027-04-10T12:00:01Z")
    while provider.run_once():
        pass
    return list(provider.events(since=0))[::-1]


def reference_of(sue: Subscriber) -> str:
    """The provider's id of the subscription."""
    with sue.tally.database.read() as connection:
        return str(connection.execute(sa.text("SELECT reference FROM subscriptions")).scalar_one())


@pytest.mark.parametrize("seed", range(8))
def test_events_in_any_order_and_number_end_in_the_same_books(sue: Subscriber, seed: int) -> None:
    """Lost, twice and mixed up: after what was missed is asked for, every paid month was granted once."""
    events = history(sue)
    chance = random.Random(seed)
    told = [event for event in events if chance.random() < 0.7] * 2
    chance.shuffle(told)
    for event in told:
        sue.tally.provider_events.handle(event)
    sue.tally.run_all()
    assert "free" == sue.plan_of()
    assert 10 == sue.has()
    assert [10, 10, 1000, 4000, 5000, 5000] == sorted(sue.granted())
    assert {"paid"} == {status for status, _, _ in sue.bills()}
    assert 4 == len(sue.bills())


def test_events_of_a_subscription_that_a_restored_database_does_not_know(sue: Subscriber) -> None:
    """Its payer is known: it is the customer's again, also when several events of it are handled at the same moment."""
    sue.subscribe("pro")
    with sue.tally.context.database.read() as connection:
        reference = connection.execute(sa.select(subscriptions.c.reference)).scalar_one()
    looks = SubscriptionLooks(sue.tally.context, sue.provider, sue.tally.fulfilment)
    for _ in range(20):
        sue.tally.context.database.transact(lambda connection: connection.execute(subscriptions.delete()))
        assert ["active"] * 4 == at_once([lambda: looks.look_subscription(reference, _mark)] * 4)
    assert ("pro", [10, 1000]) == (sue.plan_of(), sue.granted())


def test_events_of_others_are_none_of_ours(sue: Subscriber) -> None:
    """Subscriptions and bills that we did not make change nothing."""
    looks = SubscriptionLooks(sue.tally.context, sue.provider, sue.tally.fulfilment)
    for found in (
        looks.look_subscription("sub_unknown", _mark),
        looks.look_invoice("in_unknown", _mark),
    ):
        assert found is None


def _mark(_connection: object, _outcome: str) -> None:
    """Nothing to mark."""


# --- twice --------------------------------------------------------------------------------------------------


def test_a_second_subscription_is_ended_and_its_credits_stay(sue: Subscriber) -> None:
    """Somebody paid on two pages: what was paid for is granted, and no second month is billed."""
    first = sue.ask("pro")
    page = sue.provider.checkout(first.checkout_url.rpartition("/")[2] if first.checkout_url else "")
    assert page is not None
    other = sue.provider.create_checkout(order_like(sue, page.payer or ""), key="a page that nobody knows of")
    sue.pay(first)
    sue.provider.pay(other.id, GOOD)
    sue.tally.run_all()
    assert ("active", "pro", 2010) == (sue.see().status, sue.plan_of(), sue.has())
    sue.go("2027-02-10T12:00:01Z")
    assert ([10, 1000, 1000, 1000], 1000) == (sue.granted(), sue.has())


def order_like(sue: Subscriber, payer: str) -> Any:
    """Another page for the same plan, under an id of ours that is not the customer's order."""
    from tallystick.core.ids import to_text
    from tallystick.ports.payments import CheckoutOrder

    return CheckoutOrder(
        reference=to_text("plan", 12345),
        mode="subscription",
        payer=payer,
        title="Pro plan",
        amount_cents=3000,
        plan="pro",
        expires_at=sue.clock.micros + 3_600_000_000,
        success_url="https://example.test/yes",
        cancel_url="https://example.test/no",
    )


def test_programs_take_turns(sue: Subscriber) -> None:
    """Two processes that look at the same subscription in turn end where one would."""
    with sue.open() as other:
        sue.subscribe("pro")
        for tally, moment in zip(
            itertools.cycle((other, sue.tally)),
            ("2027-02-10T12:00:01Z", "2027-03-10T12:00:01Z", "2027-04-10T12:00:01Z"),
            strict=False,
        ):
            sue.clock.set(moment)
            tally.run_all()
        assert [10, 1000, 1000, 1000, 1000] == sue.granted()


def test_a_payment_that_is_told_when_its_month_is_over(sue: Subscriber) -> None:
    """The renewal was declined before anybody heard of the first bill: the plan is there, as in any month past due."""
    assert "done" == sue.pay(sue.ask("pro"), THEN_DECLINED)
    sue.clock.advance("P1M")
    sue.tally.run_all()
    assert ("pro", "past_due") == (sue.plan_of(), sue.see().status)
    assert 1000 in sue.granted()
