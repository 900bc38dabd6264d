"""Micro-units as the decimal numbers that people read.

One unit is ``MICROS`` micro-units. This is the only way from stored amounts to shown ones, and it is exact.
"""

from decimal import Decimal

MICROS = 10**6
PICOS = 10**12


def format_amount(micros: int) -> str:
    """Show micro-units as a plain decimal number: no exponent, no trailing zeros, no grouping."""
    whole, fraction = divmod(abs(micros), MICROS)
    sign = "-" if micros < 0 else ""
    if fraction == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:06d}".rstrip("0")


def name_of_unit(unit: str, *, one: bool) -> str:
    """What a unit is called after an amount: ``credit`` after exactly one where its name is an English plural."""
    is_plural = unit.islower() and unit.endswith("s") and not unit.endswith(("ss", "us", "is"))
    return unit.removesuffix("s") if one and is_plural else unit


def format_units(micros: int, unit: str) -> str:
    """Show an amount with its unit: ``1 credit``, ``-1 credit``, ``2.5 credits``, ``1 rUv``."""
    return f"{format_amount(micros)} {name_of_unit(unit, one=abs(micros) == MICROS)}"


def were(micros: int) -> str:
    """The verb after an amount: one credit was granted, two were."""
    return "was" if abs(micros) == MICROS else "were"


def format_price(picos: int) -> str:
    """Show the price of one unit of quantity, in picos (10**-12), as a plain decimal number."""
    whole, fraction = divmod(picos, PICOS)
    return f"{whole}.{fraction:012d}".rstrip("0").rstrip(".")


def to_decimal(micros: int) -> Decimal:
    """Give micro-units as an exact ``Decimal`` in normal form, for example ``Decimal("9.5")``."""
    return Decimal(format_amount(micros))
