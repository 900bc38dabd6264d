"""The prices of another server's tools, read from a TOML file: what is not in it is not served.

.. code-block:: toml

    [tools.get_current_time]
    amount = 2

    [tools.convert_time]
    meter = "search"

    [tools.list_zones]
    free = true

    [default]  # of tools that are not named; without it, they are not served
    amount = 1
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from tallystick.core.errors import ConfigurationError
from tallystick.metering.rules import Lease, Rule, rule_from

_KEYS: Final = ("tools", "default")


@dataclass(frozen=True, slots=True)
class PriceFile:
    """What a file says of tools: a rule each, or None for what is free.

    ``default`` holds for tools that are not named, where there is one.
    """

    where: str
    tools: Mapping[str, Rule | None] = field(default_factory=dict)
    default: tuple[Rule | None] | None = None

    def serves(self, tool: str) -> bool:
        """Whether a tool has a price, or is said to be free."""
        return tool in self.tools or self.default is not None

    def rule(self, tool: str) -> Rule | None:
        """The price of a tool, if it is served; None for nothing."""
        (default,) = self.default or (None,)
        return self.tools.get(tool, default)

    def rules(self) -> Iterator[tuple[str, Rule]]:
        """Every rule, with what it stands under."""
        named = [(f"tools.{tool}", rule) for tool, rule in self.tools.items()]
        for key, rule in [*named, *(("default", each) for each in self.default or ())]:
            if rule is not None:
                yield key, rule

    @property
    def lends(self) -> bool:
        """Whether a rule lends calls while the billing server is away, which has to be written down."""
        return any(isinstance(rule.when_away, Lease) for _, rule in self.rules())

    def check_meters(self, known: Mapping[str, object]) -> None:
        """Raise ``ConfigurationError`` for a meter that the economy does not have."""
        for key, rule in self.rules():
            if rule.meter is not None and rule.meter not in known:
                names = ", ".join(sorted(known)) or "none"
                raise ConfigurationError(
                    f"{self.where}: {key}.meter: expected a meter of the economy ({names}), found {rule.meter!r}"
                )


def read_price_file(path: Path) -> PriceFile:
    """Read a file. Raises ``ConfigurationError`` that names the file and the key."""
    try:
        found = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # neither UTF-8 nor TOML
        raise ConfigurationError(f"{path}: is not TOML: {error}") from error
    if unknown := sorted(name for name in found if name not in _KEYS):
        raise ConfigurationError(f"{path}: expected [tools.NAME] and [default] only, found {unknown[0]!r}")
    tools = found.get("tools", {})
    if not isinstance(tools, Mapping):
        raise ConfigurationError(f"{path}: tools: expected a table for each tool, found {tools!r}")
    prices = PriceFile(
        where=str(path),
        tools={tool: _price(value, f"{path}: tools.{tool}") for tool, value in tools.items()},
        default=(_price(found["default"], f"{path}: default"),) if "default" in found else None,
    )
    if not prices.tools and prices.default is None:
        raise ConfigurationError(
            f"{path}: expected a price of at least one tool, as [tools.NAME] or [default]"
        )
    return prices


def _price(found: object, where: str) -> Rule | None:
    """A rule, or None for ``free = true``."""
    if not isinstance(found, Mapping) or "free" not in found:
        rule = rule_from(found, where=where)
        if rule.charges_statuses:
            raise ConfigurationError(f"{where}.charge_on: expected success or always")
        return rule
    if found["free"] is not True or len(found) > 1:
        raise ConfigurationError(f"{where}: expected free = true alone, or a price without it")
    return None
