"""Sandboxes: what their running time costs, how much of it credits pay, and what they cost in future. Pure decisions.

Time is counted in whole milliseconds that a sandbox lived since it was ready, sizes in whole vCPUs and MiB; so what is
billed is vCPU·ms and MiB·ms in integers. Rates are picos of the unit per vCPU-second and per GiB-second.

- Each of the two meters is rounded up **once** for the whole life, as every price is: the platform keeps the remainder.
  A slice of the life costs the difference of two such totals, so slices add up to the whole to the last micro-unit.
- Nothing is billed beyond what a lease has paid for, nor beyond the deadline.
"""

from typing import Final, NamedTuple

from tallystick.core.amounts import MICROS, PICOS
from tallystick.core.operations import Part

# The least that is worth another lease.
MINIMUM_SLICE_MS: Final = 1_000
_MS: Final = 1000
_MIB: Final = 1024
_PICOS_PER_MICRO: Final = PICOS // MICROS
_LONGEST_MS: Final = 10 * 366 * 86_400 * _MS

MAKER: Final = "sandbox:"  # of a sandbox's holds: nobody but its own steps resolves them
OPEN_STATUSES: Final = ("creating", "running")
STATUSES: Final = (*OPEN_STATUSES, "stopped", "failed")


class Size(NamedTuple):
    """What was allocated, and what it costs: picos of ``unit`` per vCPU-second and per GiB-second."""

    vcpu: int
    memory_mib: int
    vcpu_second_picos: int
    gib_second_picos: int


class Cost(NamedTuple):
    """Micro-units by meter: for processors and for memory."""

    vcpu: int
    memory: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.vcpu + self.memory

    def less(self, other: "Cost") -> "Cost":
        """What this is above another."""
        return Cost(self.vcpu - other.vcpu, self.memory - other.memory)


def cost_of(size: Size, lived_ms: int) -> Cost:
    """What a life of so many milliseconds costs from its beginning; each meter is rounded up once."""
    vcpu_ms, mib_ms = size.vcpu * lived_ms, size.memory_mib * lived_ms
    return Cost(
        -(-vcpu_ms * size.vcpu_second_picos // (_MS * _PICOS_PER_MICRO)),
        -(-mib_ms * size.gib_second_picos // (_MS * _MIB * _PICOS_PER_MICRO)),
    )


def slice_cost(size: Size, from_ms: int, to_ms: int) -> Cost:
    """What the time between two moments of a life costs."""
    return cost_of(size, to_ms).less(cost_of(size, from_ms))


def affordable_ms(size: Size, from_ms: int, amount: int) -> int:
    """Up to which millisecond of its life a sandbox can run when ``amount`` pays from ``from_ms`` on."""
    paid = cost_of(size, from_ms).total + amount
    low, high = from_ms, from_ms + _LONGEST_MS
    if cost_of(size, high).total <= paid:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if cost_of(size, middle).total <= paid:
            low = middle
        else:
            high = middle
    return low


def per_hour(size: Size) -> int:
    """What an hour of running costs, in micro-units."""
    return cost_of(size, 3_600_000).total


def parts_of(cost: Cost, *, unit: str, vcpu: tuple[str, str], memory: tuple[str, str]) -> tuple[Part, Part]:
    """A cost as priced parts; ``vcpu`` and ``memory`` are the meters' names and categories."""
    return Part(*vcpu, unit, cost.vcpu), Part(*memory, unit, cost.memory)


def billed_ms(lived_ms: int, *, funded_ms: int, timeout_ms: int) -> int:
    """How much of a life is billed: never what no lease paid for, nor what was beyond the deadline."""
    return max(0, min(lived_ms, funded_ms, timeout_ms))


def extended(timeout_ms: int, lived_ms: int, more_ms: int, longest_ms: int | None) -> int:
    """The new deadline when ``more_ms`` from now are asked for: never sooner, and never past the longest session."""
    asked = max(timeout_ms, lived_ms + more_ms)
    return asked if longest_ms is None else max(timeout_ms, min(asked, longest_ms))


def ends_in_ms(rates_per_hour: int, available: int) -> int | None:
    """For how many milliseconds ``available`` micro-units last at so much an hour.

    None where it costs nothing, or so little that no sandbox lives as long as that.
    """
    lasts = None if rates_per_hour <= 0 else available * 3_600_000 // rates_per_hour
    return None if lasts is None or lasts > _LONGEST_MS else lasts
