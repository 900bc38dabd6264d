"""Rules: what they take, what they refuse, and how quantities are found."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.errors import ConfigurationError, ValidationFailed
from tallystick.metering import Lease, Rule
from tallystick.metering.rules import rule_from, up_to_micro

ASKED: dict[str, Any] = {"rows": 3, "some": [1, 2], "text": "four", "deep": [{"cost": 1.5}], "none": None}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("arguments.rows", 3),
        ("arguments.some", 2),
        ("arguments.text", 4),
        ("arguments.deep.0.cost", Decimal("1.500000")),
        ("arguments", 5),
    ],
)
def test_a_path_measures_what_it_finds(path: str, expected: object) -> None:
    """A number counts itself, a list or an object its items, a text its characters."""
    assert expected == Rule(meter="m", quantity=path).held_for(ASKED, arguments=ASKED)


@pytest.mark.parametrize(
    "path", ["arguments.none", "arguments.other", "arguments.rows.more", "arguments.some.7"]
)
def test_a_path_that_finds_nothing_is_told(path: str) -> None:
    """By its own name, before anything is done; afterwards it means what was held."""
    with pytest.raises(ValidationFailed) as raised:
        Rule(meter="m", quantity=path).held_for(ASKED, arguments=ASKED)
    assert path == raised.value.fields["errors"][0]["field"]  # type: ignore[index]
    assert None is Rule(meter="m", used=path).used_for(ASKED, "answer", arguments=ASKED)


@pytest.mark.parametrize("text", ["1000", " 7 ", "1_000", "1e3", "-1", "inf"])
def test_a_text_that_reads_as_a_number_tells_nothing(text: str) -> None:
    """A lenient reader takes it for that number, and it would be paid by its characters; afterwards there is no doubt."""
    for measure in ("arguments.n", lambda asked: asked["n"]):
        with pytest.raises(ValidationFailed):
            Rule(meter="m", quantity=measure).held_for({"n": text}, arguments={"n": text})
    assert len(text) == Rule(meter="m", used="result").used_for({}, text, result=text)


def test_a_function_that_fails_is_told_without_its_words() -> None:
    """What it raises may be anything, and stays in the log."""

    def secret(_asked: object) -> int:
        raise RuntimeError("secret")

    with pytest.raises(ValidationFailed) as raised:
        Rule(meter="m", quantity=secret).held_for(ASKED)
    assert "secret" not in raised.value.detail
    assert 5 == Rule(meter="m", used=lambda asked, answer: len(asked) + answer).used_for({}, 5)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"meter": "m", "amount": 1},
        {"meter": ""},
        {"meter": "m", "unit": "credits"},
        {"amount": -1},
        {"amount": True},
        {"meter": "m", "quantity": "rows"},
        {"meter": "m", "quantity": "result.rows"},
        {"meter": "m", "quantity": -1},
        {"meter": "m", "used": 3},
        {"meter": "m", "used": "arguments..rows"},
        {"meter": "m", "charge_on": "sometimes"},
        {"meter": "m", "charge_on": []},
        {"meter": "m", "charge_on": [99]},
        {"meter": "m", "when_away": "later"},
        {"meter": "m", "when_away": {"quantity": 0}},
        {"meter": "m", "when_away": {"amount": 1}},
        {"meter": "m", "price": 1},
        {"meter": 5},
        {"amount": 1, "unit": ""},
        {"amount": float("nan")},
        {"amount": float("inf")},
        {"amount": 10**40},
        {"meter": "m", "quantity": float("nan")},
        {"meter": "m", "when_away": []},
        {"meter": "m", "when_away": {"quantity": float("inf")}},
        {"meter": "m", "when_away": {"quantity": 1, "seconds": 1.5}},
        "m",
    ],
)
def test_what_is_no_rule_says_where(given: Any) -> None:
    """So that an operator finds the line."""
    with pytest.raises(ConfigurationError, match=r"^tools\.search: expected"):
        rule_from(given, where="tools.search")


def test_a_rule_is_read_from_toml() -> None:
    """With the same fields, and numbers as they are written."""
    text = 'amount = 0.1\nquantity = "arguments.n"\ncharge_on = "always"\nwhen_away = {quantity = 100, seconds = 60}\n'
    expected = Rule(
        amount=Decimal("0.1"),
        quantity="arguments.n",
        charge_on="always",
        when_away=Lease(quantity=100, seconds=60),
    )
    assert expected == rule_from(tomllib.loads(text), where="search")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**9))
def test_the_seller_keeps_the_remainder(value: Decimal) -> None:
    """A number is rounded up, by less than a millionth."""
    rounded = up_to_micro(value)
    assert value <= rounded < value + Decimal("0.000001")
    assert -6 <= int(rounded.as_tuple().exponent)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e30", "1e40"])
def test_what_is_no_quantity_is_refused(value: str) -> None:
    """Neither before the call nor after it does such a number reach the ledger."""
    with pytest.raises(ValidationFailed):
        Rule(meter="m", quantity=lambda _: Decimal(value)).held_for(ASKED)
    with pytest.raises(ValidationFailed):
        Rule(amount=1, quantity="arguments").held_for({}, arguments=10**40)
    assert None is Rule(meter="m", used=lambda _, __: float(value)).used_for(ASKED, "")
