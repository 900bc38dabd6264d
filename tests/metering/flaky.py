"""A way to a billing server that is away when a test says so: before a step is done, or after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.metering.embedded import Embedded
from tallystick.metering.metering import Metering
from tallystick.metering.orders import Answered, Away, Step
from tallystick.metering.steps import refusal

NEVER, BEFORE, AFTER = "never", "before", "after"


class Flaky(Embedded):
    """The embedded way, less reliable: ``faults`` are taken one by one, and then nothing fails."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(tally)
        self.faults: list[str] = []
        self.is_away = False

    def do(self, step: Step) -> Answered:
        """Answer a step, or lose it, or lose its answer."""
        fault = BEFORE if self.is_away else self.faults.pop(0) if self.faults else NEVER
        if fault == BEFORE:
            raise away()
        answer = super().do(step)
        if fault == AFTER:
            raise away()
        return answer

    async def do_async(self, step: Step) -> Answered:
        """As ``do``: nothing waits for long here."""
        return self.do(step)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nothing is answered meanwhile."""
        self.is_away = True
        yield
        self.is_away = False


def away() -> Away:
    said = refusal(errors.ServiceUnavailable, "away", retry_after_seconds=1)
    return Away(said.problem, said.headers)


def flaky(metering: Metering, tally: Tally) -> Flaky:
    """Put a flaky way into a metering; nothing is settled in the background, so that a test says when."""
    way = Flaky(tally)
    metering._backend = way  # noqa: SLF001 - there is no other way to lose answers
    metering._settler._do = way.do  # noqa: SLF001 - as above
    metering._settler.wake = lambda: None  # type: ignore[method-assign]  # noqa: SLF001 - as above
    return way
