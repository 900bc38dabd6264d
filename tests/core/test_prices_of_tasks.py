"""Nothing is lost and nothing is made: a million random prices, their fees, and where those are taken from."""

from __future__ import annotations

from random import Random

from tallystick.core.amounts import BASIS_POINTS, MAX_AMOUNT_MICROS, Rounding, fee_of, pro_rata_floor
from tallystick.core.settlement import fee_by_origin

PRICES = 1_000_000
ROUNDINGS: tuple[Rounding, ...] = ("floor", "ceil", "half_even")


def test_a_million_prices_are_conserved() -> None:
    """Fee and payout make up the price, and so they do for each origin, and for what a dispute returns of each."""
    random = Random(20270110)
    numbers = random.random
    for turn in range(PRICES):
        price = 1 + int(numbers() ** 8 * MAX_AMOUNT_MICROS)
        points, fixed = int(numbers() * (BASIS_POINTS + 1)), int(numbers() ** 6 * 10_000_000)
        fee = fee_of(price, points, fixed, ROUNDINGS[turn % 3])
        paid = int(numbers() * (price + 1))
        (_, of_paid), (_, of_free) = fee_by_origin(fee, price=price, paid=paid)
        back = int(numbers() * (price + 1))
        fee_back = pro_rata_floor(back, price, fee)
        if not (
            0 <= fee <= price
            and of_paid + of_free == fee
            and 0 <= of_paid <= paid
            and 0 <= of_free <= price - paid
            and 0 <= fee_back <= min(fee, back)
            and back - fee_back <= price - fee
        ):
            message = f"price {price}, fee {fee} ({points} points, {fixed} fixed), {paid} paid, {back} back"
            raise AssertionError(message)
    assert fee == pro_rata_floor(price, price, fee)
