"""JSON that is read and written exactly: numbers are decimals, never floats; times are aware."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

Number: TypeAlias = int | Decimal | str
"""An amount or a quantity: ``5``, ``Decimal("0.25")`` or ``"0.25"``."""
Moment: TypeAlias = datetime | str
"""A time: an aware ``datetime``, or a text such as ``"2027-01-31T12:00:00Z"``."""

_LARGEST_EXPONENT: Final = 1000  # all digits are written, so 1E+999999 would be as many noughts


def number(value: Number | None) -> int | Decimal | None:
    """A number as it was meant. Raises ``TypeError`` for a float, which seldom is, and ``ValueError`` for no number."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isinstance(value, str | Decimal):
        raise TypeError(f"expected an int, a Decimal or a text such as '0.25', found {value!r}")
    try:
        found = Decimal(value)
    except InvalidOperation:
        found = Decimal("NaN")
    exponent = found.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > _LARGEST_EXPONENT:
        raise ValueError(f"expected a number such as '0.25', found {value!r:.100}")
    return found


def moment(value: Moment | None) -> str | None:
    """A time as RFC 3339. Raises ``ValueError`` for a ``datetime`` without a zone."""
    if value is None or isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise ValueError("expected a time with a zone, such as datetime.now(UTC)")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def decode(content: bytes) -> Any:  # noqa: ANN401 - JSON
    """Read JSON. Raises ``ValueError`` for anything else."""
    try:
        return json.loads(content, parse_float=_decimal)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"expected a number that can be kept, found {text:.100}") from None


def encode(value: object) -> bytes:
    """Write JSON, every decimal with all its digits."""
    return _text(value).encode()


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{json.dumps(str(name))}:{_text(each)}' for name, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return json.dumps(value, allow_nan=False)
