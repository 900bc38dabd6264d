"""Plans that are paid by the month, at the simulated provider: the whole way, and what goes wrong on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.times import format_rfc3339
from tallystick.services.context import SYSTEM
from tests.services.installation import at_once
from tests.services.subscribers import DECLINED, GOOD, LATE, THEN_DECLINED, Subscriber


@pytest.fixture
def sue(database_url: str, tmp_path: Path) -> Iterator[Subscriber]:
    """A customer on the free plan; afterwards the audit must find nothing."""
    with Subscriber(database_url, tmp_path) as world:
        yield world
        assert world.clean()


def shown(moment: int | None) -> str | None:
    """A time as doors show it."""
    return None if moment is None else format_rfc3339(moment)


# --- the way in ---------------------------------------------------------------------------------------------


def test_a_paid_plan_begins_when_it_is_paid(sue: Subscriber) -> None:
    """Until then the old plan stays; then the whole month comes at once, with the provider's period."""
    view = sue.ask("pro")
    assert ("free", "pending", 10) == (sue.plan_of(), sue.see().status, sue.has())
    sue.clock.set("2027-01-10T12:30:00Z")
    assert "done" == sue.pay(view)
    assert "free" == sue.plan_of()
    sue.tally.run_all()
    seen = sue.see()
    assert ("pro", "active", None) == (seen.plan, seen.status, seen.checkout_url)
    assert ("2027-01-10T12:30:00Z", "2027-02-10T12:30:00Z") == (
        shown(seen.period_start),
        shown(seen.period_end),
    )
    assert ("pro", 1010) == (sue.plan_of(), sue.has())
    assert [("paid", 3000, 1000)] == sue.bills()


def test_looking_at_the_subscription_finds_a_payment_that_nobody_told_of(sue: Subscriber) -> None:
    """The success page need not wait for an event."""
    sue.pay(sue.ask("pro"))
    assert "active" == sue.see().status
    assert 1010 == sue.has()
    sue.tally.run_all()
    assert [10, 1000] == sue.granted()


def test_a_declined_page_leaves_everything_as_it_was(sue: Subscriber) -> None:
    """And the same page can be paid with another card."""
    view = sue.ask("pro")
    assert "declined" == sue.pay(view, DECLINED)
    sue.tally.run_all()
    assert ("free", 10) == (sue.plan_of(), sue.has())
    assert view.checkout_url == sue.ask("pro").checkout_url
    sue.pay(view)
    sue.tally.run_all()
    assert "pro" == sue.plan_of()


def test_a_page_for_another_plan_closes_the_first(sue: Subscriber) -> None:
    """Nobody can pay for two plans."""
    first, second = sue.ask("pro"), sue.ask("team")
    assert first.checkout_url != second.checkout_url
    assert "done" != sue.pay(first)
    sue.pay(second)
    sue.tally.run_all()
    assert ("team", 5010) == (sue.plan_of(), sue.has())


def test_a_page_that_nobody_paid_expires(sue: Subscriber) -> None:
    """And another can be asked for."""
    sue.ask("pro")
    sue.go("2027-01-12T00:00:00Z")
    assert "expired" == sue.see().status
    sue.subscribe("pro")
    assert "pro" == sue.plan_of()


def test_a_late_payment_brings_the_plan_when_it_comes(sue: Subscriber) -> None:
    """Until then the subscription is incomplete."""
    sue.pay(sue.ask("pro"), LATE)
    sue.tally.run_all()
    assert ("free", 10) == (sue.plan_of(), sue.has())
    [bill] = sue.tally.checkouts.list(sue.user).items
    sue.provider.act(bill.reference or "", "settle")
    sue.tally.run_all()
    assert ("pro", 1010) == (sue.plan_of(), sue.has())


def test_free_plans_are_chosen_at_once_and_custom_ones_are_asked_for(sue: Subscriber) -> None:
    """What costs nothing needs no payment; what has no price is not sold by itself."""
    assert ("hobby", "free") == (sue.ask("hobby").tier, sue.ask("free").tier)
    assert [10] == sue.granted()
    with pytest.raises(errors.TierUpgradeFailed, match="ask the operator"):
        sue.ask("enterprise")
    assert sue.ask("free").effective_at == sue.tally.plans.get(sue.user).since


