"""What comes in and what goes out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs


class HangUp(Exception):  # noqa: N818 - an order
    """The connection is to be closed without an answer."""


@dataclass(frozen=True)
class Request:
    """A request; names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    def parameter(self, name: str) -> str | None:
        """A parameter of the address."""
        return parse_qs(self.query).get(name, [None])[0]


@dataclass
class Answer:
    """An answer, whose body may come bit by bit."""

    status: int
    body: bytes | Iterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


def answer(value: Any, *, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def refusal(status: int, message: str) -> Answer:
    """A refusal in the form that all of E2B's services have."""
    return answer({"code": status, "message": message}, status=status)
