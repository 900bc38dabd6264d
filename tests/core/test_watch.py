"""When an owner is told of a balance: once for each threshold, until the balance has recovered from it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.watch import (
    DEPLETED,
    LOW,
    RECOVERED,
    USED_UP,
    News,
    Watch,
    begin,
    is_of,
    look,
    recovery_point,
    steps,
)

TWO = (20, 100)

thresholds_of = st.lists(st.integers(1, 300), max_size=4).map(sorted).map(tuple)
balances = st.lists(st.integers(0, 400), max_size=40)


def told(thresholds: Sequence[int], path: Sequence[int], *, watch: Watch | None = None) -> list[News]:
    """What is told along a path of balances, each of which is looked at; the first one begins the watch."""
    found = []
    for number, available in enumerate(path):
        if watch is None and number == 0:
            watch = begin(thresholds, available)
            continue
        assert watch is not None
        watch, news = look(thresholds, watch, available)
        found += [] if news is None else [news]
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([150, 100], []),
        ([150, 99], [News(LOW, 100)]),
        ([150, 99, 101, 99, 109, 50], [News(LOW, 100)]),
        ([150, 99, 110, 99], [News(LOW, 100), News(RECOVERED, 100), News(LOW, 100)]),
        ([150, 15], [News(LOW, 20)]),
        ([150, 90, 15, 0], [News(LOW, 100), News(LOW, 20), News(USED_UP, DEPLETED)]),
        ([150, 0], [News(USED_UP, DEPLETED)]),
        ([150, 0, 21, 0, 5, 0], [News(USED_UP, DEPLETED)]),
        ([150, 0, 22, 0], [News(USED_UP, DEPLETED), News(RECOVERED, 20), News(USED_UP, DEPLETED)]),
        ([150, 15, 60, 300], [News(LOW, 20), News(RECOVERED, 20), News(RECOVERED, 100)]),
        ([150, 15, 300], [News(LOW, 20), News(RECOVERED, 100)]),
        ([0, 300, 99], [News(LOW, 100)]),
        ([60, 19], [News(LOW, 20)]),
        ([60, 300], []),
    ],
)
def test_what_is_told_along_a_path(path: list[int], expected: list[News]) -> None:
    """Thresholds of 20 and 100: each once, the lowest of several, and again only from a tenth above on."""
    assert expected == told(TWO, path)


def test_nothing_is_watched_without_thresholds() -> None:
    """Also not that nothing is left."""
    assert Watch() == begin((), 5)
    assert [] == told((), [5, 0, 5])


def test_a_balance_recovers_a_tenth_above_the_threshold() -> None:
    """Rounded up, so that it is above at the smallest threshold too; nothing left recovers with the lowest one."""
    assert [110, 24, 2] == [recovery_point((each,), each) for each in (100, 21, 1)]
    assert 22 == recovery_point(TWO, DEPLETED)


@pytest.mark.parametrize(
    ("thresholds", "available", "expected", "news"),
    [
        ((20, 100), 150, Watch(None, 100, None), None),
        ((20, 100), 60, Watch(None, 20, 110), None),
        ((20, 100), 0, Watch(None, None, 22), None),
        ((), 0, Watch(), None),
    ],
)
def test_a_wallet_that_was_never_watched_is_placed_in_silence(
    thresholds: tuple[int, ...], available: int, expected: Watch, news: News | None
) -> None:
    """Its owner is not told what was so before anybody watched."""
    assert (expected, news) == look(thresholds, Watch() if thresholds else Watch(5, 6, 7), available)
    assert expected == begin(thresholds, available)


@pytest.mark.parametrize(
    ("after", "available", "expected"),
    [
        ((20,), 50, (Watch(None, 20, None), News(RECOVERED, 20))),  # the threshold that was told is gone
        ((20, 50, 100), 60, (Watch(100, 50, 110), None)),  # what was told stays told
        ((20, 100), 105, (Watch(100, 20, 110), None)),
        ((50, 100), 40, (Watch(50, DEPLETED, 55), None)),  # a new threshold is not told at once
        ((30, 100, 105), 112, (Watch(105, 100, 116), News(RECOVERED, 100))),
        ((), 60, (Watch(), None)),
    ],
)
def test_changed_thresholds_tell_at_most_a_recovery(
    after: tuple[int, ...], available: int, expected: tuple[Watch, News | None]
) -> None:
    """A balance of which it was told that it is below 100, when the operator changes the thresholds."""
    before, _ = look((25, 100), begin((25, 100), 150), 90)
    assert Watch(100, 25, 110) == before
    assert expected == look(after, before, available)


def test_used_up_is_not_told_again_because_thresholds_changed() -> None:
    """It recovers with the lowest of the new thresholds."""
    used_up, _ = look(TWO, begin(TWO, 150), 0)
    watch, news = look((40, 100), used_up, 5)
    assert (Watch(DEPLETED, None, 44), None) == (watch, news)
    assert [News(RECOVERED, 40)] == told((40, 100), [0, 43, 44], watch=watch)


def check(thresholds: Sequence[int], found: Sequence[News]) -> None:
    """The rules for every sequence of messages about one wallet."""
    known: set[int] = set()  # The thresholds that the owner knows the balance to be below.
    for news in found:
        if news.type == RECOVERED:
            assert news.threshold >= min(known)
            known = {each for each in known if each > news.threshold}
        else:
            assert news.threshold not in known, f"{news} was told already"
            assert (news.type == USED_UP) == (news.threshold == DEPLETED)
            known |= {each for each in steps(thresholds) if each >= news.threshold}


@given(thresholds=thresholds_of, path=balances)
def test_no_threshold_is_told_twice_without_a_recovery(thresholds: tuple[int, ...], path: list[int]) -> None:
    """Whatever the balance does, however seldom anybody looks."""
    check(thresholds, told(thresholds, path))


@given(before=thresholds_of, after=thresholds_of, path=balances, turn=st.integers(0, 40))
def test_nor_when_the_thresholds_change(
    before: tuple[int, ...], after: tuple[int, ...], path: list[int], turn: int
) -> None:
    """The operator may change them at any time."""
    watch = begin(before, 200)
    known: set[int] = set()
    has_heard = False
    for number, available in enumerate(path):
        watch, news = look(after if number >= turn else before, watch, available)
        if news is None:
            continue
        if news.type == RECOVERED:
            assert has_heard
            known = set()
        else:
            assert news.threshold not in known
            known.add(news.threshold)
            has_heard = True


@given(thresholds=thresholds_of, path=balances)
def test_the_messages_say_what_is_so(thresholds: tuple[int, ...], path: list[int]) -> None:
    """A low balance is below its threshold and above all lower ones; a recovered one is clearly above its own."""
    watch = begin(thresholds, 500)
    for available in path:
        watch, news = look(thresholds, watch, available)
        assert is_of(thresholds, watch)
        if news is None:
            continue
        if news.type == RECOVERED:
            assert available >= recovery_point(thresholds, news.threshold)
        else:
            assert news.threshold == next(each for each in steps(thresholds) if available < each)


@given(thresholds=thresholds_of, path=balances)
def test_a_look_between_the_figures_finds_nothing(thresholds: tuple[int, ...], path: list[int]) -> None:
    """So whoever only looks when a balance has left them misses nothing; and a second look finds nothing either."""
    watch = begin(thresholds, 200)
    for available in path:
        after, news = look(thresholds, watch, available)
        left = (watch.below is not None and available < watch.below) or (
            watch.above is not None and available >= watch.above
        )
        assert left or (watch, None) == (after, news)
        watch = after
        assert (watch, None) == look(thresholds, watch, available)
