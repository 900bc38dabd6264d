"""Telling a receiver something: what came of one attempt, and when to try again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.core.times import HOUR, MINUTE, SECOND, Micros

# Pauses between attempts, more than three days in all; each is lengthened or shortened by up to a tenth.
PAUSES: Final = (
    5 * SECOND,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
LONGEST_REST: Final = 5 * MINUTE
_TENTHS: Final = 1000


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a receiver answered. ``error`` is for people; ``final``: no repeat helps; ``gone``: it wants no more."""

    ok: bool
    status: int | None = None
    error: str | None = None
    final: bool = False
    gone: bool = False


def pause_after(attempt: int, random: Callable[[], float]) -> Micros | None:
    """How long to wait after the failed attempt of this number, from 1; None: it was the last. ``random`` gives 0 to 1.

    The randomness keeps what failed together from being tried together again.
    """
    if attempt > len(PAUSES):
        return None
    pause = PAUSES[attempt - 1]
    spread = pause // 10
    return pause - spread + 2 * spread * int(random() * _TENTHS) // _TENTHS
