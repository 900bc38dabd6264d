"""What one call is: an address, what is sent, how the answer is read, and whether a repeat is safe. It does nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

from tallystick.client.errors import unusable
from tallystick.client.events import OnOutput
from tallystick.client.models import Model, from_json

T = TypeVar("T")
M = TypeVar("M", bound=Model)

API: Final = "/api/v1"
_NO_IDS: Final = frozenset({"", ".", ".."})
_LONGEST_ID: Final = 255
_LONGEST_KEY: Final = 255


class Repeat(Enum):
    """What a repeat of a request does."""

    READS = "it reads again"
    SAME = "it ends in the same state"
    BY_KEY = "the server gives the first answer to the same idempotency key"
    TWICE = "it does it twice"


@dataclass(frozen=True, kw_only=True)
class Request(Generic[T]):
    """One call. ``path`` is as in the OpenAPI document; its names stand in ``names``.

    ``takes_seconds`` is what the server was asked to do at most before it answers. ``on_output`` is told meanwhile what
    code writes: then the answer is asked for as a stream, whose end is the answer.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    model: type[Model] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, object] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeat: Repeat = Repeat.READS
    idempotency_key: str | None = None
    media_type: str = "application/json"
    also_fine: frozenset[int] = frozenset()
    gone: int | None = None
    takes_seconds: float = 0.0
    on_output: OnOutput | None = None

    @property
    def address(self) -> str:
        """The path with its names filled in."""
        return self.path.format_map({name: _segment(self.path, each) for name, each in self.names.items()})

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.repeat is not Repeat.READS


def _segment(path: str, name: str) -> str:
    """An id in a path. Nothing, ``.`` and ``..`` would ask for another path."""
    if name in _NO_IDS or len(name) > _LONGEST_ID:
        found = repr(name[:50]) if name else "nothing"
        raise ValueError(f"expected an id of 1 to {_LONGEST_ID} characters for {path}, found {found}")
    return quote(name, safe="")


def csv(path: str, query: Mapping[str, object]) -> Request[bytes]:
    """A call that is answered with a table as a file."""
    return Request(method="GET", path=API + path, read=bytes, query=given(query), media_type="text/csv")


def new_key() -> str:
    """An idempotency key that nobody used."""
    return uuid.uuid4().hex


def key_of(key: object) -> str:
    """A key that was given, or else a new one. Raises ``ConfigurationError`` for one that fits into no header."""
    if key is None:
        return new_key()
    if (
        not isinstance(key, str)
        or not 1 <= len(key) <= _LONGEST_KEY
        or not (key.isascii() and key.isprintable())
    ):
        expected = f"expected 1 to {_LONGEST_KEY} printable ASCII characters, or None for a new one"
        raise unusable(f"idempotency_key: {expected}, found {key!r:.100}")
    return key


def get(
    path: str,
    model: type[M],
    query: Mapping[str, object] | None = None,
    *,
    names: Mapping[str, str] | None = None,
) -> Request[M]:
    """A call that reads; what is None is left out of the query."""
    return Request(
        method="GET",
        path=API + path,
        read=_reads(model),
        model=model,
        names=names or {},
        query=given(query or {}),
    )


def post(
    path: str,
    model: type[M],
    body: Mapping[str, object] | None = None,
    *,
    names: Mapping[str, str] | None = None,
    key: str | None = None,
    repeat: Repeat = Repeat.BY_KEY,
) -> Request[M]:
    """A call that writes, with an idempotency key where the server keeps them; what is None is left out of the body."""
    return write("POST", path, model, body, names=names, key=key, repeat=repeat)


def write(
    method: str,
    path: str,
    model: type[M],
    body: Mapping[str, object] | None = None,
    *,
    names: Mapping[str, str] | None = None,
    key: str | None = None,
    repeat: Repeat = Repeat.SAME,
) -> Request[M]:
    """As ``post``, by any method: a PUT, a PATCH or a DELETE ends in the same state however often it is done."""
    return Request(
        method=method,
        path=API + path,
        read=_reads(model),
        model=model,
        names=names or {},
        body=None if body is None else given(body),
        repeat=repeat,
        idempotency_key=key_of(key) if repeat is Repeat.BY_KEY else None,
    )


def delete(path: str, *, names: Mapping[str, str]) -> Request[None]:
    """A call that removes something; to find nothing after an answer was lost is as good."""
    return remove("DELETE", path, names=names, gone=404)


def remove(method: str, path: str, *, gone: int, names: Mapping[str, str] | None = None) -> Request[None]:
    """A call that is answered with nothing, and with the status ``gone`` when an earlier try did it already."""
    return Request(
        method=method,
        path=API + path,
        read=_nothing,
        names=names or {},
        repeat=Repeat.SAME,
        media_type="",
        gone=gone,
    )


def _reads(model: type[M]) -> Callable[[Any], M]:
    return lambda data: from_json(model, data)


def _nothing(_data: object) -> None:
    return None


def given(values: Mapping[str, object]) -> dict[str, object]:
    """What was given: None is left out."""
    return {name: value for name, value in values.items() if value is not None}
