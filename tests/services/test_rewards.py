"""Rewards by the economy's ranges, each fact once; streaks of days, and referrals."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM, Caller
from tests.tallies import ECONOMY, USER, World

TERMS = """
[rewards.challenge]
description = "Solving a challenge"
[rewards.challenge.ranges]
easy = [10, 50]
first_place = [500, 500]
[rewards.daily]
description = "Coming back"
ranges = { any = [5, 8] }
streak_step = 1
[rewards.achievement]
description = "A milestone"
aliases = ["system"]
ranges = { any = [50, 100] }
[referral]
referrer = 50
referred = 20
"""


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """A customer and an economy with rewards."""
    path = tmp_path / "rewards.toml"
    path.write_text(ECONOMY + TERMS)
    with World(database_url, tmp_path, economy=str(path)) as world:
        yield world


def award(world: World, source: str, **terms: str | int) -> float:
    """What a reward gave."""
    made = world.tally.rewards.award(SYSTEM, customer=USER, source=source, **terms)  # type: ignore[arg-type]
    return made.value.amount / MICROS


def test_a_fact_is_rewarded_once(world: World) -> None:
    """Whoever tells of it, and however often; with other terms it is a conflict."""
    service = Caller(role="service", scope="service:game", name="service:game")
    for caller in (SYSTEM, service, SYSTEM):
        made = world.tally.rewards.award(
            caller, customer=USER, source="challenge", fact="maze", amount=40, difficulty="easy"
        )
    assert made.replayed
    assert (40, [("reward", 40)]) == (world.available(), world.lots())
    with pytest.raises(errors.Conflict):
        award(world, "challenge", fact="maze", amount=41)
    assert 40 == award(world, "challenge", fact="maze", amount=40, reason="told in other words")
    path = Path(world.economy)
    path.write_text(path.read_text().replace("easy = [10, 50]", "easy = [10, 30]"))
    world.tally.economies.activate(str(path))
    assert 40 == award(world, "challenge", fact="maze", amount=40, difficulty="easy")
    with pytest.raises(errors.InvalidAmount):
        award(world, "challenge", fact="third", amount=40, difficulty="easy")
    assert 40 == award(world, "challenge", fact="another", amount=40)


def test_facts_told_at_once_are_rewarded_once(world: World) -> None:
    """By eight services at the same moment."""

    def tell(_: int) -> bool:
        try:
            award(world, "challenge", fact="maze", amount=40)
        except errors.IdempotencyInFlight:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert any(pool.map(tell, range(8)))
    assert 40 == world.available()


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"source": "challenge", "fact": "a", "amount": 9}, "amount"),
        ({"source": "challenge", "fact": "a", "amount": 501}, "amount"),
        ({"source": "challenge", "fact": "a", "amount": 51, "difficulty": "easy"}, "amount"),
        ({"source": "challenge", "fact": "a", "difficulty": "easy"}, "amount"),
        ({"source": "challenge", "fact": "a", "amount": 20, "difficulty": "hard"}, "difficulty"),
        ({"source": "challenge", "amount": 20}, "fact"),
        ({"source": "luck", "fact": "a", "amount": 20}, "source"),
        ({"source": "daily", "amount": 5}, "amount"),
        ({"source": "daily", "fact": "monday"}, "fact"),
    ],
)
def test_what_the_economy_has_no_range_for_is_refused(
    world: World, terms: dict[str, str | int], field: str
) -> None:
    """The refusal names the field and what was expected."""
    with pytest.raises(errors.ValidationFailed) as refused:
        award(world, **terms)  # type: ignore[arg-type]
    assert refused.value.detail.startswith(f"{field}: expected")
    assert "expected expected" not in refused.value.detail
    assert 0 == world.available()


def test_a_range_of_one_amount_needs_none_and_aliases_are_names(world: World) -> None:
    """First place is 500; ``system`` is an achievement."""
    assert 500 == award(world, "challenge", fact="cup", difficulty="first_place")
    assert 60 == award(world, "system", fact="tenth task", amount=60)


def test_a_streak_grows_each_day_and_begins_anew_after_a_gap(world: World) -> None:
    """Once a day by UTC, a step more for each further day, up to the largest."""
    given = []
    for _ in range(6):
        given.append(award(world, "daily"))
        assert given[-1] == award(world, "daily")
        world.clock.advance("P1D")
    assert [5, 6, 7, 8, 8, 8] == given
    world.clock.advance("P1D")
    assert 5 == award(world, "daily")
    world.clock.set("2027-01-18T00:00:00Z")
    made = world.tally.rewards.award(SYSTEM, customer=USER, source="daily").value
    assert 6 * MICROS == made.amount
    grants = world.tally.grants.list(SYSTEM, customer=USER).items
    world.void(to_text("grant", grants[1].id))
    assert 6 == award(world, "daily")


def test_a_referral_rewards_both_sides_once(world: World) -> None:
    """For each who came; nobody is brought twice, nor by itself."""
    world.customer("bob")
    for replayed in (False, True):
        found = world.tally.rewards.refer(SYSTEM, referrer=USER, referred="bob")
        assert found.referrer is not None
        assert found.referred is not None
        assert (replayed, replayed) == (found.referrer.replayed, found.referred.replayed)
    assert (50, 20) == (
        world.balance(customer=USER).available / MICROS,
        world.balance(customer="bob").available / MICROS,
    )
    path = Path(world.economy)
    path.write_text(path.read_text().replace("referrer = 50", "referrer = 60"))
    world.tally.economies.activate(str(path))
    again = world.tally.rewards.refer(SYSTEM, referrer=USER, referred="bob")
    assert again.referrer is not None
    assert (50 * MICROS, True) == (again.referrer.value.amount, again.referrer.replayed)
    world.customer("cleo")
    with pytest.raises(errors.Conflict):
        world.tally.rewards.refer(SYSTEM, referrer="cleo", referred="bob")
    with pytest.raises(errors.ValidationFailed):
        world.tally.rewards.refer(SYSTEM, referrer="cleo", referred="cleo")


def test_nobody_rewards_themselves(world: World) -> None:
    """Rewards are given by services and admins."""
    bob = world.customer("bob")
    with pytest.raises(errors.NotAllowed):
        world.tally.rewards.award(bob, customer="bob", source="daily")
    with pytest.raises(errors.NotAllowed):
        world.tally.rewards.refer(bob, referrer="bob", referred=USER)
