"""Due work with payments: refills that are wanted, outcomes that are waited for, events that never came."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tallystick.core.times import Micros


class PaymentWork:
    """Runs each step once a turn. It asks the provider, which may be slow: the ledger's due work never waits for it."""

    def __init__(self, steps: Sequence[Callable[[], dict[str, int]]]) -> None:
        """``steps`` are bounded, and each gives how much of what it did."""
        self._steps = steps

    def run_once(self, now: Micros | None = None) -> dict[str, int]:  # noqa: ARG002 - the steps have the clock
        """One turn; gives how much of each kind was done."""
        counts: dict[str, int] = {}
        for step in self._steps:
            counts.update(step())
        return counts
