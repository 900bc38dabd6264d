"""Checks that every write shares: texts, metadata, idempotency keys, and the digest that tells one request from another."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tallystick.core import errors
from tallystick.services.context import Caller
from tallystick.store.results import idempotency_of

MAX_KEY_LENGTH: Final = 255
MAX_TEXT_LENGTH: Final = 500
MAX_METADATA_BYTES: Final = 4096

_encode: Final = msgspec.json.Encoder(decimal_format="number", order="sorted").encode
_encode_as_sent: Final = msgspec.json.Encoder(decimal_format="number").encode


def check_text(value: object, *, field: str, most: int = MAX_TEXT_LENGTH) -> str | None:
    """A text that every database can store, or None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise errors.ValidationFailed([(field, "expected a text")])
    if not value or len(value) > most:
        raise errors.ValidationFailed([(field, f"expected 1 to {most} characters")])
    if not is_storable(value):
        raise errors.ValidationFailed([(field, "expected text without NUL or lone surrogates")])
    return value


def check_reason(value: object) -> str | None:
    """Why something is done, or None. Blanks are no reason, as an empty text is none."""
    found = check_text(value, field="reason")
    if found is not None and not found.strip():
        raise errors.ValidationFailed(
            [("reason", f"expected 1 to {MAX_TEXT_LENGTH} characters, not just blanks")]
        )
    return found


def check_name(value: object, *, field: str, most: int) -> str:
    """A text that tells things apart: printable, without blanks around it, and otherwise as it is."""
    found = check_text(value, field=field, most=most)
    if found is None or not found.isprintable() or found != found.strip():
        raise errors.ValidationFailed([(field, "expected printable characters without blanks around them")])
    return found


def is_storable(value: str) -> bool:
    """Whether every database can store the text."""
    if "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_metadata(value: Mapping[str, Any] | None) -> str | None:
    """Metadata as JSON text, at most 4 KiB; None where there is none."""
    if not value:
        return None
    return check_json(value, field="metadata", most_bytes=MAX_METADATA_BYTES, expected="a JSON object")


def check_json(
    value: object, *, field: str, most_bytes: int, expected: str = "JSON", keep_order: bool = False
) -> str:
    """JSON as a text that every database can store, its names sorted unless the order is somebody's.

    Raises ``ValidationFailed`` for what is none, or too long.
    """
    try:
        text = (_encode_as_sent if keep_order else _encode)(value).decode()
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError):
        raise errors.ValidationFailed([(field, f"expected {expected}")]) from None
    if len(text.encode()) > most_bytes:
        raise errors.ValidationFailed([(field, f"expected at most {most_bytes} bytes of JSON")])
    if "\\u0000" in text or not is_storable(text):
        raise errors.ValidationFailed([(field, "expected text without NUL or lone surrogates")])
    return text


def idempotency_fields(
    caller: Caller, key: str | None, kind: str, content: tuple[object, ...]
) -> dict[str, Any]:
    """The fields of an operation that make a repeat harmless. ``content`` is what was asked, in a fixed order."""
    if key is None or not key:
        raise errors.IdempotencyKeyRequired
    if len(key) > MAX_KEY_LENGTH or not is_storable(key):
        message = f"expected 1 to {MAX_KEY_LENGTH} characters without NUL"
        raise errors.ValidationFailed([("Idempotency-Key", message)])
    return {
        "idempotency": idempotency_of(caller.scope, key),
        "idempotency_key": key,
        "request_digest": digest_of(kind, content),
    }


def digest_of(kind: str, content: tuple[object, ...]) -> str:
    """A short digest of a request: two requests that ask the same have the same."""
    try:
        text = _encode((kind, content))
    except UnicodeEncodeError:  # Whoever looks at it will say what is wrong with it.
        text = json.dumps((kind, content), default=str).encode()
    return hashlib.blake2b(text, digest_size=12).hexdigest()
