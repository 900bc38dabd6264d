"""What other systems got wrong about plans that are paid by the month: each pitfall by its number."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.subscribers import GOOD, THEN_DECLINED, Subscriber


@pytest.fixture
def sue(database_url: str, tmp_path: Path) -> Iterator[Subscriber]:
    """A customer on the free plan; afterwards the audit must find nothing."""
    with Subscriber(database_url, tmp_path) as world:
        yield world
        assert world.clean()


def test_pitfall_19_subscribing_keeps_purchased_credits(sue: Subscriber) -> None:
    """Whatever becomes of the subscription, what was bought stays."""
    sue.grant(500, "purchase", customer="sue")
    sue.subscribe("pro")
    sue.ask("team")
    sue.tally.subscriptions.cancel(sue.user)
    sue.go("2027-02-10T12:00:01Z")
    assert ("free", 510) == (sue.plan_of(), sue.has())


def test_pitfall_24_an_outage_makes_no_month_twice_and_none_is_missing(sue: Subscriber) -> None:
    """Months that were paid while nobody listened come once each, with their own ends."""
    sue.subscribe("pro")
    sue.clock.set("2027-05-31T00:00:00Z")
    while sue.provider.run_once():
        pass
    for _ in range(2):
        sue.tally.run_all()
        with sue.open() as other:
            other.run_all()
    assert ([10, 1000, 1000, 1000, 1000, 1000], 1000) == (sue.granted(), sue.has())


def test_pitfall_26_upgrades_and_downgrades_farm_nothing(sue: Subscriber) -> None:
    """Neither credits nor money: the dearer plan's price is not given back while its credits can be spent."""
    sue.subscribe("pro")
    for tier in ("team", "pro", "team", "saver", "free", "team", "pro"):
        sue.clock.advance("PT1M")
        sue.ask(tier)
        sue.tally.run_all()
    assert [10, 1000, 4000] == sue.granted()
    paid = sum(cents for _, cents, _ in sue.bills())
    assert paid > 3000 + 5000
    sue.go("2027-02-10T11:30:00Z")
    sue.go("2027-02-10T12:00:01Z")
    assert ("pro", 1000) == (sue.plan_of(), sue.has())
    assert paid + 2900 < sum(cents for _, cents, _ in sue.bills())


def test_pitfall_39_a_proration_bill_grants_the_difference_and_not_the_month(sue: Subscriber) -> None:
    """In the middle of the period: 4,000 for the rest of the price, and not 5,000 once more; told again, nothing."""
    sue.subscribe("pro")
    sue.go("2027-01-25T12:00:00Z")
    sue.ask("team")
    for event in sue.provider.events(since=0):
        sue.tally.provider_events.handle(event)
    sue.tally.run_all()
    assert ([10, 1000, 4000], 5010) == (sue.granted(), sue.has())
    [first, second] = sue.bills()
    assert (("paid", 3000, 1000), 4000) == (first, second[2])
    assert 2900 < second[1] < 3200
    sue.go("2027-02-10T12:00:01Z")
    assert ([10, 1000, 4000, 5000], 5000) == (sue.granted(), sue.has())


def test_pitfall_39_a_bill_that_is_paid_late_grants_its_own_month_only(sue: Subscriber) -> None:
    """What was not paid in time neither comes twice nor lasts longer."""
    sue.subscribe("pro", THEN_DECLINED)
    sue.go("2027-02-10T12:00:01Z")
    sue.new_card(GOOD)
    sue.go("2027-02-13T13:00:00Z")
    sue.go("2027-02-13T14:00:00Z")
    assert ([10, 1000, 1000], 1000) == (sue.granted(), sue.has())
    sue.go("2027-03-10T12:00:01Z")
    assert ([10, 1000, 1000, 1000], 1000) == (sue.granted(), sue.has())
