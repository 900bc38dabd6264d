"""What a call costs: by a rule of the operator's, by the tool's own ``meta``, or by the meter of the tool's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from tallystick.core.errors import ConfigurationError

META: Final = "tallystick"
_KNOWN: Final = frozenset({"meter", "quantity", "charge_on", "when_away"})

Quantity = int | Decimal
Outcome = Literal["success", "always"]
WhenAway = Literal["closed", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a tool is charged.

    ``quantity`` is what is held before the call: a number, or a function of the arguments. ``used``, a function of the
    arguments and the result, is what is charged afterwards, at most what was held. ``charge_on`` says whether an answer
    with ``isError`` costs too; what is raised never does. ``when_away`` says whether the tool runs, for nothing, while
    the billing database does not answer.
    """

    meter: str
    quantity: Quantity | Callable[[Mapping[str, Any]], Quantity] = 1
    used: Callable[[Mapping[str, Any], Any], Quantity] | None = None
    charge_on: Outcome = "success"
    when_away: WhenAway = "closed"

    def held_for(self, arguments: Mapping[str, Any]) -> Quantity:
        """The quantity to hold for a call."""
        return self.quantity(arguments) if callable(self.quantity) else self.quantity


def rule_in(meta: Mapping[str, Any] | None) -> Rule | None:
    """The rule in a tool's ``meta``, as ``{"tallystick": {"meter": "lookup"}}``. Raises ``ConfigurationError``."""
    found = (meta or {}).get(META)
    if found is None:
        return None
    if not isinstance(found, Mapping) or "meter" not in found or set(found) - _KNOWN:
        raise ConfigurationError(f"expected {META} to have a meter, and of {', '.join(sorted(_KNOWN))} only")
    rule = Rule(**{**found, "quantity": _number(found.get("quantity", 1))})
    if rule.charge_on not in {"success", "always"} or rule.when_away not in {"closed", "open"}:
        raise ConfigurationError("expected charge_on to be success or always, and when_away closed or open")
    return rule


def _number(value: object) -> Quantity:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ConfigurationError(f"expected quantity to be a number, found {value!r}")
    return value if isinstance(value, int | Decimal) else Decimal(repr(value))