def test_a_repeat_with_a_key_gives_the_first_answer(sue: Subscriber) -> None:
    """Whatever was asked for in between; another request with the key is refused."""
    first = sue.tally.subscriptions.change(sue.user, tier="pro", idempotency_key="k")
    sue.pay(first.value)
    sue.tally.run_all()
    again = sue.tally.subscriptions.change(sue.user, tier="pro", idempotency_key="k")
    assert (True, first.value) == (again.replayed, again.value)
    with pytest.raises(errors.IdempotencyKeyReused):
        sue.ask("team", key="k")


# --- months -------------------------------------------------------------------------------------------------


def test_the_last_day_of_january_pays_for_short_months_too(database_url: str, tmp_path: Path) -> None:
    """Each bill brings its own month; what is left of the last one expires at its end."""
    with Subscriber(database_url, tmp_path, at="2027-01-31T10:00:00Z") as sue:
        sue.subscribe("pro")
        seen = []
        for moment in ("2027-02-28T10:00:01Z", "2027-03-31T10:00:01Z", "2027-04-30T10:00:01Z"):
            sue.go(moment)
            seen.append((shown(sue.see().period_end), sue.has()))
        assert [
            ("2027-03-31T10:00:00Z", 1000),
            ("2027-04-30T10:00:00Z", 1000),
            ("2027-05-31T10:00:00Z", 1000),
        ] == seen
        assert [10, 1000, 1000, 1000, 1000] == sue.granted()
        assert sue.clean()


def test_rollover_follows_the_bills(sue: Subscriber) -> None:
    """At each new bill, what is left beyond the cap expires."""
    sue.subscribe("saver")
    sue.go("2027-02-10T12:00:01Z")
    assert 700 == sue.has()


def test_nothing_comes_before_its_bill_is_paid(sue: Subscriber) -> None:
    """The month ends, its credits expire; a retry that succeeds brings its month, once, and to its own end."""
    sue.subscribe("pro", THEN_DECLINED)
    sue.go("2027-02-10T12:00:01Z")
    assert ("pro", 0, "past_due") == (sue.plan_of(), sue.has(), sue.see().status)
    assert ("failed", 3000, 0) == sue.bills()[-1]
    sue.new_card(GOOD)
    sue.go("2027-02-13T12:00:01Z")
    assert ("pro", 1000, "active") == (sue.plan_of(), sue.has(), sue.see().status)
    assert ("paid", 3000, 1000) == sue.bills()[-1]
    sue.go("2027-03-10T11:59:59Z")
    assert 1000 == sue.has()
    sue.go("2027-03-10T12:00:01Z")
    assert [10, 1000, 1000, 1000] == sue.granted()


def test_a_plan_that_is_never_paid_again_ends(sue: Subscriber) -> None:
    """When the provider gives up, the customer is on the first plan, from the end of what was paid."""
    sue.subscribe("pro", THEN_DECLINED)
    for moment in (
        "2027-02-10T12:00:01Z",
        "2027-02-14T00:00:00Z",
        "2027-02-19T00:00:00Z",
        "2027-02-28T00:00:00Z",
    ):
        sue.go(moment)
    assert ("free", "canceled", 10) == (sue.plan_of(), sue.see().status, sue.has())
    assert "2027-03-10T12:00:00Z" == shown(sue.tally.plans.get(sue.user).period_end)
    sue.go("2027-03-10T12:00:01Z")
    assert [10, 1000, 10, 10] == sue.granted()


def test_a_server_that_was_down_for_months_books_each_paid_month_once(sue: Subscriber) -> None:
    """Bills that come late, and all at once, bring what they would have brought."""
    sue.subscribe("pro")
    sue.clock.set("2027-04-20T00:00:00Z")
    while sue.provider.run_once():
        pass
    sue.tally.run_all()
    assert ([10, 1000, 1000, 1000, 1000], 1000) == (sue.granted(), sue.has())


# --- changing -----------------------------------------------------------------------------------------------


def test_an_upgrade_is_paid_at_once_and_tops_up(sue: Subscriber) -> None:
    """The difference of the credits for the difference of the price; the period stays."""
    sue.subscribe("pro")
    sue.go("2027-01-20T12:00:00Z")
    view = sue.ask("team")
    assert ("team", "pro", {"credits": 4_000_000_000}) == (view.tier, view.previous, view.granted)
    sue.tally.run_all()
    assert ("team", 5010) == (sue.plan_of(), sue.has())
    assert "2027-02-10T12:00:00Z" == shown(sue.tally.plans.get(sue.user).period_end)
    assert 4000 == sue.bills()[-1][2]
    sue.go("2027-02-10T12:00:01Z")
    assert ([10, 1000, 4000, 5000], 5000) == (sue.granted(), sue.has())


