"""Lists in pages, newest first: a limit, and an opaque cursor that says where the last page ended."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from tallystick.core import errors
from tallystick.core.amounts import INT64_MAX

T = TypeVar("T")

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100

_MOST_CHARACTERS: Final = 100
_POSITION: Final = re.compile(r"([a-z]+):([1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and the cursor of what comes after them."""

    items: Sequence[T]
    has_more: bool
    next_cursor: str | None


def check_limit(limit: object) -> int:
    """How many items a page has, or a refusal that says what was expected."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise errors.ValidationFailed([("limit", f"expected a whole number from 1 to {MAX_LIMIT}")])
    return limit


def cursor_of(noun: str, position: int) -> str:
    """The cursor behind which the list of ``noun`` goes on; ``noun`` is lower-case letters."""
    return base64.urlsafe_b64encode(f"{noun}:{position}".encode()).decode().rstrip("=")


def position_of(noun: str, cursor: str | None) -> int | None:
    """Where a page starts: behind this position, or at the newest item where it is None.

    Raises ``InvalidCursor`` for whatever this list did not give.
    """
    if cursor is None:
        return None
    match = None
    if len(cursor) <= _MOST_CHARACTERS and cursor.isascii():
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            match = _POSITION.fullmatch(text.decode("ascii"))
        except (binascii.Error, UnicodeDecodeError):
            pass  # Told below, like a cursor of another list.
    if match is None or match.group(1) != noun or int(match.group(2)) > INT64_MAX:
        raise errors.InvalidCursor
    return int(match.group(2))


def page_of(noun: str, found: Sequence[T], *, limit: int, position: Callable[[T], int]) -> Page[T]:
    """A page from what was found: ``limit`` items, and one more where the list goes on."""
    items = found[:limit]
    has_more = len(found) > limit
    return Page(items, has_more, cursor_of(noun, position(items[-1])) if has_more else None)
