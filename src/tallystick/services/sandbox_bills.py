"""What sandboxes cost: leases and operations, each step one database transaction with the sandbox's own row.

- A lease is a hold that pays for the next slice of a sandbox's life. It is captured as used and made anew while credits
  last; what it does not pay for is not lived: see ``core.sandboxes``.
- The wallets are locked before the row, as everywhere; whatever is written about money commits with it.
- An operation's price is held before it is carried out, captured with the running time up to then, and released where it
  was not carried out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.catalog import Plan
from tallystick.core.events import SANDBOX_ENDING, SANDBOX_STARTED, SANDBOX_STOPPED
from tallystick.core.ids import to_text
from tallystick.core.sandboxes import MINIMUM_SLICE_MS, affordable_ms, billed_ms, slice_cost
from tallystick.core.times import format_rfc3339
from tallystick.services.context import Context
from tallystick.services.sandbox_postings import Done, Fee, SandboxPostings
from tallystick.store import memberships, notifications, sandbox_lines
from tallystick.store import sandboxes as store
from tallystick.store.sandboxes import SandboxRow

LEASE_SECONDS: Final = 300
# Nobody is given a sandbox that would end before it was of any use.
FIRST_SLICE_MS: Final = 60_000

# What cut a lease short, where it was not credits, a budget or a frozen wallet: the plan's longest session.
PLAN: Final = "plan"


class SandboxBills:
    """The transactions that sandboxes are paid by."""

    def __init__(self, context: Context, *, lease_seconds: int = LEASE_SECONDS) -> None:
        self._context = context
        self.postings = SandboxPostings(context)
        self.lease_ms = lease_seconds * 1000

    def plan_of(self, connection: Connection, customer_id: int) -> Plan | None:
        """A customer's plan, while the economy has it."""
        found = memberships.get(connection, customer_id)
        return None if found is None else self._context.economy().plans.get(found.plan)

    # --- what is done in the caller's transaction ------------------------------------------------------------------

    def lock(self, connection: Connection, row: SandboxRow) -> SandboxRow:
        """The row as it stands, after its customer's wallets: nobody else bills it before the transaction ends."""
        self._context.ledger.settled(connection, [row.customer_id], now=self._context.now())
        found = store.by_id(connection, row.id, lock=True)
        assert found is not None
        return found

    def open(self, connection: Connection, row: SandboxRow, fee: Fee) -> SandboxRow:
        """Hold what creating it costs and the first slice; gives the row as it is to be added. Raises what refuses it."""
        fee_hold = self.postings.hold_fee(connection, row, fee)
        return self._lease(connection, replace(row, fee_hold_id=fee_hold), from_ms=0, least_ms=FIRST_SLICE_MS)

    def start(
        self,
        connection: Connection,
        row: SandboxRow,
        fee: Fee,
        *,
        handle: str,
        vcpu: int,
        memory_mib: int,
        clock_ahead: int,
    ) -> SandboxRow:
        """It is ready: what creating it costs is captured, and its life begins, with the size that it really has."""
        now = self._context.now()
        if row.fee_hold_id is not None:
            self.postings.capture_fee(connection, row, Done(fee, row.fee_hold_id))
        changes = {
            "status": "running",
            "handle": handle,
            "vcpu": vcpu,
            "memory_mib": memory_mib,
            "clock_ahead": clock_ahead,
            "started_at": now,
            "fee_hold_id": None,
            "used_at": now,
        }
        has_other_size = (vcpu, memory_mib) != (row.vcpu, row.memory_mib)
        row = self._change(connection, row, changes)
        if has_other_size:
            row = self._leased_anew(connection, row)
        self._tell(connection, row, SANDBOX_STARTED, {"template": row.template})
        return row

    def _leased_anew(self, connection: Connection, row: SandboxRow) -> SandboxRow:
        """The first slice at another size. Raises what refuses it."""
        if row.hold_id is not None:
            self.postings.release(connection, row, row.hold_id)
        lease = self._lease(connection, row, from_ms=0, least_ms=FIRST_SLICE_MS)
        changes = {"hold_id": lease.hold_id, "funded_ms": lease.funded_ms, "short_of": lease.short_of}
        return self._change(connection, row, changes)

    def fail(self, connection: Connection, row: SandboxRow, detail: str) -> SandboxRow:
        """It was never ready: everything goes back, and its key is free again."""
        for hold_id in (row.fee_hold_id, row.hold_id):
            if hold_id is not None:
                self.postings.release(connection, row, hold_id)
        changes = {
            "status": "failed",
            "idempotency": f"failed:{row.id}",
            "detail": detail,
            "env": None,
            "ended_at": self._context.now(),
            "hold_id": None,
            "fee_hold_id": None,
            "funded_ms": row.metered_ms,
        }
        return self._change(connection, row, changes)

    def renew(
        self, connection: Connection, row: SandboxRow, lived_ms: int, done: Done | None = None
    ) -> SandboxRow:
        """Capture what was lived, with what was done, and pay for the next slice, or for as much of it as there is.

        ``short_of`` then says what cut it short. A lease that would now end sooner, as by a frozen wallet, stays as it is;
        with nothing left, the life ends here.
        """
        with connection.begin_nested() as attempt:
            renewed = self._renewed(connection, row, lived_ms, done)
            if renewed.funded_ms >= row.funded_ms:
                return renewed
            attempt.rollback()
        if done is not None:
            self.postings.capture_fee(connection, row, done)
        return self._change(connection, row, {"short_of": renewed.short_of})

    def goes_further(self, connection: Connection, row: SandboxRow) -> bool:
        """Whether more than its lease can be paid for by now."""
        until = min(row.funded_ms + MINIMUM_SLICE_MS, row.timeout_ms)
        longest = self._session_ms(connection, row)
        if longest is not None and row.funded_ms >= longest:
            return False
        return self.postings.would_pay(connection, row, row.funded_ms, until)

    def meter(
        self, connection: Connection, row: SandboxRow, lived_ms: int, done: Done | None = None
    ) -> SandboxRow:
        """Capture what was lived since the last time; the lease ends, and what is left of it is free for the next.

        What was done is captured with it: two bills, one transaction. What cannot be paid for any more was not billed, and
        does not stand on the bill.
        """
        billed = billed_ms(lived_ms, funded_ms=row.funded_ms, timeout_ms=row.timeout_ms)
        to_ms = max(billed, row.metered_ms)
        cost = slice_cost(row.size, row.metered_ms, to_ms)
        if not cost.total:
            if row.hold_id is not None:
                self.postings.release(connection, row, row.hold_id)
            if done is not None:
                self.postings.capture_fee(connection, row, done)
            sandbox_lines.prolong(connection, row.id, from_ms=row.metered_ms, to_ms=to_ms)
        elif not self.postings.pay_time(connection, row, to_ms, cost, done):
            return self._change(connection, row, {"hold_id": None})
        changes = {
            "hold_id": None,
            "metered_ms": to_ms,
            "vcpu_cost": row.vcpu_cost + cost.vcpu,
            "memory_cost": row.memory_cost + cost.memory,
        }
        return self._change(connection, row, changes)

    def finish(self, connection: Connection, row: SandboxRow, lived_ms: int, reason: str) -> SandboxRow:
        """It has ended: what it lived is captured, and what is left of the lease goes back."""
        if not row.is_open:
            return row  # somebody else saw its end first
        if row.status == "creating":
            return self.fail(connection, row, f"it ended before it was ready: {reason}")
        row = self.meter(connection, row, lived_ms)
        changes = {
            "status": "stopped",
            "reason": reason,
            "env": None,
            "ended_at": self._context.now(),
            "funded_ms": row.metered_ms,
            "beat_ms": row.metered_ms,
        }
        row = self._change(connection, row, changes)
        facts = {"reason": reason, "seconds": row.metered_ms // 1000, "unit": row.unit}
        self._tell(connection, row, SANDBOX_STOPPED, facts)
        return row

    def capture(
        self,
        connection: Connection,
        row: SandboxRow,
        fee: Fee,
        *,
        hold_id: int | None,
        lived_ms: int,
        execution_id: int | None = None,
    ) -> SandboxRow:
        """An operation was carried out: its price and the running time up to now are captured, both or neither."""
        done = None if hold_id is None else Done(fee, hold_id, execution_id)
        if row.status != "running":
            if done is not None:
                self.postings.capture_fee(connection, row, done)
            return row
        row = self.renew(connection, row, lived_ms, done)
        return self._change(connection, row, {"used_at": self._context.now()})

    def warn(self, connection: Connection, row: SandboxRow, *, left_ms: int, reason: str) -> SandboxRow:
        """Tell once that it will end soon, and why."""
        if row.ending_told:
            return row
        at = self._context.now() + left_ms * 1000
        self._tell(connection, row, SANDBOX_ENDING, {"reason": reason, "ends_at": format_rfc3339(at)})
        return self._change(connection, row, {"ending_told": True})

    # --- its parts -------------------------------------------------------------------------------------------------

    def _lease(
        self, connection: Connection, row: SandboxRow, *, from_ms: int, least_ms: int = MINIMUM_SLICE_MS
    ) -> SandboxRow:
        """Hold the next slice, or the largest that there is; raises what refuses the least that is of use."""
        until, short_of = min(from_ms + self.lease_ms, row.timeout_ms), None
        longest = self._session_ms(connection, row)
        if longest is not None and longest < until:
            until, short_of = max(longest, from_ms), PLAN
        if until == from_ms and short_of is not None:
            return replace(row, hold_id=None, funded_ms=from_ms, short_of=short_of)
        least = min(from_ms + least_ms, until)
        while until > from_ms:
            outcome = self.postings.hold_slice(connection, row, from_ms, until)
            if outcome.refusal is None:
                return replace(row, hold_id=outcome.result.id, funded_ms=until, short_of=short_of)
            if until == least or not isinstance(outcome.refusal, errors.NotCovered):
                raise outcome.refusal
            short_of = _short_of(outcome.refusal)
            until = max(least, min(until - 1, affordable_ms(row.size, from_ms, _left(outcome.refusal))))
        return replace(row, hold_id=None, funded_ms=max(row.funded_ms, from_ms))

    def _session_ms(self, connection: Connection, row: SandboxRow) -> int | None:
        """How long the plan that its customer has now lets a sandbox live; None: as long as it likes."""
        plan = self.plan_of(connection, row.customer_id)
        return None if plan is None or plan.session_seconds_max is None else plan.session_seconds_max * 1000

    def _renewed(
        self, connection: Connection, row: SandboxRow, lived_ms: int, done: Done | None
    ) -> SandboxRow:
        metered = self.meter(connection, row, lived_ms, done)
        try:
            lease = self._lease(connection, metered, from_ms=metered.metered_ms)
        except (errors.NotCovered, errors.WalletFrozen) as refusal:
            lease = replace(metered, funded_ms=metered.metered_ms, short_of=_short_of(refusal))
        is_enough_again = row.short_of is not None and lease.short_of is None
        changes = {
            "hold_id": lease.hold_id,
            "funded_ms": lease.funded_ms,
            "short_of": lease.short_of,
            "beat_ms": max(row.beat_ms, min(lived_ms, lease.funded_ms)),
            "ending_told": row.ending_told and not is_enough_again,
        }
        return self._change(connection, metered, changes)

    def _change(self, connection: Connection, row: SandboxRow, changes: dict[str, Any]) -> SandboxRow:
        changed = {name: value for name, value in changes.items() if getattr(row, name) != value}
        if changed:
            store.change(connection, row.id, changed)
        return replace(row, **changes)

    def _tell(self, connection: Connection, row: SandboxRow, event: str, facts: dict[str, object]) -> None:
        notifications.emit(
            connection,
            new_id=self._context.new_id,
            now=self._context.now(),
            customer_id=row.customer_id,
            type=event,
            data={"sandbox": to_text("sbx", row.id), "name": row.name, **facts},
        )


def _short_of(refusal: errors.Refusal) -> str:
    if isinstance(refusal, errors.WalletFrozen):
        return "frozen"
    return "budget" if isinstance(refusal, errors.BudgetExceeded) else "credits"


def _left(refusal: errors.NotCovered) -> int:
    available = refusal.fields["available"]
    assert isinstance(available, int)
    return max(available, 0)
