"""Values as JSON that everybody reads: amounts as plain numbers, prices, and refusals as agents are told of them.

Up to nine billion units the numbers are exact to the sixth decimal.
"""

from __future__ import annotations

from typing import Any

from tallystick.core.amounts import MICROS, PICOS
from tallystick.core.catalog import Price

Number = int | float


def number(value: int, scale: int = MICROS) -> Number:
    """Micro-units (or parts of another ``scale``) as a number: whole where they are, else the nearest double."""
    whole, rest = divmod(value, scale)
    return value / scale if rest else whole


def per_unit(picos: int) -> Number:
    """The price of one unit of quantity."""
    return number(picos, PICOS)


def price_line(price: Price) -> dict[str, Any]:
    """A price, less its tiers."""
    return {
        "unit": price.unit,
        "kind": price.kind,
        "flat": number(price.flat_micros),
        "per_unit": per_unit(price.per_unit_picos),
    }
