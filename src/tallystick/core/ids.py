"""Time-ordered 64-bit identifiers and the prefixed text that doors show for them.

An id is ``milliseconds since 2020 << 22 | node << 12 | sequence``: 41 + 10 + 12 bits, always positive. Ids made by one
source strictly rise, whatever its clock does; two processes differ in their node. The text is a prefix and thirteen
digits of Crockford's base 32, which sort like the numbers.
"""

import threading
from collections.abc import Callable
from functools import lru_cache

EPOCH_MILLISECONDS = 1_577_836_800_000
MAX_NODES = 1024
SEQUENCES = 4096
TEXT_DIGITS = 13

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]


class IdSource:
    """Makes ids that strictly rise; ``now`` gives microseconds since the Unix epoch, ``node`` is 0..1023."""

    def __init__(self, *, now: Callable[[], int], node: int) -> None:
        if not 0 <= node < MAX_NODES:
            message = f"node must be 0..{MAX_NODES - 1}, found {node}"
            raise ValueError(message)
        self._now = now
        self._node_bits = node << 12
        self._millisecond = 0
        self._sequence = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        """The next id; a clock that stands still or goes back does not disturb the order."""
        millisecond = self._now() // 1000 - EPOCH_MILLISECONDS
        with self._lock:
            if millisecond > self._millisecond:
                self._millisecond = millisecond
                self._sequence = 0
            else:
                self._sequence += 1
                if self._sequence == SEQUENCES:
                    self._millisecond += 1
                    self._sequence = 0
            return self._millisecond << 22 | self._node_bits | self._sequence


def first_at(moment: int) -> int:
    """The smallest id that could be made at a moment, in microseconds: all smaller ones were made before it."""
    return max(moment // 1000 - EPOCH_MILLISECONDS, 0) << 22


def to_text(prefix: str, number: int) -> str:
    """``to_text("cust", 5)`` is ``"cust_0000000000005"``."""
    pairs = _PAIRS
    return (
        f"{prefix}_{_ALPHABET[number >> 60]}{pairs[number >> 50 & 1023]}{pairs[number >> 40 & 1023]}"
        f"{pairs[number >> 30 & 1023]}{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
    )


def from_text(prefix: str, text: str) -> int | None:
    """The number behind ``text``, or None when it is not an id with this prefix."""
    return _number(prefix, text) if len(text) == len(prefix) + 1 + TEXT_DIGITS else None


@lru_cache(maxsize=100_000)
def _number(prefix: str, text: str) -> int | None:
    head, separator, digits = text.rpartition("_")
    if not separator or head != prefix or len(digits) != TEXT_DIGITS:
        return None
    number = 0
    for character in digits:
        value = _VALUES.get(character)
        if value is None:
            return None
        number = number << 5 | value
    return number if number < 1 << 63 else None
