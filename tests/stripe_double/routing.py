"""Which function answers which call, and which parameters it understands."""

import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.stripe_double.contract import Json

Handler: TypeAlias = Callable[..., Json]
"""Takes the account, the parameters, and the ids of the address by keyword; returns the answer."""

PAGING = "limit starting_after ending_before"

_ROUTES: list["Route"] = []


@dataclass(frozen=True)
class Route:
    """One call that the double implements. ``takes`` names parameters; a dot leads into a group."""

    method: str
    path: str
    pattern: re.Pattern[str]
    takes: frozenset[str]
    handler: Handler

    def beyond(self, parameters: Json) -> list[str]:
        """Return the parameters that Stripe would heed and this call would not."""
        return sorted(_beyond(parameters, self.takes | {"expand"}, ""))


def route(method: str, path: str, takes: str = "") -> Callable[[Handler], Handler]:
    """Make a function the answer to a call; ``{name}`` in the path is an id that it takes by that name."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def registered(handler: Handler) -> Handler:
        _ROUTES.append(Route(method, path, pattern, frozenset(takes.split()), handler))
        return handler

    return registered


def find(method: str, address: str) -> tuple[Route, dict[str, str]] | None:
    """Return the route of a call and the ids in its address; fixed words win over ids."""
    matches: Iterator[tuple[Route, dict[str, str]]] = (
        (each, found.groupdict())
        for each in _ROUTES
        if each.method == method and (found := each.pattern.fullmatch(address))
    )
    return min(matches, key=lambda match: len(match[1]), default=None)


def _beyond(value: Any, takes: AbstractSet[str], prefix: str) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        for key, inner in each.items():
            name = f"{prefix}{key}"
            if name in takes:
                continue
            if isinstance(inner, (dict, list)) and any(known.startswith(f"{name}.") for known in takes):
                yield from _beyond(inner, takes, f"{name}.")
            else:
                yield name
