"""A request and its response as rules see them: texts in mappings, JSON, and what was counted.

Where a path (``request.query.n``) leads to the text of a header, a query or a path, that text is a number, or tells
nothing. What is sent twice tells nothing either: a router might read the other one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

from tallystick.metering.http_routes import paths_of, tidied

_NUMBER: Final = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?")
_LINE_ENDS: Final = re.compile(r"\r\n|\n|\r")
_EVENT_ENDS: Final = re.compile(r"\r\n\r\n|\n\n|\r\r")

Scope = MutableMapping[str, Any]


class BodyWanted(BaseException):
    """A function of a rule looked at a body that was not read yet. No ``except Exception`` of its own hides that."""


@dataclass(slots=True)
class Request:
    """A request, for functions of rules and for ``customer``.

    ``path`` is that below where the app is mounted, ``params`` are those of the route's template. ``query`` has what
    was sent once, ``headers`` are in small letters. ``body`` and ``json`` are read when they are looked at.
    """

    scope: Scope
    params: Mapping[str, str]
    _body: bytes | None = field(default=None, repr=False)
    _is_over: bool = field(default=False, repr=False)

    @property
    def method(self) -> str:
        """The method, in capitals."""
        return str(self.scope["method"]).upper()

    @property
    def path(self) -> str:
        """The path below where the app is mounted, tidied."""
        return tidied(paths_of(self.scope)[0])

    @property
    def query(self) -> dict[str, str]:
        """What was sent once, by its name."""
        pairs = parse_qsl(self.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        times = Counter(name for name, _ in pairs)
        return {name: text for name, text in pairs if times[name] == 1}

    @property
    def headers(self) -> dict[str, str]:
        """The headers, by their names in small letters."""
        return headers_of(self.scope["headers"])

    @property
    def key(self) -> str | None:
        """The client's idempotency key."""
        return self.headers.get("idempotency-key") or None

    @property
    def body(self) -> bytes:
        """The whole body."""
        if self._body is None:
            raise LookupError("the body was not kept") if self._is_over else BodyWanted
        return self._body

    @property
    def json(self) -> Any:  # noqa: ANN401 - as a client sent it
        """The body as JSON, its numbers exact. Raises ``ValueError``."""
        return exact_json(self.body)

    def got(self, body: bytes) -> None:
        """The body was read."""
        self._body = body

    def over(self) -> None:
        """It is served: a body that was not read by now never is."""
        self._is_over = True

    def facts(self, measure: object) -> dict[str, object]:
        """What a path may lead to."""
        found: dict[str, object] = {
            "query": _numbers(self.query),
            "params": _numbers(self.params),
            "headers": _numbers(self.headers),
        }
        if _reads(measure, "request.json"):
            with suppress(LookupError, ValueError):
                found["json"] = self.json
        return found


@dataclass(slots=True)
class Response:
    """A response as far as it was sent, for ``used``. Its body is kept up to a limit, where the rule may look at it."""

    status: int
    headers: Mapping[str, str]
    keep_bytes: int
    size_bytes: int = 0
    chunk_count: int = 0
    _chunks: list[bytes] = field(default_factory=list, repr=False)

    def add(self, chunk: bytes) -> None:
        """A part of the body is sent."""
        self.size_bytes += len(chunk)
        self.chunk_count += bool(chunk)
        if self.is_kept:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()

    @property
    def is_kept(self) -> bool:
        """Whether all of the body that was sent is kept."""
        return self.size_bytes <= self.keep_bytes

    @property
    def body(self) -> bytes:
        """All that was sent. Raises ``LookupError`` where that is more than is kept."""
        if not self.is_kept:
            raise LookupError("the body was not kept")
        return b"".join(self._chunks)

    @property
    def json(self) -> Any:  # noqa: ANN401 - as the app made it
        """The body as JSON, its numbers exact. Raises ``ValueError``."""
        return exact_json(self.body)

    @property
    def events(self) -> list[str]:
        """The data of each server-sent event that was sent as a whole."""
        *whole, _begun = _EVENT_ENDS.split(self.body.decode("utf-8", "replace"))
        return [data for event in whole if (data := _data_of(event)) is not None]

    def facts(self, measure: object) -> dict[str, object]:
        """What a path may lead to."""
        found: dict[str, object] = {
            "headers": _numbers(self.headers),
            "size_bytes": self.size_bytes,
            "chunk_count": self.chunk_count,
        }
        if _reads(measure, "response.json"):
            with suppress(LookupError, ValueError):
                found["json"] = self.json
        return found


def needs_body(measure: object) -> bool:
    """Whether a measure looks, or may look, at the body of a response."""
    return callable(measure) or _reads(measure, "response.json")


def headers_of(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by their names in small letters; one that is there twice is a list in one text, as HTTP has it."""
    found: dict[str, str] = {}
    for name, text in pairs:
        key, value = name.decode("latin-1").lower(), text.decode("latin-1")
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def exact_json(body: bytes) -> Any:  # noqa: ANN401 - whatever it holds
    """JSON with decimals for its numbers. Raises ``ValueError``."""
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_number(text: str) -> object:
    raise ValueError(text)


def _data_of(event: str) -> str | None:
    lines = [line for line in _LINE_ENDS.split(event) if line.startswith("data:")]
    return "\n".join(line[5:].removeprefix(" ") for line in lines) if lines else None


def _reads(measure: object, path: str) -> bool:
    return isinstance(measure, str) and f"{measure}.".startswith(f"{path}.")


def _numbers(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in texts.items() if _NUMBER.fullmatch(text)}
