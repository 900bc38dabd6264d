"""Rating: every shape of price, its lines and its remainder."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.core.amounts import MAX_AMOUNT_MICROS, MICROS, PICOS
from tallystick.core.catalog import Meter, Price, Tier
from tallystick.core.errors import AmountTooLarge
from tallystick.core.rating import RatedAmount, RatedLine, rate

QUANTITIES = st.integers(1, 10**13)
TIERS = (
    Tier(100 * MICROS, PICOS // 2),
    Tier(1000 * MICROS, PICOS // 4, flat_micros=2 * MICROS),
    Tier(None, PICOS // 10),
)


def meter(*prices: Price) -> Meter:
    """Make a meter with these prices."""
    return Meter("lookup", "data", "A look-up", prices)


def amount(price: Price, quantity_micros: int) -> int:
    """Rate one price, and check that its lines add up."""
    (rated,) = rate(meter(price), quantity_micros)
    assert rated.amount_micros == sum(line.amount_micros for line in rated.lines)
    return rated.amount_micros


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    """Make the tiers of a price."""
    ends = sorted(draw(st.sets(st.integers(1, 10**12), max_size=5)))
    price, flat = st.integers(0, 2 * PICOS), st.integers(0, 10**9)
    return tuple(Tier(end, draw(price), draw(flat)) for end in [*ends, None])


def test_a_free_price_is_an_amount_of_zero() -> None:
    """The unit is on record, without any line."""
    assert (RatedAmount("credits", 0, ()),) == rate(meter(Price("credits", "free")), MICROS)


@pytest.mark.parametrize("quantity", [1, MICROS, 5000 * MICROS])
def test_a_flat_price_is_for_the_call(quantity: int) -> None:
    """The quantity does not matter."""
    (rated,) = rate(meter(Price("rUv", "flat", 2 * MICROS)), quantity)
    assert RatedAmount("rUv", 2 * MICROS, (RatedLine("flat", MICROS, 0, 2 * MICROS, 2 * MICROS),)) == rated


def test_a_price_per_unit_may_have_a_flat_part() -> None:
    """5 for the call and 0.25 for each second."""
    price = Price("credits", "per_unit", 5 * MICROS, PICOS // 4)
    (rated,) = rate(meter(price), 10 * MICROS)
    line = RatedLine("per_unit", 10 * MICROS, PICOS // 4, 5 * MICROS, 7_500_000)
    assert RatedAmount("credits", 7_500_000, (line,)) == rated


@pytest.mark.parametrize(
    ("quantity", "credits_micros"),
    [(1, 500_000), (100, 50 * MICROS), (101, 52_250_000), (1000, 277 * MICROS), (1010, 278 * MICROS)],
)
def test_a_graduated_price_prices_each_slice_at_its_tier(quantity: int, credits_micros: int) -> None:
    """A tier's end belongs to it, and its flat part is added when it is reached."""
    assert credits_micros == amount(Price("credits", "graduated", tiers=TIERS), quantity * MICROS)


def test_the_lines_of_a_graduated_price_say_what_each_slice_costs() -> None:
    """101 rows are 100 in the first tier and one in the second."""
    (rated,) = rate(meter(Price("credits", "graduated", tiers=TIERS)), 101 * MICROS)
    assert (
        RatedLine("graduated", 100 * MICROS, PICOS // 2, 0, 50 * MICROS, 0),
        RatedLine("graduated", MICROS, PICOS // 4, 2 * MICROS, 2_250_000, 1),
    ) == rated.lines


@pytest.mark.parametrize(
    ("quantity", "credits_micros", "tier"),
    [(100, 50 * MICROS, 0), (101, 27_250_000, 1), (1000, 252 * MICROS, 1), (1001, 100_100_000, 2)],
)
def test_a_volume_price_prices_everything_at_the_tier_reached(
    quantity: int, credits_micros: int, tier: int
) -> None:
    """More can cost less in all: that is what the operator asked for."""
    price = Price("credits", "volume", tiers=TIERS)
    assert credits_micros == amount(price, quantity * MICROS)
    (rated,) = rate(meter(price), quantity * MICROS)
    assert [tier] == [line.tier_index for line in rated.lines]


def test_a_meter_may_cost_two_units_at_once() -> None:
    """Credits and infrastructure dollars come out side by side, in the meter's order."""
    both = meter(Price("rUv", "flat", MICROS), Price("USD", "per_unit", 0, 14_000_000))
    assert [("rUv", MICROS), ("USD", 50_400)] == [
        (rated.unit, rated.amount_micros) for rated in rate(both, 3600 * MICROS)
    ]


@given(tiers(), QUANTITIES, QUANTITIES)
def test_a_graduated_price_never_falls(steps: tuple[Tier, ...], one: int, other: int) -> None:
    """More costs at least as much."""
    price = Price("credits", "graduated", tiers=steps)
    less, more = sorted((one, other))
    assert amount(price, less) <= amount(price, more)


@given(tiers(), QUANTITIES)
def test_a_graduated_price_is_rounded_up_once(steps: tuple[Tier, ...], quantity: int) -> None:
    """However many slices there are, the platform keeps less than one micro-unit, and no line is negative."""
    exact, below = Fraction(0), 0
    for step in steps:
        upper = min(quantity, step.up_to_micros or quantity)
        exact += Fraction((upper - below) * step.per_unit_picos, PICOS) + step.flat_micros
        below = upper
        if below == quantity:
            break
    (rated,) = rate(meter(Price("credits", "graduated", tiers=steps)), quantity)
    assert 0 <= rated.amount_micros - exact < 1
    assert quantity == sum(line.quantity_micros for line in rated.lines)
    assert all(line.amount_micros >= 0 for line in rated.lines)


@given(st.sampled_from(["per_unit", "graduated", "volume"]), st.integers(1, PICOS), QUANTITIES)
def test_a_price_above_zero_never_charges_zero(kind: str, picos: int, quantity: int) -> None:
    """The smallest usage of the cheapest meter costs one micro-unit."""
    if kind == "per_unit":
        price = Price("credits", "per_unit", 0, picos)
    else:
        price = Price("credits", "volume" if kind == "volume" else "graduated", tiers=(Tier(None, picos),))
    exact = Fraction(picos * quantity, PICOS)
    charged = amount(price, quantity)
    assert charged >= 1
    assert 0 <= charged - exact < 1


@pytest.mark.parametrize(
    "price",
    [
        Price("credits", "flat", MAX_AMOUNT_MICROS + 1),
        Price("credits", "per_unit", 1, PICOS),
        Price("credits", "graduated", tiers=(Tier(None, PICOS, 1),)),
        Price("credits", "volume", tiers=(Tier(None, PICOS, 1),)),
    ],
    ids=lambda price: price.kind,
)
def test_more_than_one_operation_may_move_is_refused(price: Price) -> None:
    """The largest amount is rated, and one micro-unit more is not."""
    assert MAX_AMOUNT_MICROS == amount(Price("credits", "per_unit", 0, PICOS), MAX_AMOUNT_MICROS)
    with pytest.raises(AmountTooLarge, match="at most 1000000000 units"):
        rate(meter(price), MAX_AMOUNT_MICROS)
