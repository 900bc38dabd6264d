"""Moving the test clock: time passes at once, and all that became due is done before the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick.core import errors
from tallystick.core.times import add, format_rfc3339, parse_duration, parse_rfc3339
from tallystick.services.clock import Clock
from tallystick.services.context import Caller, Context
from tallystick.services.work import Work, run_all

# Ids are made from the time for a while longer than this.
LATEST_MICROS: Final = parse_rfc3339("2089-01-01T00:00:00Z")


class TestClock:
    """For admins, in test mode only."""

    __test__ = False  # The name begins with "Test", and this is not one.

    def __init__(
        self,
        context: Context,
        clock: Clock,
        works: Sequence[Work],
        *,
        test_mode: bool,
        simulated: bool = True,
    ) -> None:
        """``simulated`` False: a real payment provider is in use, whose time nobody moves."""
        self._context = context
        self._clock = clock
        self._works = works
        self._test_mode = test_mode
        self._simulated = simulated

    def move(
        self, caller: Caller, *, advance: str | None = None, now: str | None = None
    ) -> tuple[int, list[tuple[str, int]]]:
        """Advance by an ISO 8601 duration, or set the time; gives the new time and what was done, by job and count."""
        if not caller.is_admin:
            raise errors.NotAllowed("the test clock is for admins")
        if not self._test_mode:
            raise errors.TestClockRefused("there is no test clock in live mode")
        if not self._simulated:
            raise errors.TestClockRefused(
                "the time of Stripe cannot be moved: the test clock needs simulated payments"
            )
        if (advance is None) == (now is None):
            raise errors.ValidationFailed(
                [("advance", "expected either advance (like P1D) or now, and not both")]
            )
        present = self._clock.latest()  # an older time would take back what another process has moved
        if advance is not None:
            target = add(present, parse_duration(advance, field="advance"))
        else:
            target = parse_rfc3339(str(now), field="now")
        if target < present:
            raise errors.TestClockRefused(
                f"the clock moves forwards only: it is {format_rfc3339(present)} now"
            )
        if target >= LATEST_MICROS:
            field = "now" if advance is None else "advance"
            raise errors.ValidationFailed(
                [(field, f"expected a time before {format_rfc3339(LATEST_MICROS)}")]
            )
        self._clock.move_to(target)
        ran = run_all(self._works)
        return self._context.now(), sorted(ran.items())
