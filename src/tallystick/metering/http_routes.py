"""Rules by route: which requests cost something, found by method and path as the routers of ASGI frameworks find them.

- A route is ``POST /enrich/{id}``: a method, or ``*`` for each but HEAD and OPTIONS, and a template of a path. A
  parameter is one segment, ``{rest:path}`` is all that follows, and so is ``*`` as the last segment.
- The first route that fits counts; one whose rule is None costs nothing.
- A path is read as it came, and without what some routers overlook: doubled and closing slashes, ``.`` and ``..``. It
  is only free where no reading of it has a price, and refused where two have different ones.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tallystick.core.errors import ConfigurationError, ValidationFailed
from tallystick.metering.rules import Rule

_ROUTE: Final = re.compile(r"(\*|[A-Z]+) (/\S*)")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_]\w*)(?::(\w+))?\}", re.ASCII)
_SLASHES: Final = re.compile("/+")
_ONLY_WHERE_NAMED: Final = frozenset({"HEAD", "OPTIONS"})
_REQUEST: Final = ("query", "params", "headers", "json")
_RESPONSE: Final = ("headers", "json", "size_bytes", "chunk_count")


@dataclass(frozen=True, slots=True)
class Route:
    """A route that costs what its rule says."""

    name: str
    rule: Rule
    params: Mapping[str, str]


class Routes:
    """The rules of an app. Raises ``ConfigurationError`` that names the route for one that cannot be."""

    def __init__(self, rules: Mapping[str, Rule | None]) -> None:
        self._routes = [(name, *_compiled(name), rule) for name, rule in rules.items()]
        for name, _, pattern, rule in self._routes:
            if rule is not None:
                _check(name, rule, set(pattern.groupindex))

    def find(self, scope: Mapping[str, Any]) -> Route | None:
        """The route of a request, if it costs something. Raises ``ValidationFailed`` for one that fits two prices."""
        method = scope["method"].upper()
        for path in paths_of(scope):
            fits = [self._fitting(method, reading) for reading in _readings(path)]
            priced = [route for route in fits if route is not None]
            if any(route.rule != priced[0].rule for route in priced) and _is_untidy(path):
                raise ValidationFailed([("path", "expected one without doubled slashes, . and ..")])
            if priced:
                return priced[0]
        return None

    def _fitting(self, method: str, path: str) -> Route | None:
        for name, wanted, pattern, rule in self._routes:
            if wanted != method and (wanted != "*" or method in _ONLY_WHERE_NAMED):
                continue
            if (matched := pattern.fullmatch(path)) is not None:
                return None if rule is None else Route(name, rule, matched.groupdict())
        return None


def paths_of(scope: Mapping[str, Any]) -> list[str]:
    """The path below where the app is mounted; two where routers do not agree on it."""
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    if not root or root not in path:
        return [path]
    below = path.partition(root)[2]
    if path.startswith(root) and below[:1] in {"", "/"}:
        return [below]
    return [path, below]


def _readings(path: str) -> list[str]:
    """A path as routers may read it, the strictest of them first."""
    slashed = _SLASHES.sub("/", f"/{path}")
    return list(dict.fromkeys((path, slashed, slashed.rstrip("/") or "/", tidied(path))))


def _is_untidy(path: str) -> bool:
    return tidied(path) != (path.removesuffix("/") or "/")


def tidied(path: str) -> str:
    """A path as the most lenient of routers reads it."""
    return "/" + posixpath.normpath(f"/{path}").lstrip("/")


def _compiled(name: str) -> tuple[str, re.Pattern[str]]:
    parsed = _ROUTE.fullmatch(str(name))
    if parsed is None:
        raise ConfigurationError(
            f"{name}: expected a route to be a method in capitals, or *, and a path, as in POST /enrich/{{id}}"
        )
    method, template = parsed.groups()
    path = tidied(template)
    any_rest = path.endswith("/*")
    path = path.removesuffix("/*") if any_rest else path
    pattern, end = "", 0
    for each in _PARAMETER.finditer(path):
        segments = ".*" if each[2] == "path" else "[^/]+"
        pattern += f"{_literal(name, path[end : each.start()])}(?P<{each[1]}>{segments})"
        end = each.end()
    # Starlette overlooks a line feed at the end.
    pattern += _literal(name, path[end:]) + ("(?:/.*)?" if any_rest else "\\n?")
    try:
        return method, re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise ConfigurationError(f"{name}: expected each parameter of a path once") from error


def _literal(name: str, text: str) -> str:
    if set(text) & set("{}*"):
        raise ConfigurationError(
            f"{name}: expected parameters as in {{id}} or {{rest:path}}, and * only as the last segment"
        )
    return re.escape(text)


def _check(name: str, rule: Rule, params: set[str]) -> None:
    """Raise ``ConfigurationError`` for a rule that no request can be charged by."""
    if not isinstance(rule, Rule):
        raise ConfigurationError(f"{name}: expected a Rule or None, found {rule!r}")
    for field, measure in (("quantity", rule.quantity), ("used", rule.used)):
        if isinstance(measure, str) and (wrong := _wrong_path(measure, params)) is not None:
            raise ConfigurationError(f"{name}: expected {field} {wrong}, found {measure}")


def _wrong_path(path: str, params: set[str]) -> str | None:
    root, word, *names = [*path.split("."), ""][:3]
    first = names[0] if names else ""
    words = {"request": _REQUEST, "response": _RESPONSE}.get(root)
    if words is None:
        return "to begin with request or response"
    if word not in words:
        return f"to go on after {root} with {', '.join(words)}"
    if word in {"query", "params", "headers"} and not first:
        return f"to name one of the {word}"
    if word == "headers" and first != first.lower():
        return "to name a header in small letters"
    if word == "params" and first not in params:
        return "to name a parameter of the path"
    return None
