"""What may be paid out: earnings from paid credits, older than the hold period, and undisputed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tests.services.market import FEE, Market


def line(market: Market, who: str) -> tuple[float, float, float, float, float]:
    """Somebody's line of the report: earned, payable, waiting, disputed, free."""
    number = market.people[who].customer_id
    page = market.tally.payouts.report(SYSTEM)
    [found] = [row for row in page.items if row.customer_id == number]
    earned, payable, waiting, disputed, free = (each / MICROS for each in found[3:])
    return earned, payable, waiting, disputed, free


def test_earnings_wait_for_longer_than_they_can_be_disputed(database_url: str, tmp_path: Path) -> None:
    """A fortnight here, and a week for disputes: what is paid out cannot be asked back."""
    with Market(database_url, tmp_path) as market:
        market.person("anna", paid=100)
        market.person("bob")
        task = market.hire("anna", market.agent("bob", 10))
        market.work("bob", task)
        assert (9.5, 0, 9.5, 0, 0) == line(market, "bob")
        market.world.clock.advance("P14D")
        assert (9.5, 0, 9.5, 0, 0) == line(market, "bob")
        market.world.clock.advance("PT1S")
        assert (9.5, 9.5, 0, 0, 0) == line(market, "bob")
        with pytest.raises(errors.DisputeWindowClosed):
            market.dispute("anna", task)


def test_what_is_disputed_is_not_paid_out(database_url: str, tmp_path: Path) -> None:
    """However long an admin takes; afterwards what was left to the owner is."""
    with Market(database_url, tmp_path) as market:
        market.person("anna", paid=100)
        market.person("bob")
        agent = market.agent("bob", 10)
        first, second = market.hire("anna", agent), market.hire("anna", agent)
        market.work("bob", first)
        market.work("bob", second)
        market.dispute("anna", first)
        market.world.clock.advance("P30D")
        assert (19, 9.5, 0, 9.5, 0) == line(market, "bob")
        market.resolve(first, 4)
        assert (19, 15.2, 0, 0, 0) == line(market, "bob")


def test_free_credits_cannot_go_round_and_become_money(database_url: str, tmp_path: Path) -> None:
    """Two people who hire each other with what they were given earn nothing that is paid out, however often."""
    with Market(database_url, tmp_path) as market:
        for name, other in (("anna", "bob"), ("bob", "anna")):
            market.person(name, free=1000)
            market.agent(name, 100, name=f"for {other}")
        for turn in range(12):
            who, other = ("anna", "bob") if turn % 2 else ("bob", "anna")
            [agent] = [
                row.id
                for row in market.tally.agents.find(SYSTEM).items
                if row.customer_id == market.people[other].customer_id
            ]
            market.work(other, market.hire(who, to_text("agent", agent)))
        market.world.clock.advance("P60D")
        for name in ("anna", "bob"):
            earned, payable, waiting, disputed, free = line(market, name)
            assert (0, 0, 0, 0) == (earned, payable, waiting, disputed)
            assert free > 0


@pytest.mark.parametrize("rule", ["admin", "refund"])
def test_disputes_and_gifts_make_no_money_either(database_url: str, tmp_path: Path, rule: str) -> None:
    """What an owner has spent and owes comes back as free credits: it may be repaid with such."""
    with Market(database_url, tmp_path, terms=FEE + f'on_dispute = "{rule}"\n') as market:
        market.person("payer", paid=100)
        market.person("bob")
        market.person("carol")
        of_bob, of_carol = market.agent("bob", 100), market.agent("carol", 95)
        for _ in range(3):
            task = market.hire("payer", of_bob)
            market.work("bob", task)
            market.work("carol", market.hire("bob", of_carol))
            market.dispute("payer", task)
            if rule == "admin":
                market.resolve(task, 100)
            market.world.grant(95, "reward", customer="bob")
        assert (100, 0) == (market.available("payer"), market.available("bob"))
        market.world.clock.advance("P60D")
        payable = sum(row.payable for row in market.tally.payouts.report(SYSTEM).items)
        paid = sum(
            grant.remaining
            for name in ("payer", "bob")
            for grant in market.world.balance(customer=name).grants
            if grant.origin == "paid"
        )
        assert payable + paid <= 100 * MICROS


def test_who_owes_is_paid_nothing_out(database_url: str, tmp_path: Path) -> None:
    """A refund takes from everything that its owner has before anything is owed."""
    with Market(database_url, tmp_path) as market:
        market.person("payer", paid=200)
        market.person("bob")
        agent = market.agent("bob", 100)
        first = market.hire("payer", agent)
        market.work("bob", first)
        market.world.charge(95, customer="bob")
        market.work("bob", market.hire("payer", agent))
        market.dispute("payer", first)
        market.resolve(first, 100)
        balance = market.world.balance(customer="bob")
        assert (0, 0, 0) == (balance.balance, balance.debt, balance.available)
        assert {"paid": 100 * MICROS} == {
            grant.origin: grant.remaining for grant in market.world.balance(customer="payer").grants
        }
        market.world.clock.advance("P15D")
        assert (190, 0, 0, 0, 0) == line(market, "bob")


def test_what_may_still_be_disputed_is_not_payable(database_url: str, tmp_path: Path) -> None:
    """By the economy under which the task was made, whatever the one of now says."""
    longer = FEE.replace("dispute_days = 7", "dispute_days = 30").replace(
        "payout_days = 14", "payout_days = 60"
    )
    with Market(database_url, tmp_path, terms=longer) as market:
        market.person("payer", paid=100)
        market.person("bob")
        task = market.hire("payer", market.agent("bob", 100))
        market.work("bob", task)
        path = Path(market.world.economy)
        path.write_text(path.read_text().replace(longer, FEE))
        market.tally.economies.activate(str(path))
        market.world.clock.advance("P29D")
        assert (95, 0, 95, 0, 0) == line(market, "bob")
        market.dispute("payer", task)
        market.resolve(task, 0)
        market.world.clock.advance("P1D")
        assert (95, 95, 0, 0, 0) == line(market, "bob")


def test_no_more_is_paid_out_than_was_paid_for(database_url: str, tmp_path: Path) -> None:
    """In a circle with both origins, the paid part only shrinks by the fees."""
    with Market(database_url, tmp_path) as market:
        names = ("anna", "bob", "cleo")
        for name in names:
            market.person(name, free=60, paid=100 if name == "anna" else 0)
        agents = {name: market.agent(name, 150) for name in names}
        for turn in range(15):
            who, other = names[turn % 3], names[(turn + 1) % 3]
            if market.available(who) >= 150:
                market.work(other, market.hire(who, agents[other]))
        market.world.clock.advance("P60D")
        payable = sum(row.payable for row in market.tally.payouts.report(SYSTEM).items)
        assert 0 < payable <= 100 * MICROS


def test_the_report_is_for_services_and_admins(database_url: str, tmp_path: Path) -> None:
    """Not for customers; in pages, and whole as an export."""
    with Market(database_url, tmp_path) as market:
        anna = market.person("anna", paid=100)
        for name in ("bob", "cleo"):
            market.person(name)
            market.work(name, market.hire("anna", market.agent(name, 10)))
        with pytest.raises(errors.NotAllowed):
            market.tally.payouts.report(anna)
        first = market.tally.payouts.report(SYSTEM, limit=1)
        second = market.tally.payouts.report(SYSTEM, limit=1, cursor=first.next_cursor)
        assert (True, False) == (first.has_more, second.has_more)
        [whole] = list(market.tally.payouts.export(SYSTEM).pages)
        assert [*first.items, *second.items] == list(whole)
