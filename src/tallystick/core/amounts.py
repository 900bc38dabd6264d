"""Amounts and quantities: whole micro-units in, decimals only at the doors, and every rounding by name.

- An amount or a quantity is an ``int`` of micro-units; a unit price is an ``int`` of picos, which are 10**-12
  of a unit for one whole quantity, so that $0.0000045 a second has an exact price.
- Numbers from outside come in through ``parse_amount`` and ``parse_quantity``, which never expand a huge
  exponent.
- Whatever is rounded is rounded here, and each function says who keeps the remainder.
"""

import re
from decimal import Decimal
from typing import Literal

from tallystick.core.decimals import MICROS, PICOS, format_amount, to_decimal
from tallystick.core.errors import InvalidAmount, InvalidQuantity

__all__ = [
    "INT64_MAX",
    "MAX_AMOUNT_MICROS",
    "MICROS",
    "MICROS_PER_CENT",
    "PICOS",
    "Rounding",
    "fee_of",
    "format_amount",
    "parse_amount",
    "parse_quantity",
    "price_ceil",
    "pro_rata_floor",
    "scaled_int",
    "to_decimal",
]

BASIS_POINTS = 10_000
MICROS_PER_CENT = 10_000  # a dollar is a unit, and a cent a hundredth of it
MAX_AMOUNT_MICROS = 10**15
INT64_MAX = 2**63 - 1

Rounding = Literal["floor", "ceil", "half_even"]

# More digits than any allowed number has before or after its point, and few enough to be read in no time.
_MOST_DIGITS = 40
# A minus sign is read to be told that it is one too many.
_PLAIN_DECIMAL = re.compile(rf"(-(?=.*[1-9]))?[0-9]{{1,{_MOST_DIGITS}}}(\.[0-9]{{1,{_MOST_DIGITS}}})?")


def parse_amount(value: object, *, field: str = "amount", allow_zero: bool = False) -> int:
    """Read an amount of units as micro-units.

    Takes an ``int``, a ``Decimal`` or a string of plain decimal digits. Raises ``InvalidAmount`` for anything
    else: truth values, floats, NaN, infinity, negative numbers, zero unless allowed, more than six decimals,
    and more than ``MAX_AMOUNT_MICROS``.
    """
    micros = _micros_or_expectation(value, allow_zero=allow_zero)
    if isinstance(micros, str):
        raise InvalidAmount(micros, field=field)
    return micros


def parse_quantity(value: object, *, field: str = "quantity") -> int:
    """Read a quantity above zero as micro-quantities, under the rules of ``parse_amount``.

    Raises ``InvalidQuantity``.
    """
    micros = _micros_or_expectation(value, allow_zero=False)
    if isinstance(micros, str):
        raise InvalidQuantity(micros, field=field)
    return micros


def _micros_or_expectation(value: object, *, allow_zero: bool) -> int | str:
    """Give the micro-units, or what was expected instead."""
    micros = scaled_int(value, decimals=6, maximum=MAX_AMOUNT_MICROS)
    if micros == 0 and not allow_zero:
        return "a number above 0"
    return micros


def scaled_int(value: object, *, decimals: int, maximum: int) -> int | str:
    """Give ``value × 10**decimals`` as an exact ``int`` up to ``maximum``, or say what was expected instead.

    The value may be anybody's: it is never expanded before it is known to be small.
    """
    fraction = _fraction(value)
    if fraction is None:
        return f"a plain decimal number with at most {decimals} decimals"
    numerator, denominator = fraction
    scale: int = 10**decimals
    scaled, remainder = divmod(numerator * scale, denominator)
    if scaled < 0:
        return "a number that is not negative"
    if scaled > maximum:
        return f"at most {maximum // scale}"
    if remainder:
        return f"at most {decimals} decimals"
    return scaled


def _fraction(value: object) -> tuple[int, int] | None:
    """Give an int, a finite Decimal or a text of plain digits as numerator and denominator, neither huge.

    What is too large or too fine for any use is replaced by something just as much so.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value, 1
    if isinstance(value, str) and _PLAIN_DECIMAL.fullmatch(value):
        value = Decimal(value)
    if not isinstance(value, Decimal) or not value.is_finite():
        return None
    if value.is_zero():
        return 0, 1
    sign, _, exponent = value.as_tuple()
    if value.adjusted() > _MOST_DIGITS:
        return (-1) ** sign * 10**_MOST_DIGITS, 1
    if isinstance(exponent, int) and exponent < -_MOST_DIGITS:
        return (-1) ** sign, 10**_MOST_DIGITS
    return value.as_integer_ratio()


def price_ceil(picos_per_unit: int, quantity_micros: int) -> int:
    """Price a quantity in micro-units, rounded up: the platform keeps the remainder.

    So a price above zero never charges zero, however small the quantity.
    """
    return -(-picos_per_unit * quantity_micros // PICOS)


def fee_of(amount_micros: int, basis_points: int, fixed_micros: int, rounding: Rounding) -> int:
    """Work out a fee: basis points of the amount, rounded as named, and a fixed part; at most the amount.

    The rounding says who keeps the remainder: ``floor`` the one who is paid out, ``ceil`` the platform,
    ``half_even`` whoever is nearer, with exact halves going to the even micro-unit. Fee and payout always
    make up the amount.
    """
    exact = amount_micros * basis_points
    if rounding == "floor":
        part = exact // BASIS_POINTS
    elif rounding == "ceil":
        part = -(-exact // BASIS_POINTS)
    else:
        part, remainder = divmod(exact, BASIS_POINTS)
        twice = 2 * remainder
        if twice > BASIS_POINTS or (twice == BASIS_POINTS and part % 2):
            part += 1
    return min(part + fixed_micros, amount_micros)


def pro_rata_floor(part: int, whole: int, amount: int) -> int:
    """Give the share of ``amount`` that ``part`` has in ``whole``, rounded down: the remainder stays out.

    With cumulative parts the shares add up exactly: the last one, ``part == whole``, is the whole amount.
    """
    if not 0 <= part <= whole or whole == 0:
        raise ValueError(part, whole)
    return amount * part // whole
