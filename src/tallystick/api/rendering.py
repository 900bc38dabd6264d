"""How values are shown: exact decimal numbers, RFC 3339 times, prefixed ids, and JSON made in one go.

Numbers are written as text that is JSON already, so that no float is ever in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from tallystick.core.amounts import MICROS_PER_CENT
from tallystick.core.decimals import format_amount
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339

PROBLEM: Final = "application/problem+json"

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_PICO_DIGITS: Final = 12


def number(micros: int) -> msgspec.Raw:
    """Micro-units as a JSON number with at most six decimals."""
    return msgspec.Raw(format_amount(micros).encode())


def number_or_none(micros: int | None) -> msgspec.Raw | None:
    """As ``number``, where there may be none."""
    return None if micros is None else number(micros)


def numbers(amounts: Mapping[str, int] | tuple[tuple[str, int], ...]) -> dict[str, msgspec.Raw]:
    """Amounts per unit."""
    return {unit: number(micros) for unit, micros in dict(amounts).items()}


def price(picos: int) -> msgspec.Raw:
    """The price of one unit of quantity as a JSON number with at most twelve decimals."""
    whole, fraction = divmod(picos, 10**_PICO_DIGITS)
    text = f"{whole}.{fraction:012d}".rstrip("0").rstrip(".")
    return msgspec.Raw(text.encode())


def cents(amount: int) -> msgspec.Raw:
    """Cents as dollars."""
    return number(amount * MICROS_PER_CENT)


def moment(micros: int | None) -> str | None:
    """A time, where there may be none."""
    return None if micros is None else format_rfc3339(micros)


def identifier(prefix: str, value: int | None) -> str | None:
    """An id, where there may be none."""
    return None if value is None else to_text(prefix, value)


def json_bytes(content: object) -> bytes:
    """JSON; text that UTF-8 cannot carry is shown with replacement characters rather than not at all."""
    try:
        return _encode(content)
    except UnicodeEncodeError:
        return _encode(_cleaned(msgspec.to_builtins(content, builtin_types=(msgspec.Raw,))))


def _cleaned(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


class Json(Response):
    """An answer in JSON that is never checked against its schema again: tests do that once for all."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - whatever has a form in JSON
        """The body."""
        return json_bytes(content)
