"""Watching balances: when an owner is told that a balance is low, used up, or well again. Pure decisions, no I/O.

An economy has thresholds for a unit, lowest first; nothing left at all is one more below them. A threshold that a balance
falls below is told once. It is told again only after the balance has recovered, clearly above it, so that a balance which
goes up and down around a threshold gives one message. Invariants:

- of several thresholds that are passed at once only the lowest is told: it says the same of the others;
- between two messages about one threshold there is one that the balance has recovered from it, or from a higher one;
- nobody is told of a balance that was low before anyone watched it, nor that such a balance has recovered.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from tallystick.core.amounts import BASIS_POINTS, INT64_MAX

# Below one micro-unit: nothing is left.
DEPLETED: Final = 1
NEVER_TOLD: Final = INT64_MAX
RECOVERY_BASIS_POINTS: Final = 1_000

LOW: Final = "balance.low"
USED_UP: Final = "balance.depleted"
RECOVERED: Final = "balance.recovered"


class Watch(NamedTuple):
    """What a wallet's available amount is compared with, in micro-units; None where there is nothing to wait for.

    ``below`` is the highest threshold that has not been passed, ``above`` where the lowest one that was passed has
    recovered. ``told`` is the lowest threshold that the owner knows to have been passed.
    """

    told: int | None = None
    below: int | None = None
    above: int | None = None


class News(NamedTuple):
    """One message: its type, and the threshold in micro-units that the balance is below, or has recovered from."""

    type: str
    threshold: int


def recovery_point(thresholds: Sequence[int], threshold: int) -> int:
    """The amount from which on a balance counts as recovered from a threshold: a tenth above it, rounded up.

    Where nothing was left, the balance recovers together with the lowest threshold.
    """
    base = thresholds[0] if threshold == DEPLETED else threshold
    return base - (-base * RECOVERY_BASIS_POINTS // BASIS_POINTS)


def begin(thresholds: Sequence[int], available: int) -> Watch:
    """Start watching a balance; nothing is told of what it has passed already."""
    return _at(thresholds, [each for each in steps(thresholds) if available < each], told=False)


def look(thresholds: Sequence[int], watch: Watch, available: int) -> tuple[Watch, News | None]:
    """What to watch for from now on, and what to tell about a balance, if anything.

    ``thresholds`` are those of the unit, lowest first. Where they have changed since ``watch`` was made, the balance is
    placed among the new ones, and only a recovery is told.
    """
    if not is_of(thresholds, watch):
        return _place_anew(thresholds, watch, available)
    if watch.below is not None and available < watch.below:
        passed = [each for each in steps(thresholds) if available < each]
        lowest = passed[0]
        return _at(thresholds, passed, told=True), News(USED_UP if lowest == DEPLETED else LOW, lowest)
    if watch.above is not None and available >= watch.above:
        passed = [each for each in _passed(thresholds, watch) if available < recovery_point(thresholds, each)]
        told = watch.told is not None
        highest = max(each for each in steps(thresholds) if each not in passed)
        return _at(thresholds, passed, told=told), News(RECOVERED, highest) if told else None
    return watch, None


def steps(thresholds: Sequence[int]) -> list[int]:
    """The thresholds of a unit, lowest first, with the one that nothing is left; none where nothing is watched."""
    return sorted({DEPLETED, *thresholds}) if thresholds else []


def is_of(thresholds: Sequence[int], watch: Watch) -> bool:
    """Whether a watch was made for these thresholds."""
    return watch == _at(thresholds, _passed(thresholds, watch), told=watch.told is not None)


def _passed(thresholds: Sequence[int], watch: Watch) -> list[int]:
    """The thresholds that a balance has passed and not recovered from."""
    return [each for each in steps(thresholds) if watch.below is None or each > watch.below]


def _at(thresholds: Sequence[int], passed: Sequence[int], *, told: bool) -> Watch:
    """The watch of a balance that has passed some thresholds: always the highest ones."""
    waiting = [each for each in steps(thresholds) if each not in passed]
    return Watch(
        told=passed[0] if told and passed else None,
        below=waiting[-1] if waiting else None,
        above=recovery_point(thresholds, passed[0]) if passed else None,
    )


def _place_anew(thresholds: Sequence[int], watch: Watch, available: int) -> tuple[Watch, News | None]:
    """Among changed thresholds: from what was told the balance has to recover, and the rest is not told."""
    told = NEVER_TOLD if watch.told is None else watch.told
    passed: list[int] = []
    back: list[int] = []
    for each in steps(thresholds):
        point = each if each < told else recovery_point(thresholds, each)
        (passed if available < point else back).append(each)
    recovered = watch.told is not None and bool(back) and (not passed or back[-1] >= told)
    return (
        _at(thresholds, passed, told=watch.told is not None),
        News(RECOVERED, back[-1]) if recovered else None,
    )