def test_a_declined_upgrade_leaves_the_old_plan(sue: Subscriber) -> None:
    """The refusal says where to change the card; with another card it works."""
    sue.subscribe("pro", THEN_DECLINED)
    with pytest.raises(errors.TierUpgradeFailed) as refused:
        sue.ask("team")
    assert str(refused.value.fields["checkout_url"]).startswith("http")
    sue.tally.run_all()
    assert ("pro", "pro", 1010) == (sue.plan_of(), sue.see().plan, sue.has())
    sue.new_card(GOOD)
    assert "team" == sue.ask("team").tier


def test_an_upgrade_that_is_paid_later_follows_later(sue: Subscriber) -> None:
    """Asking is refused until the bill is paid."""
    sue.subscribe("pro")
    sue.new_card(LATE)
    with pytest.raises(errors.TierUpgradeFailed, match="not through yet"):
        sue.ask("team")
    with pytest.raises(errors.TierUpgradeFailed, match="not through yet"):
        sue.ask("team")
    sue.tally.run_all()
    assert ("pro", 1010) == (sue.plan_of(), sue.has())
    bill = sue.tally.checkouts.list(sue.user).items[0]
    sue.provider.act(bill.reference or "", "settle")
    sue.tally.run_all()
    assert ("team", 5010) == (sue.plan_of(), sue.has())


def test_a_downgrade_follows_at_the_end_of_the_period(sue: Subscriber) -> None:
    """What was paid stays until then; the next bill is for the cheaper plan."""
    sue.subscribe("team")
    view = sue.ask("pro")
    assert ("pro", "2027-02-10T12:00:00Z") == (view.tier, shown(view.effective_at))
    assert ("team", "pro") == (sue.plan_of(), sue.see().next_plan)
    sue.go("2027-02-10T11:30:00Z")
    assert 5010 == sue.has()
    sue.go("2027-02-10T12:00:01Z")
    assert ("pro", 1000, None) == (sue.plan_of(), sue.has(), sue.see().next_plan)
    assert [10, 5000, 1000] == sue.granted()
    assert sum(cents for _, cents, _ in sue.bills()) < 9000 + 3000 + 1


def test_a_downgrade_can_be_taken_back(sue: Subscriber) -> None:
    """By asking for the plan that one has."""
    sue.subscribe("team")
    sue.ask("pro")
    sue.ask("team")
    sue.go("2027-02-10T12:00:01Z")
    assert ("team", 5000) == (sue.plan_of(), sue.has())


def test_cancelling_ends_with_the_period(sue: Subscriber) -> None:
    """Nothing is lost before, nothing is billed afterwards, and the free month begins where the paid one ends."""
    sue.subscribe("pro")
    seen = sue.tally.subscriptions.cancel(sue.user)
    assert ("active", "2027-02-10T12:00:00Z", "free") == (seen.status, shown(seen.ends_at), seen.next_plan)
    assert shown(sue.ask("free").effective_at) == shown(seen.ends_at)
    sue.go("2027-02-10T11:59:00Z")
    assert ("pro", 1010) == (sue.plan_of(), sue.has())
    sue.go("2027-02-10T12:00:01Z")
    assert ("free", 10, "canceled") == (sue.plan_of(), sue.has(), sue.see().status)
    assert [("paid", 3000, 1000)] == sue.bills()
    with pytest.raises(errors.NotFound):
        sue.tally.subscriptions.cancel(sue.user)


def test_another_free_plan_can_follow(sue: Subscriber) -> None:
    """The one that was asked for."""
    sue.subscribe("pro")
    assert "hobby" == sue.ask("hobby").tier
    sue.go("2027-02-10T12:00:01Z")
    assert ("hobby", 0) == (sue.plan_of(), sue.has())


def test_a_cancellation_can_be_taken_back(sue: Subscriber) -> None:
    """By asking for the plan, as long as it runs."""
    sue.subscribe("pro")
    sue.tally.subscriptions.cancel(sue.user)
    assert "pro" == sue.ask("pro").tier
    assert (None, None) == (sue.see().ends_at, sue.see().next_plan)
    sue.go("2027-02-10T12:00:01Z")
    assert ("pro", 1000) == (sue.plan_of(), sue.has())


