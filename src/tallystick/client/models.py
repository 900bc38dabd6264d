"""What answers are read into: frozen dataclasses with decimals and aware times.

A newer server may say more than this client knows: that stays reachable under ``raw`` and ``extra``. What may be missing
is typed ``… | None``.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

M = TypeVar("M", bound="Model")
Reader: TypeAlias = Callable[[Any], Any]

OURS: Final = {"ours": True}
"""Metadata of a field that the server does not send."""


def sent_as(name: str) -> Mapping[str, str]:
    """Metadata of a field whose name in JSON is no name in Python."""
    return {"name": name}


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a server said. ``raw`` is all of it; ``replayed``, whether it was said before to the same idempotency key."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, metadata=OURS)
    replayed: bool = field(default=False, repr=False, compare=False, metadata=OURS)

    @property
    def extra(self) -> dict[str, Any]:
        """What this client has no field for."""
        kind: Any = type(self)
        known = {name for _, name, _ in fields_of(kind)}
        return {name: value for name, value in self.raw.items() if name not in known}


def from_json(model: type[M], data: object, **ours: object) -> M:
    """Read a model. Raises ``ValueError`` for what has another form."""
    if not isinstance(data, dict):
        raise ValueError(f"expected an object, found {data!r:.100}")  # noqa: TRY004 - as what is inside of it
    kind: Any = get_origin(model) or model  # without the parameters of a generic one
    found: dict[str, Any] = {}
    for name, sent, reader in fields_of(kind):
        try:
            found[name] = reader(data.get(sent))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{sent}: {error}") from None
    read: M = kind(raw=data, **found, **ours)
    return read


@cache
def fields_of(model: Any) -> tuple[tuple[str, str, Reader], ...]:  # noqa: ANN401 - mypy takes no model for hashable
    """Each field of a model: its name here, its name in JSON, and how it is read."""
    hints = get_type_hints(model)
    return tuple(
        (each.name, each.metadata.get("name", each.name), _reader(hints[each.name]))
        for each in fields(model)
        if "ours" not in each.metadata
    )


def _reader(hint: Any) -> Reader:  # noqa: ANN401 - a type, or a form of one
    if hint is Any:
        return lambda value: value
    if get_origin(hint) is not None:
        return _reader_of_several(get_origin(hint), get_args(hint))
    if issubclass(hint, Model):
        return lambda value: from_json(hint, value)
    if hint is Decimal:
        return lambda value: Decimal(_of((int, Decimal), value))
    if hint is datetime:
        return lambda value: _aware(datetime.fromisoformat(_of(str, value)))
    return lambda value: _of(hint, value)


def _reader_of_several(origin: Any, arguments: tuple[Any, ...]) -> Reader:  # noqa: ANN401 - as above
    if origin in {Union, types.UnionType}:
        inner = _reader(next(each for each in arguments if each is not types.NoneType))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        items = _reader(arguments[0])
        return lambda value: tuple(map(items, _of(list, value)))
    values = _reader(arguments[1])
    return lambda value: {name: values(each) for name, each in _of(dict, value).items()}


def _of(kind: type | tuple[type, ...], value: Any) -> Any:  # noqa: ANN401 - what was found
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        name = kind.__name__ if isinstance(kind, type) else "number"
        raise ValueError(f"expected {name}, found {value!r:.100}")
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("expected a time with a zone")
    return value
