"""Rating: what a quantity of a meter costs, line by line.

- Each unit of a price is rated on its own, exactly in picos, and rounded up **once**: the platform keeps the
  remainder, so a price above zero never charges zero.
- The lines of an amount add up to it exactly.
- A graduated price prices each slice at its own tier, so it never falls as the quantity rises. A volume price
  prices the whole quantity at the tier it reaches.
- A flat price is per call, whatever the quantity.
"""

from typing import NamedTuple

from tallystick.core.amounts import MAX_AMOUNT_MICROS, MICROS, PICOS
from tallystick.core.catalog import Meter, Price, PriceKind, Tier
from tallystick.core.errors import AmountTooLarge


# Named tuples and not dataclasses: two are made for every charge, and they are made in a third of the time.
class RatedLine(NamedTuple):
    """One line of the working: a quantity at a price. ``tier_index`` counts the price's tiers from 0."""

    kind: PriceKind
    quantity_micros: int
    per_unit_picos: int
    flat_micros: int
    amount_micros: int
    tier_index: int | None = None


class RatedAmount(NamedTuple):
    """What a usage costs in one unit, and how that came about."""

    unit: str
    amount_micros: int
    lines: tuple[RatedLine, ...]


def rate(meter: Meter, quantity_micros: int) -> tuple[RatedAmount, ...]:
    """Price a quantity above zero of a meter: one amount for each unit it is priced in, in the meter's order.

    Raises ``AmountTooLarge`` when an amount is above ``MAX_AMOUNT_MICROS``.
    """
    return tuple([_rate_price(price, quantity_micros) for price in meter.prices])


def _rate_price(price: Price, quantity_micros: int) -> RatedAmount:
    kind = price.kind
    lines: tuple[RatedLine, ...]
    if kind == "flat":
        amount = price.flat_micros
        lines = (RatedLine(kind, MICROS, 0, amount, amount),)
    elif kind == "per_unit":
        amount = price.flat_micros - (-price.per_unit_picos * quantity_micros // PICOS)
        lines = (RatedLine(kind, quantity_micros, price.per_unit_picos, price.flat_micros, amount),)
    elif kind == "free":
        return RatedAmount(price.unit, 0, ())
    elif kind == "volume":
        lines = (_volume_line(price.tiers, quantity_micros),)
        amount = lines[0].amount_micros
    else:
        lines = _graduated_lines(price.tiers, quantity_micros)
        amount = sum(line.amount_micros for line in lines)
    if amount > MAX_AMOUNT_MICROS:
        raise AmountTooLarge(MAX_AMOUNT_MICROS)
    return RatedAmount(price.unit, amount, lines)


def _volume_line(tiers: tuple[Tier, ...], quantity_micros: int) -> RatedLine:
    """Price the whole quantity at the tier that it reaches."""
    ends = (tier.up_to_micros is None or quantity_micros <= tier.up_to_micros for tier in tiers)
    index = list(ends).index(True)
    tier = tiers[index]
    amount = tier.flat_micros - (-tier.per_unit_picos * quantity_micros // PICOS)
    return RatedLine("volume", quantity_micros, tier.per_unit_picos, tier.flat_micros, amount, index)


def _graduated_lines(tiers: tuple[Tier, ...], quantity_micros: int) -> tuple[RatedLine, ...]:
    """Price each slice at its tier; a line's amount is what it adds to the rounded-up total so far."""
    lines = []
    exact = total = below = 0
    for index, tier in enumerate(tiers):
        if below == quantity_micros:
            break
        upper = quantity_micros if tier.up_to_micros is None else min(quantity_micros, tier.up_to_micros)
        exact += (upper - below) * tier.per_unit_picos + tier.flat_micros * PICOS
        rounded = -(-exact // PICOS)
        lines.append(
            RatedLine(
                "graduated", upper - below, tier.per_unit_picos, tier.flat_micros, rounded - total, index
            )
        )
        total, below = rounded, upper
    return tuple(lines)
