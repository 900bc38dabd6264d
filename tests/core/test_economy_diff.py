"""What changes between two economies, in an operator's words."""

import re
from collections.abc import Iterator

import pytest

from tallystick.core.catalog import Economy
from tallystick.core.economy_diff import Change, diff
from tallystick.core.economy_file import load
from tallystick.core.errors import EconomyInvalid
from tallystick.economies import SHIPPED, read
from tests.core.economy_texts import FULL, SMALL


def economy(text: str, *replacements: tuple[str, str]) -> Economy:
    """Load a text after replacing parts of it."""
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    return load(text, name="test")


def changes(text: str, *replacements: tuple[str, str]) -> list[str]:
    """Give the lines of a diff between a text and the same with parts of it replaced."""
    return [str(change) for change in diff(economy(text), economy(text, *replacements))]


@pytest.mark.parametrize("name", SHIPPED)
def test_an_economy_does_not_differ_from_itself(name: str) -> None:
    """The same content is no change, whatever it is called."""
    assert [] == diff(load(read(name), name=name), load(read(name), name="other"))


# What is replaced in the starter economy by what, and the line that tells it.
LINES = (
    ("price = 1\n", "price = 2\n", "meter lookup: 1 credit → 2 credits; everyone who calls it"),
    ("price = 1\n", "price = 0\n", "meter lookup: 1 credit → free in credits; everyone who calls it"),
    ("hourly_limit = 120", "hourly_limit = 60", "meter search hourly limit: 120 → 60; everyone who calls it"),
    ("hourly_limit = 120\n", "", "meter search hourly limit: 120 → none; everyone who calls it"),
    (
        "price = 1\n",
        "price = 1\nhourly_limit = 5\n",
        "meter lookup hourly limit: none → 5; everyone who calls it",
    ),
    ("flat = 5", "flat = 6", "meter render: 5 → 6 credits and 0.25 credits each; everyone who calls it"),
    (
        "{ up_to = 100, per_unit = 0.5 }",
        "{ up_to = 100, per_unit = 0.4 }",
        "meter enrich: 0.5 → 0.4 up to 100, then 0.25 up to 1000, then 0.1 credits each, graduated; ",
    ),
    (
        "per_unit = 0.01, flat = 1 }",
        "per_unit = 0.01, flat = 2 }",
        "meter export: 1 → 2 and 0.01 up to 1000, then 0.008 up to 10000, then 0.005 credits each, volume; ",
    ),
    (
        "amount = 100\n",
        "amount = 50\n",
        "plan free allowance in credits: 100 → 50 credits a month; customers on it, ",
    ),
    ("price_usd = 19\n", "price_usd = 19.5\n", "plan pro: $19 → $19.50 a month; who subscribes from now on"),
    (
        "amount = 1000\n",
        "amount = 900\n",
        "sign-up grant 1: 1000 → 900 credits as initial_grant: Welcome credits; ",
    ),
    (
        "basis_points = 500",
        "basis_points = 250",
        "task fee: 5 → 2.5 %, rounded floor; tasks made from now on",
    ),
)


@pytest.mark.parametrize(("old", "new", "line"), LINES, ids=[line for _, _, line in LINES])
def test_a_change_is_one_line_that_says_what_and_for_whom(old: str, new: str, line: str) -> None:
    """Where the words are the same, only the figure is shown twice."""
    (told,) = changes(read("starter"), (old, new))
    assert told.startswith(line)


def test_what_is_new_or_gone_is_one_change() -> None:
    """A meter with a limit, a category and a description comes and goes in one line."""
    without = read("starter").replace("[meters.search]", "[meters.find]")
    assert [
        Change("meter find", None, "3 credits", "nobody yet: it is new"),
        Change("meter search", "3 credits", None, "everyone who calls it: calls are refused"),
    ] == diff(economy(read("starter")), economy(without))


def test_everything_of_an_economy_can_come_and_go() -> None:
    """Each section of a full economy is a change against a small one, in both directions."""
    small, full = economy(SMALL), economy(FULL)
    there, back = diff(small, full), diff(full, small)
    sections = {
        "unit USD",
        "sign-up grant 2",
        "plan pro",
        "pack small",
        "purchase",
        "auto-refill",
        "meter both",
    }
    sections |= {"revenue share", "referral", "reward challenge", "sandbox", "low balance in credits"}
    assert sections <= {change.path for change in there if change.old is None}
    assert sections <= {change.path for change in back if change.new is None}
    assert {change.path for change in there} == {change.path for change in back}
    assert all(change.affects for change in there + back)


def test_a_price_in_two_units_is_told_in_both() -> None:
    """Both prices are in the line."""
    (line,) = changes(FULL, ("flat = 0.1\n", ""))
    assert line.startswith(
        "meter both: 2 credits and 0.1 USD and 0.0000045 USD each → 2 credits and 0.0000045 USD"
    )


def altered(text: str) -> Iterator[tuple[str, str]]:
    """Give a text with one value changed, for each of its values, and the line that was changed."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        for match in re.finditer(r'= (\[?)("?)([^"#,\]}\n]*[^"#,\]} \n])', line):
            start, end = match.span(3)
            for value in (
                f"{match[3]}0",
                f"{match[3]}1",
                "true",
                "false",
                "bonus",
                "ceil",
                "now",
                "create_unbilled",
            ):
                changed = line[:start] + value + line[end:]
                yield line, "".join([*lines[:number], changed, *lines[number + 1 :]])


@pytest.mark.parametrize("name", ["starter", "the full one"])
def test_no_change_of_content_is_passed_over(name: str) -> None:
    """Whatever value of a file is changed, the diff shows it: nothing changes behind an operator's back."""
    text = read(name) if name == "starter" else FULL
    before, compared = load(text, name=name), set()
    for line, other in altered(text):
        try:
            after = load(other, name=name)
        except EconomyInvalid:
            continue
        if dataclasses_differ(before, after):
            compared.add(line)
            assert diff(before, after), line
    assert len(compared) >= 5


def dataclasses_differ(one: Economy, other: Economy) -> bool:
    """Say whether two economies differ in anything but their version."""
    return [getattr(one, key) for key in FIELDS] != [getattr(other, key) for key in FIELDS]


FIELDS = [name for name in Economy.__dataclass_fields__ if name != "version"]
