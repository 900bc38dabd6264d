"""Rewards by the economy's ranges, each fact once; streaks of days, and referrals."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
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
    for terms in ({"difficulty": "easy"}, {}):
        with pytest.raises(errors.InvalidAmount):
            award(world, "challenge", fact="another", amount=40, **terms)


def test_a_fact_that_is_told_again_with_another_difficulty_is_refused(world: World) -> None:
    """And the refusal says which one it was; the same again is answered, whatever the economy says by now."""
    given: dict[str, str | int] = {"source": "challenge", "fact": "maze", "difficulty": "first_place"}
    assert 500 == award(world, **given)  # type: ignore[arg-type]
    path = Path(world.economy)
    path.write_text(path.read_text().replace("first_place = [500, 500]", "first_place = [600, 600]"))
    world.tally.economies.activate(str(path))
    for same in (given, {**given, "amount": 500}, {"source": "challenge", "fact": "maze"}):
        assert 500 == award(world, **same)
    again: dict[str, str | int] = {"source": "challenge", "fact": "maze", "difficulty": "easy"}
    for other in (again, {**again, "amount": 500}):
        with pytest.raises(errors.Conflict, match="500 credits for the difficulty first_place, not easy"):
            award(world, **other)  # type: ignore[arg-type]
    assert 500 == world.available()


def test_a_difficulty_that_is_told_later_is_held_beside_the_amount(world: World) -> None:
    """Where a fact was first told of without one."""
    assert 40 == award(world, "challenge", fact="maze", amount=40)
    assert 40 == award(world, "challenge", fact="maze", difficulty="easy")
    with pytest.raises(errors.Conflict, match="no reward for the difficulty first_place"):
        award(world, "challenge", fact="maze", difficulty="first_place")


@pytest.mark.parametrize("difficulties", [("easy", "middling"), ("middling", "easy")])
def test_of_two_difficulties_told_at_once_one_is_rewarded(
    world: World, difficulties: tuple[str, str]
) -> None:
    """Also where both would give as much."""
    path = Path(world.economy)
    path.write_text(path.read_text().replace("easy = [10, 50]", "easy = [10, 50]\nmiddling = [10, 90]"))
    world.tally.economies.activate(str(path))

    def tell(difficulty: str) -> bool:
        try:
            award(world, "challenge", fact="maze", amount=40, difficulty=difficulty)
        except (errors.Conflict, errors.IdempotencyInFlight):
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert [False, True] == sorted(pool.map(tell, difficulties))
    assert 40 == world.available()


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
        ({"source": "challenge", "fact": "a", "amount": 75}, "amount"),
        ({"source": "challenge", "fact": "a"}, "amount"),
        ({"source": "challenge", "fact": "a", "amount": 51, "difficulty": "easy"}, "amount"),
        ({"source": "challenge", "fact": "a", "difficulty": "easy"}, "amount"),
        ({"source": "challenge", "fact": "a", "amount": 20, "difficulty": "hard"}, "difficulty"),
        ({"source": "challenge", "amount": 20}, "fact"),
        ({"source": "luck", "fact": "a", "amount": 20}, "source"),
        ({"source": "daily", "amount": 5}, "amount"),
        ({"source": "daily", "fact": "monday"}, "fact"),
        ({"source": "daily", "difficulty": "any"}, "difficulty"),
        ({"source": "achievement", "fact": "a", "amount": 60, "difficulty": "easy"}, "difficulty"),
        ({"source": "challenge", "fact": " maze", "amount": 20}, "fact"),
        ({"source": "challenge", "fact": "maze\n", "amount": 20}, "fact"),
        ({"source": "challenge", "fact": "ma\tze", "amount": 20}, "fact"),
        ({"source": "challenge", "fact": "", "amount": 20}, "fact"),
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


def test_an_amount_between_two_ranges_is_in_none(world: World) -> None:
    """The refusal names the ranges."""
    with pytest.raises(errors.InvalidAmount) as refused:
        award(world, "challenge", fact="a", amount=75)
    assert "amount: expected 10 to 50 or 500 credits" == refused.value.detail


def test_a_repeat_with_a_difficulty_that_is_none_is_refused(world: World) -> None:
    """As the first time."""
    award(world, "challenge", fact="maze", amount=40)
    with pytest.raises(errors.ValidationFailed, match="difficulty: expected one of easy, first_place"):
        award(world, "challenge", fact="maze", difficulty="hard")


def test_facts_are_told_apart_as_they_are_written(world: World) -> None:
    """Capitals and the two spellings of an accent are two facts: nothing is made alike."""
    for fact in ("maze", "MAZE", "caf\u00e9", "cafe\u0301", "a:b"):
        award(world, "challenge", fact=fact, amount=10)
    assert 50 == world.available()


def earn(world: World, source: str, amount: int, key: str = "maze") -> float:
    """What an award with an idempotency key gave."""
    made = world.tally.rewards.earn(
        SYSTEM, customer=USER, amount=amount, reason="earned", source=source, idempotency_key=key
    )
    return made.value.amount / MICROS


def test_an_award_with_a_key_is_held_to_what_the_economy_knows(world: World) -> None:
    """A referral without a range of its own is one of the amounts of ``[referral]``."""
    assert (20, 50) == (earn(world, "referral", 20, "a"), earn(world, "referral", 50, "b"))
    for source, amount in (("referral", 30), ("referral", 1_000_000), ("challenge", 75)):
        with pytest.raises(errors.InvalidAmount):
            earn(world, source, amount)
    with pytest.raises(errors.ValidationFailed, match="amount: expected none"):
        earn(world, "daily", 5)
    with pytest.raises(errors.ValidationFailed, match="source: expected one of"):
        earn(world, "app_usage", 10)
    path = Path(world.economy)
    path.write_text(path.read_text().replace("referrer = 50", "referrer = 0").replace("= 20", "= 0"))
    world.tally.economies.activate(str(path))
    with pytest.raises(errors.ValidationFailed, match="source: expected one of"):
        earn(world, "referral", 20)
    assert 70 == world.available()


def test_a_fact_is_the_same_through_both_doors(world: World) -> None:
    """An idempotency key names it as ``fact`` does."""
    assert 40 == award(world, "challenge", fact="maze", amount=40)
    assert 40 == earn(world, "challenge", 40)
    assert 40 == world.available()


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


def test_a_streak_stays_within_a_range_that_has_changed(world: World) -> None:
    """What was given yesterday may be less than the least of today, or more than the most."""
    path = Path(world.economy)
    text = path.read_text()
    given = [award(world, "daily")]
    for least, most in ((20, 40), (1, 3)):
        world.clock.advance("P1D")
        path.write_text(text.replace("any = [5, 8]", f"any = [{least}, {most}]"))
        world.tally.economies.activate(str(path))
        given.append(award(world, "daily"))
    assert [5, 20, 3] == given


def test_only_what_a_streak_gave_is_a_day_of_it(world: World) -> None:
    """A grant by hand counts as no day, whatever it refers to; nor does a day that was voided."""
    world.tally.grants.create(
        SYSTEM, customer=USER, amount=6, category="reward", reference="daily", idempotency_key="by hand"
    )
    world.clock.advance("P1D")
    assert 5 == award(world, "daily")
    world.void(to_text("grant", world.tally.grants.list(SYSTEM, customer=USER).items[0].id))
    world.clock.advance("P1D")
    assert 5 == award(world, "daily")


@pytest.mark.parametrize("referrer", [50, 0])
def test_nobody_is_brought_by_whom_it_brought(world: World, referrer: int) -> None:
    """Not by itself and not through others, also where whoever brings gets nothing."""
    path = Path(world.economy)
    path.write_text(path.read_text().replace("referrer = 50", f"referrer = {referrer}"))
    world.tally.economies.activate(str(path))
    for name in ("bob", "cleo", "dan", "eve"):
        world.customer(name)
    for bringer, comer in ((USER, "bob"), ("bob", "cleo"), ("cleo", "dan")):
        world.tally.rewards.refer(SYSTEM, referrer=bringer, referred=comer)
    before = world.available()
    for bringer in ("bob", "dan"):
        with pytest.raises(errors.Conflict, match="this customer brought"):
            world.tally.rewards.refer(SYSTEM, referrer=bringer, referred=USER)
    with pytest.raises(errors.Conflict, match="by somebody else"):
        world.tally.rewards.refer(SYSTEM, referrer=USER, referred="cleo")
    assert before == world.available()
    assert world.tally.rewards.refer(SYSTEM, referrer="eve", referred=USER).referred is not None


@pytest.mark.parametrize("length", [2, 3, 4])
def test_of_referrals_at_once_that_make_a_circle_one_is_refused(world: World, length: int) -> None:
    """By as many processes as it has customers: whichever comes last, however long the circle is."""
    others = [world.open() for _ in range(length - 1)]
    processes = [world.tally, *others]
    gate = threading.Barrier(length)

    def refer(process: Tally, bringer: str, comer: str) -> str:
        gate.wait()
        try:
            process.rewards.refer(SYSTEM, referrer=bringer, referred=comer)
        except errors.Conflict as refusal:
            return refusal.detail
        return ""

    with ThreadPoolExecutor(length) as pool:
        for turn in range(15):
            names = [f"{turn} {number}" for number in range(length)]
            for name in names:
                world.customer(name)
            told = list(pool.map(refer, processes, names, [*names[1:], names[0]]))
            refused = "this customer brought its referrer, or somebody who did"
            assert [""] * (length - 1) + [refused] == sorted(told)
            got = sum(world.balance(customer=name).available for name in names) / MICROS
            assert 70 * (length - 1) == got
    for other in others:
        other.close()


def test_a_referral_told_at_once_rewards_both_sides_once(world: World) -> None:
    """By two processes, each several times: all but the first get its answer."""
    other = world.open()
    world.customer("bob")

    def refer(process: Tally) -> tuple[bool, bool]:
        found = process.rewards.refer(SYSTEM, referrer=USER, referred="bob")
        assert found.referrer is not None
        assert found.referred is not None
        return found.referrer.replayed, found.referred.replayed

    with ThreadPoolExecutor(6) as pool:
        told = sorted(pool.map(refer, [world.tally, other] * 3))
    assert [(False, False), *[(True, True)] * 5] == told
    assert (50, 20) == tuple(world.balance(customer=who).available / MICROS for who in (USER, "bob"))
    other.close()


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
