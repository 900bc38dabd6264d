"""Look-ups in an economy, and the small sums that its shapes do."""

import dataclasses

import pytest

from tallystick.core import errors
from tallystick.core.catalog import DEFAULT_PRIORITIES, Economy, PurchaseRange
from tallystick.core.economy_file import load
from tallystick.core.words import GRANT_CATEGORIES
from tallystick.economies import read


@pytest.fixture(scope="module")
def starter() -> Economy:
    """The default economy."""
    return load(read("starter"), name="starter")


@pytest.fixture(scope="module")
def flow_nexus() -> Economy:
    """The economy with two units and every kind of reward."""
    return load(read("flow-nexus"), name="flow-nexus")


def test_everything_is_found_by_its_name(starter: Economy) -> None:
    """Meters, units, plans and packs know their own names."""
    assert "lookup" == starter.meter("lookup").name
    assert "credits" == starter.unit("credits").name
    assert "pro" == starter.plan("pro").name
    assert "pro" == starter.pack("pro").name


def test_an_unknown_name_is_refused_with_a_close_one(starter: Economy) -> None:
    """Each kind has its own refusal, and a slip of the pen is told."""
    with pytest.raises(errors.UnknownMeter, match=r"no meter lokup; did you mean lookup\?"):
        starter.meter("lokup")
    with pytest.raises(errors.UnknownUnit, match=r"no unit credit; did you mean credits\?"):
        starter.unit("credit")
    with pytest.raises(errors.UnknownPlan, match=r"no plan enterprize; did you mean enterprise\?"):
        starter.plan("enterprize")
    with pytest.raises(errors.UnknownPack, match=r"no pack gold$"):
        starter.pack("gold")


def test_a_very_long_name_is_not_compared_with_anything(starter: Economy) -> None:
    """Looking for a close name takes no time that a caller could multiply."""
    with pytest.raises(errors.UnknownMeter) as refused:
        starter.meter("lookup" * 100_000)
    assert "did you mean" not in refused.value.detail


def test_a_plan_knows_its_allowance_in_a_unit(flow_nexus: Economy) -> None:
    """A unit without an allowance has none."""
    allowance = flow_nexus.plan("pro").allowance("rUv")
    assert allowance is not None
    assert 1_000_000_000 == allowance.amount_micros
    assert flow_nexus.plan("pro").allowance("USD") is None


def test_a_reward_is_found_by_its_source_or_an_alias(flow_nexus: Economy) -> None:
    """The names that the platform's other door uses mean the same."""
    app_usage = flow_nexus.reward("app_usage")
    assert app_usage is not None
    assert app_usage == flow_nexus.reward("app") == flow_nexus.reward("contribution")
    assert flow_nexus.rewards["achievement"] == flow_nexus.reward("system")
    assert flow_nexus.reward("theft") is None


def test_a_reward_has_bounds_for_each_difficulty_and_over_all(flow_nexus: Economy) -> None:
    """Without a difficulty, anything from the smallest to the largest goes."""
    challenge = flow_nexus.rewards["challenge"]
    assert (10_000_000, 50_000_000) == challenge.bounds("beginner")
    assert (500_000_000, 500_000_000) == challenge.bounds("first_place")
    assert (10_000_000, 500_000_000) == challenge.bounds()
    assert challenge.bounds("impossible") is None


def test_dollars_become_credits_rounded_down() -> None:
    """A cent buys a hundredth, and the platform keeps what is finer than a micro-credit."""
    assert 500_000_000 == PurchaseRange("rUv", 1000, 1_000_000, 10_000_000).credits_for(5000)
    assert 0 == PurchaseRange("rUv", 1000, 1_000_000, 99).credits_for(1)


def test_the_lowest_threshold_is_the_one_to_warn_at(flow_nexus: Economy) -> None:
    """A unit without thresholds warns of nothing."""
    assert 20_000_000 == flow_nexus.low_balance.warning_below("rUv")
    assert flow_nexus.low_balance.warning_below("credits") is None


def test_credits_are_drawn_from_what_was_given_to_what_was_bought(starter: Economy) -> None:
    """The default order: monthly, promotional, bonus, earned, purchased."""
    order = ["monthly_grant", "promotional_grant", "bonus", "task_credit", "purchase"]
    assert [10, 20, 30, 40, 50] == [starter.priority(category) for category in order]
    assert DEFAULT_PRIORITIES == starter.priorities


def test_every_category_of_grants_has_a_priority() -> None:
    """The ledger and the catalogue know the same categories."""
    assert GRANT_CATEGORIES == DEFAULT_PRIORITIES.keys()


def test_an_economy_never_changes(starter: Economy) -> None:
    """Its values are frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        starter.title = "Other"  # type: ignore[misc]
