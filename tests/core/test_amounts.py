"""Amounts, quantities, unit prices and every rounding."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallystick.core.amounts import (
    MAX_AMOUNT_MICROS,
    MICROS,
    PICOS,
    Rounding,
    fee_of,
    format_amount,
    parse_amount,
    parse_quantity,
    price_ceil,
    pro_rata_floor,
    scaled_int,
    to_decimal,
)
from tallystick.core.decimals import format_price, format_units
from tallystick.core.errors import InvalidAmount, InvalidQuantity, ValidationFailed

AMOUNTS = st.integers(0, MAX_AMOUNT_MICROS)
ROUNDINGS: tuple[Rounding, ...] = ("floor", "ceil", "half_even")


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (1, 1_000_000),
        (10**9, MAX_AMOUNT_MICROS),
        ("1", 1_000_000),
        ("007.5", 7_500_000),
        ("0.000001", 1),
        ("1.50000000", 1_500_000),
        ("1000000000", MAX_AMOUNT_MICROS),
        ("1000000000.000000", MAX_AMOUNT_MICROS),
        (Decimal("9.5"), 9_500_000),
        (Decimal("1E+2"), 100_000_000),
        (Decimal("0.0000010"), 1),
    ],
    ids=repr,
)
def test_amounts_are_read_exactly(value: object, micros: int) -> None:
    """Whole numbers, decimals and texts of plain digits become whole micro-units."""
    assert micros == parse_amount(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "plain decimal number"),
        (False, "plain decimal number"),
        (1.0, "plain decimal number"),
        (float("nan"), "plain decimal number"),
        (None, "plain decimal number"),
        ([], "plain decimal number"),
        ("", "plain decimal number"),
        (" 1", "plain decimal number"),
        ("1\n", "plain decimal number"),
        ("+1", "plain decimal number"),
        ("-1", "not negative"),
        ("-0.5", "not negative"),
        ("-0", "plain decimal number"),
        ("--1", "plain decimal number"),
        ("1e2", "plain decimal number"),
        (".5", "plain decimal number"),
        ("5.", "plain decimal number"),
        ("1_000", "plain decimal number"),
        ("1,5", "plain decimal number"),
        ("٣", "plain decimal number"),
        ("NaN", "plain decimal number"),
        ("Infinity", "plain decimal number"),
        (Decimal("NaN"), "plain decimal number"),
        (Decimal("sNaN"), "plain decimal number"),
        (Decimal("Infinity"), "plain decimal number"),
        (-1, "not negative"),
        (Decimal("-0.000001"), "not negative"),
        (Decimal("-1e400"), "not negative"),
        (0, "above 0"),
        ("0.000000", "above 0"),
        (Decimal("-0"), "above 0"),
        (Decimal("0e999999"), "above 0"),
        ("0.0000001", "at most 6 decimals"),
        (Decimal("1.0000001"), "at most 6 decimals"),
        (Decimal("1e-400"), "at most 6 decimals"),
        (Decimal("-1e-400"), "not negative"),
        (10**9 + 1, "at most 1000000000"),
        (10**4000, "at most 1000000000"),
        ("1000000000.000001", "at most 1000000000"),
        ("9" * 40, "at most 1000000000"),
        ("9" * 41, "plain decimal number"),
        (Decimal("1e400"), "at most 1000000000"),
        (Decimal("1e999999"), "at most 1000000000"),
    ],
    ids=lambda value: f"{value!r:.30}",
)
def test_what_is_no_amount_is_refused_with_what_was_expected(value: object, expected: str) -> None:
    """Truth values, floats, signs, exponents in texts, NaN, infinities and huge numbers are refused."""
    with pytest.raises(InvalidAmount) as refused:
        parse_amount(value, field="max_price")
    field, _, message = refused.value.detail.partition(": ")
    assert "max_price" == field
    assert expected in message
    assert [{"field": field, "message": message}] == refused.value.fields["errors"]
    assert isinstance(refused.value, ValidationFailed)


def test_zero_is_an_amount_only_where_it_is_allowed() -> None:
    """A free task has a price of zero; a grant of zero is refused."""
    assert 0 == parse_amount(0, allow_zero=True)
    assert 0 == parse_amount("0.0", allow_zero=True)
    with pytest.raises(InvalidAmount):
        parse_amount(0)


@pytest.mark.parametrize("value", [0, -1, True, "x", Decimal("0.0000001")])
def test_a_quantity_follows_the_rules_of_amounts_under_its_own_code(value: object) -> None:
    """A bad quantity is told apart from a bad amount."""
    assert 2_500_000 == parse_quantity("2.5")
    with pytest.raises(InvalidQuantity) as refused:
        parse_quantity(value)
    assert ("invalid_quantity", "quantity") == (refused.value.code, refused.value.detail.partition(":")[0])


@given(AMOUNTS.filter(bool))
@example(1)
@example(MAX_AMOUNT_MICROS)
def test_every_amount_is_read_back_from_what_is_shown(micros: int) -> None:
    """Showing and reading an amount, as a text or a decimal, loses nothing."""
    assert micros == parse_amount(format_amount(micros))
    assert micros == parse_amount(to_decimal(micros))


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (0, "0"),
        (1, "0.000001"),
        (9_500_000, "9.5"),
        (100_000_000, "100"),
        (-1_250_000, "-1.25"),
        (-7, "-0.000007"),
    ],
)
def test_amounts_are_shown_without_exponent_or_trailing_zeros(micros: int, shown: str) -> None:
    """The shown form is the normal form."""
    assert shown == format_amount(micros)
    assert shown == str(to_decimal(micros))


@given(st.decimals(min_value=0, max_value=10**9, allow_nan=False, places=6))
def test_a_decimal_is_the_micro_units_that_it_says(value: Decimal) -> None:
    """Reading agrees with exact arithmetic."""
    assert Fraction(value) * MICROS == parse_amount(value, allow_zero=True)


def test_scaling_knows_other_numbers_of_decimals() -> None:
    """Unit prices have twelve decimals and US dollars two."""
    assert 4_500_000 == scaled_int(Decimal("0.0000045"), decimals=12, maximum=10**21)
    assert 1_050 == scaled_int("10.5", decimals=2, maximum=10**11)
    assert "at most 2 decimals" == scaled_int("10.505", decimals=2, maximum=10**11)


@given(st.integers(1, 10**18), AMOUNTS.filter(bool))
@example(1, 1)
def test_a_price_above_zero_never_charges_zero_and_the_platform_keeps_the_remainder(
    picos: int, quantity: int
) -> None:
    """The price is rounded up, by less than one micro-unit."""
    exact = Fraction(picos * quantity, PICOS)
    charged = price_ceil(picos, quantity)
    assert charged >= 1
    assert 0 <= charged - exact < 1


def test_the_smallest_infrastructure_price_is_exact() -> None:
    """$0.0000045 for a second is $0.0162 for an hour, to the last digit."""
    assert 16_200 == price_ceil(4_500_000, 3600 * MICROS)
    assert 0 == price_ceil(0, 3600 * MICROS)


@given(AMOUNTS, st.integers(0, 10_000), st.integers(0, 10**9), st.sampled_from(ROUNDINGS))
def test_fee_and_payout_make_up_the_amount(amount: int, points: int, fixed: int, rounding: Rounding) -> None:
    """No fee is negative or above the amount, so that the payout is what is left."""
    assert 0 <= fee_of(amount, points, fixed, rounding) <= amount


@pytest.mark.parametrize(
    ("rounding", "fees"),
    [("floor", [0, 0, 0, 1, 1]), ("ceil", [1, 1, 1, 2, 2]), ("half_even", [0, 0, 1, 1, 2])],
)
def test_the_rounding_of_a_fee_says_who_keeps_the_remainder(rounding: Rounding, fees: list[int]) -> None:
    """Rounding down leaves it to the one who is paid, up to the platform, and half_even to the nearer."""
    assert fees == [fee_of(amount, 500, 0, rounding) for amount in (1, 10, 11, 29, 30)]


def test_the_fee_of_the_worked_example_is_exact() -> None:
    """5 % of 10 credits is 0.5: requester -10, owner +9.5, platform +0.5."""
    assert 500_000 == fee_of(10 * MICROS, 500, 0, "floor")
    assert 750_000 == fee_of(10 * MICROS, 500, 250_000, "floor")


def test_a_fixed_fee_is_capped_at_the_amount() -> None:
    """A fee never takes more than there is."""
    assert 100 == fee_of(100, 500, 1_000_000, "ceil")


@given(st.integers(1, 10**12), st.integers(0, 10**12), st.lists(st.integers(0, 10**12), max_size=8))
def test_cumulative_shares_add_up_to_the_whole(whole: int, amount: int, cuts: list[int]) -> None:
    """Shares taken as differences of cumulative ones lose nothing, and none is negative."""
    parts = sorted({0, whole, *(cut % (whole + 1) for cut in cuts)})
    shares = [pro_rata_floor(part, whole, amount) for part in parts]
    assert 0 == shares[0]
    assert amount == shares[-1]
    assert shares == sorted(shares)


def test_a_share_is_rounded_down() -> None:
    """A third of ten leaves the remainder out."""
    assert 3 == pro_rata_floor(1, 3, 10)


@pytest.mark.parametrize(("part", "whole"), [(-1, 3), (4, 3), (0, 0)])
def test_a_share_of_nothing_or_of_too_much_is_a_mistake(part: int, whole: int) -> None:
    """A caller that asks for a part outside of the whole has a bug."""
    with pytest.raises(ValueError, match=str(part)):
        pro_rata_floor(part, whole, 10)


@pytest.mark.parametrize(
    ("picos", "shown"),
    [(0, "0"), (1, "0.000000000001"), (4_500_000, "0.0000045"), (10**12, "1"), (25 * 10**12, "25")],
)
def test_a_price_is_shown_exactly(picos: int, shown: str) -> None:
    """As a plain decimal number, however small."""
    assert shown == format_price(picos)


@pytest.mark.parametrize(
    ("micros", "unit", "expected"),
    [
        (1_000_000, "credits", "1 credit"),
        (-1_000_000, "credits", "-1 credit"),
        (1_000_001, "credits", "1.000001 credits"),
        (0, "credits", "0 credits"),
        (2_000_000, "tokens", "2 tokens"),
        (1_000_000, "USD", "1 USD"),
        (1_000_000, "rUv", "1 rUv"),
        (1_000_000, "bonus", "1 bonus"),
    ],
)
def test_one_of_a_unit_is_singular(micros: int, unit: str, expected: str) -> None:
    """Where the unit's name is an English plural; a name with capitals is an operator's own."""
    assert expected == format_units(micros, unit)
