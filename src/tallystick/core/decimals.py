"""Micro-units as the decimal numbers that people read.

One unit is ``MICROS`` micro-units. This is the only way from stored amounts to shown ones, and it is exact.
"""

from decimal import Decimal

MICROS = 10**6


def format_amount(micros: int) -> str:
    """Show micro-units as a plain decimal number: no exponent, no trailing zeros, no grouping."""
    whole, fraction = divmod(abs(micros), MICROS)
    sign = "-" if micros < 0 else ""
    if fraction == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:06d}".rstrip("0")


def to_decimal(micros: int) -> Decimal:
    """Give micro-units as an exact ``Decimal`` in normal form, for example ``Decimal("9.5")``."""
    return Decimal(format_amount(micros))
