"""What sandboxes have cost and will cost: usage in a span of time, the bill of one second by second, and the forecast."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.limits import DAY_MICROS
from tallystick.core.sandboxes import Cost, cost_of, ends_in_ms, per_hour, slice_cost
from tallystick.services.context import Caller
from tallystick.services.due import settle_if_due
from tallystick.services.explain import RefundLine, refund_lines
from tallystick.services.sandbox_steps import SandboxSteps
from tallystick.store import explanations, sandbox_lines, wallets
from tallystick.store import sandboxes as store
from tallystick.store.sandbox_lines import LineRow
from tallystick.store.sandboxes import SandboxRow, Wanted

PERIODS: Final = {"7d": 7, "30d": 30, "90d": 90}
MAX_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class OperationUsage:
    """How often something was done, and what that cost by unit in micro-units."""

    operation: str
    count: int
    amounts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class RunningView:
    """A sandbox that runs: what an hour of it costs, until when it is paid for, and what it has cost.

    It ends at ``ends_at`` at the latest. ``idle_since`` is set where nobody has used it for as long as the economy warns of.
    """

    row: SandboxRow
    per_hour: int
    paid_until: int
    ends_at: int
    idle_since: int | None
    cost: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What runs costs ``per_hour`` together; credits last until ``lasts_until``, if it all runs on.

    None: they do not end, or last for longer than any sandbox lives.
    """

    unit: str
    per_hour: int
    available: int
    lasts_until: int | None


@dataclass(frozen=True, slots=True)
class NowView:
    """What runs now, and until when the credits last for it."""

    running: tuple[RunningView, ...]
    forecasts: tuple[Forecast, ...]


@dataclass(frozen=True, slots=True)
class UsageView:
    """Sandboxes of a customer in a span of time. ``vcpu_ms`` and ``mib_ms`` are what was billed, in integers."""

    since: int
    until: int
    operations: tuple[OperationUsage, ...]
    lived_ms: int
    vcpu_ms: int
    mib_ms: int
    running: tuple[RunningView, ...]
    forecasts: tuple[Forecast, ...]


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a life: what it cost, and the whole up to its end."""

    number: int
    cost: Cost
    total: Cost


@dataclass(frozen=True, slots=True)
class BillView:
    """A sandbox's bill: its lines, what of them went back, what was seen running and is not billed yet, and the seconds.

    ``paid`` is what its customer has really paid for it by now, by unit: the lines less the refunds.
    """

    row: SandboxRow
    lines: tuple[LineRow, ...]
    refunds: tuple[RefundLine, ...]
    paid: tuple[tuple[str, int], ...]
    unbilled_ms: int
    unbilled: Cost
    seconds: tuple[Second, ...]


class SandboxViews:
    """Reads of what sandboxes cost."""

    def __init__(self, steps: SandboxSteps) -> None:
        self._steps = steps
        self._context = steps.context

    def usage(self, caller: Caller, *, customer: str | None = None, period: str = "30d") -> UsageView:
        """What a customer's sandboxes cost in the last 7, 30 or 90 days, what runs, and until when credits last."""
        if period not in PERIODS:
            raise errors.ValidationFailed([("period", f"expected one of {', '.join(PERIODS)}")])
        number = self._steps.pricing.customers.resolve(caller, customer)
        settle_if_due(self._context, number)
        until = self._context.now() + 1
        since = until - PERIODS[period] * DAY_MICROS
        with self._context.database.read() as connection:
            lines = sandbox_lines.of_customer(connection, number, since=since, until=until)
            sizes = store.sizes(connection, {line.sandbox_id for line in lines if line.from_ms is not None})
            now = self._now(connection, number, until)
        totals = [0, 0, 0]
        for line in lines:
            if line.from_ms is not None and line.to_ms is not None:
                vcpu, memory_mib = sizes[line.sandbox_id]
                lived = line.to_ms - line.from_ms
                totals = [totals[0] + lived, totals[1] + lived * vcpu, totals[2] + lived * memory_mib]
        return UsageView(
            since,
            until,
            _operations(lines),
            totals[0],
            totals[1],
            totals[2],
            now.running,
            now.forecasts,
        )

    def now(self, caller: Caller) -> NowView:
        """What of a customer's runs, and until when its credits last."""
        number = self._steps.pricing.customers.resolve(caller, None)
        settle_if_due(self._context, number)
        with self._context.database.read() as connection:
            return self._now(connection, number, self._context.now() + 1)

    def look(self, caller: Caller, sandbox: str) -> tuple[SandboxRow, RunningView | None]:
        """A sandbox as it stands; None where it does not run."""
        row = self._steps.find(caller, sandbox)
        return row, self._running(row) if row.status == "running" else None

    def _now(self, connection: Connection, number: int, until: int) -> NowView:
        wanted = Wanted(customer_id=number, statuses=("running",))
        rows = store.listed(connection, wanted, before=None, limit=None)
        available: dict[str, int] = {}
        endless = set()
        for unit, wallet in wallets.of_customer(connection, number).items():
            wallets.load_lots(connection, wallet)
            available[unit] = wallet.available(until)
            if wallet.cover_id is not None:
                endless.add(unit)
        return NowView(tuple(self._running(row) for row in rows), _forecasts(rows, available, endless, until))

    def _running(self, row: SandboxRow) -> RunningView:
        assert row.started_at is not None
        rates = self._context.economy().sandbox
        is_idle = (
            rates is not None and self._context.now() - row.used_at >= rates.idle_warning_seconds * MICROS
        )
        return RunningView(
            row,
            per_hour(row.size),
            paid_until=row.started_at + row.funded_ms * 1000,
            ends_at=row.started_at + row.timeout_ms * 1000,
            idle_since=row.used_at if is_idle else None,
            cost=cost_of(row.size, row.seen_ms).total,
        )

    def bill(
        self, caller: Caller, sandbox: str, *, from_second: int | None = None, seconds: int = 60
    ) -> BillView:
        """Explain one bill; with ``from_second``, also what each of so many seconds cost."""
        row = self._steps.find(caller, sandbox)
        if not 1 <= seconds <= MAX_SECONDS:
            raise errors.ValidationFailed([("seconds", f"expected 1 to {MAX_SECONDS}")])
        with self._context.database.read() as connection:
            lines = sandbox_lines.of_sandbox(connection, row.id)
            refunds = refund_lines(*explanations.refunds(connection, sandbox_lines.charges_of(row.id)))
        unbilled = slice_cost(row.size, row.metered_ms, row.seen_ms)
        shown = () if from_second is None else _seconds(row, from_second, seconds, row.seen_ms)
        paid = _paid(lines, refunds)
        return BillView(row, tuple(lines), refunds, paid, row.seen_ms - row.metered_ms, unbilled, shown)