def test_who_cancelled_may_come_back(sue: Subscriber) -> None:
    """With a new subscription and a month of its own."""
    sue.subscribe("pro")
    sue.tally.subscriptions.cancel(sue.user)
    sue.go("2027-02-10T12:00:01Z")
    sue.go("2027-02-15T00:00:00Z")
    sue.subscribe("pro")
    assert ("pro", 1010) == (sue.plan_of(), sue.has())
    assert "2027-03-15T00:00:00Z" == shown(sue.see().period_end)
    assert [10, 1000, 10, 1000] == sue.granted()


def test_up_and_down_and_up_again_grants_nothing_twice(sue: Subscriber) -> None:
    """A month grants at most the dearest plan that was paid in it."""
    sue.subscribe("pro")
    for tier in ("team", "pro", "team", "free", "team"):
        sue.clock.advance("PT1H")
        sue.ask(tier)
        sue.tally.run_all()
    assert [10, 1000, 4000] == sue.granted()


# --- operators ----------------------------------------------------------------------------------------------


def test_an_operator_sets_a_plan_directly(sue: Subscriber) -> None:
    """Without any payment, as before."""
    done = sue.tally.subscriptions.change(SYSTEM, tier="team", customer="sue", idempotency_key="k")
    assert ("team", "free", "none") == (done.value.tier, done.value.previous, sue.see().status)
    again = sue.tally.subscriptions.change(SYSTEM, tier="team", customer="sue", idempotency_key="k")
    assert again.replayed
    sue.go("2027-03-10T12:00:01Z")
    assert 5000 == sue.has()


def test_an_operator_cannot_leave_a_subscription_running(sue: Subscriber) -> None:
    """It has to be ended first; the plan that it pays for may be set again."""
    sue.subscribe("pro")
    with pytest.raises(errors.Conflict, match="end it first"):
        sue.tally.subscriptions.change(SYSTEM, tier="team", customer="sue")
    with pytest.raises(errors.Conflict, match="paid by a subscription"):
        sue.tally.plans.change(SYSTEM, plan="team", customer="sue")
    assert {} == sue.tally.subscriptions.change(SYSTEM, tier="pro", customer="sue").value.granted
    sue.tally.subscriptions.cancel(SYSTEM, customer="sue")
    sue.go("2027-02-10T12:00:01Z")
    assert "team" == sue.tally.subscriptions.change(SYSTEM, tier="team", customer="sue").value.tier


def test_a_refunded_bill_takes_its_credits_pro_rata(sue: Subscriber) -> None:
    """From the grant that the bill made; what was spent of it is owed."""
    sue.subscribe("pro")
    [bill] = sue.tally.checkouts.list(sue.user).items
    sue.provider.act(bill.reference or "", "refund", amount_cents=1500)
    sue.tally.run_all()
    assert (510, "pro") == (sue.has(), sue.plan_of())
    after = sue.tally.checkouts.list(sue.user).items[0]
    assert (1500, 500_000_000) == (after.refunded_cents, after.clawed_back)


def test_other_customers_are_not_shown(sue: Subscriber) -> None:
    """A user sees and ends only its own."""
    sue.subscribe("pro")
    other = sue.customer("eve")
    with pytest.raises(errors.UnknownCustomer):
        sue.tally.subscriptions.get(other, customer="sue")
    with pytest.raises(errors.UnknownCustomer):
        sue.tally.subscriptions.cancel(other, customer="sue")
    with pytest.raises(errors.UnknownCustomer):
        sue.tally.subscriptions.portal(other, customer="sue")


# --- at once ------------------------------------------------------------------------------------------------


def test_two_requests_at_once_make_one_page(sue: Subscriber) -> None:
    """Whoever is second is given the page of the first."""
    asked = at_once([lambda: sue.ask("pro").checkout_url for _ in range(4)])
    assert 1 == len(set(asked))


def test_two_upgrades_at_once_are_one(sue: Subscriber) -> None:
    """One bill, one top-up."""
    sue.subscribe("pro")
    at_once([lambda: sue.ask("team").tier for _ in range(4)])
    sue.tally.run_all()
    assert ("team", [10, 1000, 4000], 2) == (sue.plan_of(), sue.granted(), len(sue.bills()))
