"""What may be paid out: earnings from paid credits, older than the hold period, and undisputed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tests.services.market import Market


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