def _paid(lines: list[LineRow], refunds: tuple[RefundLine, ...]) -> tuple[tuple[str, int], ...]:
    totals: Counter[str] = Counter()
    for line in lines:
        totals.update(dict(line.amounts))
    for refund in refunds:
        totals.subtract(dict(refund.amounts))
    return tuple(totals.items())


def _operations(lines: list[LineRow]) -> tuple[OperationUsage, ...]:
    counts: Counter[str] = Counter()
    amounts: dict[str, Counter[str]] = {}
    for line in lines:
        counts[line.operation] += 1
        sums = amounts.setdefault(line.operation, Counter())
        for unit, amount in line.amounts:
            sums[unit] += amount
    return tuple(
        OperationUsage(name, count, tuple(amounts[name].items())) for name, count in sorted(counts.items())
    )


def _forecasts(
    rows: list[SandboxRow], available: dict[str, int], endless: set[str], now: int
) -> tuple[Forecast, ...]:
    """Per unit; what leases hold already is there for the same sandboxes, so it counts as available.

    ``endless`` are the units of which the plan's allowance is unlimited.
    """
    rates: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for row in rows:
        rates[row.unit] += per_hour(row.size)
        held[row.unit] += slice_cost(row.size, min(row.seen_ms, row.funded_ms), row.funded_ms).total
    found = []
    for unit, rate in sorted(rates.items()):
        left = max(available.get(unit, 0), 0) + held[unit]
        lasts = None if unit in endless else ends_in_ms(rate, left)
        found.append(Forecast(unit, rate, left, None if lasts is None else now + lasts * 1000))
    return tuple(found)


def _seconds(row: SandboxRow, first: int, count: int, seen_ms: int) -> tuple[Second, ...]:
    if first < 0:
        raise errors.ValidationFailed([("from_second", "expected a whole number, 0 or more")])
    found = []
    for number in range(first, first + count):
        begins, ends = number * 1000, min((number + 1) * 1000, seen_ms)
        if begins >= seen_ms:
            break
        found.append(Second(number, slice_cost(row.size, begins, ends), cost_of(row.size, ends)))
    return tuple(found)
