"""Values as JSON that everybody reads: amounts as plain numbers, prices, and refusals as agents are told of them.

Up to nine billion units the numbers are exact to the sixth decimal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.core.amounts import MICROS, PICOS
from tallystick.core.catalog import Meter, Price

Number = int | float

# In the meta of a tool, and of the result of a charged call.
PRICE: Final = "tallystick/price"
RECEIPT: Final = "tallystick/receipt"
IDEMPOTENCY_KEY: Final = "tallystick/idempotency-key"
_ERROR: Final = {
    "type": "object",
    "description": "Why the call was refused: with isError, and instead of everything else",
    "properties": {"code": {"type": "string"}, "detail": {"type": "string"}},
    "required": ["code", "detail"],
}


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


def price_of(meter: Meter) -> dict[str, Any]:
    """What a tool costs that is charged by a meter."""
    return {
        "meter": meter.name,
        "prices": [price_line(each) for each in meter.prices],
        "hourly_limit": meter.hourly_limit,
    }


def or_refused(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The output schema of a tool, made to admit a refusal too.

    Official clients hold structured content against the schema also where there is ``isError``. One that admits no
    refusal would tell the agent of a malformed answer, in place of what to do.
    """
    ways = [{"required": schema.get("required", [])}, {"required": ["error"]}]
    rest = {name: value for name, value in schema.items() if name != "required"}
    return {**rest, "properties": {**schema.get("properties", {}), "error": _ERROR}, "anyOf": ways}


def key_in(meta: Mapping[str, Any] | None) -> str | None:
    """The idempotency key in the meta of a request."""
    key = None if meta is None else meta.get(IDEMPOTENCY_KEY)
    return key if isinstance(key, str) else None
