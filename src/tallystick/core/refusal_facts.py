"""A refusal's facts as values for programs, with its amounts and times in the form that a door shows."""

from collections.abc import Callable
from typing import Any

from tallystick.core.errors import Refusal
from tallystick.core.times import format_rfc3339


def facts_of(refusal: Refusal, show: Callable[[int], object]) -> dict[str, Any]:
    """The facts by their names: amounts as ``show`` makes them of micro-units, times in RFC 3339."""
    facts: dict[str, Any] = {}
    for name, value in refusal.fields.items():
        if isinstance(value, int) and name in refusal.amount_fields:
            facts[name] = show(value)
        elif isinstance(value, int) and name in refusal.time_fields:
            facts[name] = format_rfc3339(value)
        else:
            facts[name] = value
    return facts
