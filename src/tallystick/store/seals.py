"""Seals: digests over what must never change, by which ``tally audit`` finds what was edited.

A transaction's seal covers its row, its transfers and entries, and the terms of the grants and the hold that
it made. Rows that stand alone (a membership, an economy's version) carry a seal of their own.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

_encode: Final = msgspec.json.Encoder().encode


def seal_of(content: Sequence[Any]) -> str:
    """A digest of plain values: numbers, texts, None, and sequences of them."""
    return hashlib.blake2b(_encode(content), digest_size=12).hexdigest()
