"""What sandboxes post to the ledger: holds, captures and releases like all others, whose maker is the sandbox."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.core.operations import Charge, Operation, Part, PlaceHold, Resolve
from tallystick.core.sandboxes import MAKER, Cost, parts_of, slice_cost
from tallystick.services.context import Context
from tallystick.store import sandbox_lines
from tallystick.store.results import Outcome
from tallystick.store.sandbox_lines import LineRow
from tallystick.store.sandboxes import SandboxRow

# A hold outlives its slice by this: services that are away meanwhile bill what was lived when they come back.
HOLD_GRACE_MICROS: Final = 24 * 3600 * MICROS
# What an operation costs is held for this long beyond the time that it was given: one whose process died is given back then.
FEE_SECONDS: Final = 3600

log = structlog.get_logger(__name__)


class Fee(NamedTuple):
    """What an operation costs beside the running time: empty parts cost nothing."""

    operation: str
    parts: tuple[Part, ...]
    hourly: tuple[tuple[str, int, int], ...]

    @property
    def totals(self) -> tuple[tuple[str, int], ...]:
        """What it costs by unit."""
        totals: dict[str, int] = {}
        for part in self.parts:
            totals[part.unit] = totals.get(part.unit, 0) + part.amount
        return tuple(totals.items())


class Done(NamedTuple):
    """An operation that was carried out, with the hold of its price."""

    fee: Fee
    hold_id: int
    execution_id: int | None = None


class SandboxPostings:
    """The postings, in the caller's database transaction. What was for what is kept as lines of the sandbox's bill."""

    def __init__(self, context: Context) -> None:
        self._context = context

    # --- time ------------------------------------------------------------------------------------------------------

    def hold_slice(self, connection: Connection, row: SandboxRow, from_ms: int, to_ms: int) -> Outcome:
        """Hold what the time between two moments of a life costs."""
        return self._post(connection, self._slice(row, from_ms, to_ms))

    def would_pay(self, connection: Connection, row: SandboxRow, from_ms: int, to_ms: int) -> bool:
        """Whether there is enough for it."""
        wanted = self._slice(row, from_ms, to_ms)
        return self._context.ledger.try_out(connection, wanted, now=self._context.now()).refusal is None

    def pay_time(
        self, connection: Connection, row: SandboxRow, to_ms: int, cost: Cost, done: Done | None
    ) -> bool:
        """Pay for the time from where it is metered; False where nothing pays for it any more.

        What was done is captured with it: two bills, one transaction.
        """
        outcome = self._pay(connection, row, cost, done)
        if outcome is None:
            return False
        line = replace(
            _line(row, outcome, "running", ((row.unit, cost.total),)),
            from_ms=row.metered_ms,
            to_ms=to_ms,
            vcpu_cost=cost.vcpu,
            memory_cost=cost.memory,
        )
        sandbox_lines.add(connection, line)
        return True

    def _pay(self, connection: Connection, row: SandboxRow, cost: Cost, done: Done | None) -> Outcome | None:
        """Capture a cost from the lease, with what was done; where the lease ended by itself, charge it like any usage."""
        parts = self._parts(row, cost)
        if row.hold_id is not None:
            amounts = ((row.unit, cost.total),)
            if done is None:
                operation = self._capture_of(row, row.hold_id, amounts, parts)
            else:
                operation = replace(
                    self._capture_of_fee(row, done),
                    also_hold_id=row.hold_id,
                    also_amounts=amounts,
                    also_parts=parts,
                )
            outcome = self._post(connection, operation)
            if outcome.refusal is None:
                if done is not None:
                    self._add_fee_line(connection, row, outcome, done)
                return outcome
        if done is not None:
            self.capture_fee(connection, row, done)
        outcome = self._post(
            connection, Charge(**self._asked_by(row), parts=parts, meter=row.vcpu_meter, quantity=MICROS)
        )
        if outcome.refusal is not None:
            # Its lease ended while no service was there, and the credits have gone elsewhere since.
            log.error(
                "a sandbox's time cannot be billed any more",
                sandbox=to_text("sbx", row.id),
                amount=cost.total,
                refusal=outcome.refusal.detail,
            )
            return None
        return outcome

    def _slice(self, row: SandboxRow, from_ms: int, to_ms: int) -> PlaceHold:
        span_ms = to_ms - from_ms
        return PlaceHold(
            **self._asked_by(row),
            parts=self._parts(row, slice_cost(row.size, from_ms, to_ms)),
            meter=row.vcpu_meter,
            quantity=row.vcpu * span_ms * 1000,
            also=((row.gib_meter, row.memory_mib * span_ms * 1000 // 1024),),
            maker=f"{MAKER}{row.id}",
            expires_at=self._context.now() + span_ms * 1000 + HOLD_GRACE_MICROS,
        )

    def _parts(self, row: SandboxRow, cost: Cost) -> tuple[Part, Part]:
        meters = self._context.economy().meters
        category = {
            name: meters[name].category if name in meters else "sandbox"
            for name in (row.vcpu_meter, row.gib_meter)
        }
        return parts_of(
            cost,
            unit=row.unit,
            vcpu=(row.vcpu_meter, category[row.vcpu_meter]),
            memory=(row.gib_meter, category[row.gib_meter]),
        )

    # --- operations ------------------------------------------------------------------------------------------------

    def hold_fee(self, connection: Connection, row: SandboxRow, fee: Fee, *, seconds: int = 0) -> int | None:
        """Hold what an operation of at most so many seconds costs, if it costs anything. Raises what refuses it."""
        if not fee.parts:
            return None
        operation = PlaceHold(
            **self._asked_by(row),
            parts=fee.parts,
            meter=fee.parts[0].meter,
            quantity=MICROS,
            hourly=fee.hourly,
            maker=f"{MAKER}{row.id}",
            expires_at=self._context.now() + (seconds + FEE_SECONDS) * MICROS,
        )
        outcome = self._post(connection, operation)
        if outcome.refusal is not None:
            raise outcome.refusal
        return int(outcome.result.id)

    def capture_fee(self, connection: Connection, row: SandboxRow, done: Done) -> None:
        """Capture what was held for it. Raises what refuses it."""
        outcome = self._post(connection, self._capture_of_fee(row, done))
        if outcome.refusal is not None:
            raise outcome.refusal
        self._add_fee_line(connection, row, outcome, done)

    def _add_fee_line(self, connection: Connection, row: SandboxRow, outcome: Outcome, done: Done) -> None:
        line = _line(row, outcome, done.fee.operation, done.fee.totals)
        sandbox_lines.add(connection, replace(line, execution_id=done.execution_id))

    def _capture_of_fee(self, row: SandboxRow, done: Done) -> Resolve:
        return self._capture_of(row, done.hold_id, done.fee.totals, done.fee.parts)

    def _capture_of(
        self, row: SandboxRow, hold_id: int, amounts: tuple[tuple[str, int], ...], parts: tuple[Part, ...]
    ) -> Resolve:
        return Resolve(
            **self._asked_by(row),
            hold_id=hold_id,
            maker=f"{MAKER}{row.id}",
            amounts=amounts,
            parts=parts,
        )

    def release(self, connection: Connection, row: SandboxRow, hold_id: int) -> None:
        """Give back what is held, unless it has ended by itself."""
        operation = Resolve(**self._asked_by(row), hold_id=hold_id, maker=f"{MAKER}{row.id}")
        outcome = self._post(connection, operation)
        if outcome.refusal is not None and not isinstance(outcome.refusal, errors.HoldNotOpen):
            raise outcome.refusal

    def _post(self, connection: Connection, operation: Operation) -> Outcome:
        [outcome] = self._context.ledger.post(connection, [operation], now=self._context.now())
        return outcome

    def _asked_by(self, row: SandboxRow) -> dict[str, Any]:
        """Who every operation of a sandbox is for, which budgets it counts in, and what its statement says."""
        name = "" if row.name is None else f" {row.name}"
        return {
            "customer_id": row.customer_id,
            "caller": row.caller,
            "key_id": row.key_id,
            "key_has_budget": row.key_id is not None,
            "agent": row.agent,
            "economy": row.economy,
            "description": f"Sandbox{name} ({row.template})",
            "metadata": f'{{"sandbox":"{to_text("sbx", row.id)}"}}',
        }


def _line(row: SandboxRow, outcome: Outcome, operation: str, amounts: tuple[tuple[str, int], ...]) -> LineRow:
    """What a transaction was for, as a line of the sandbox's bill."""
    return LineRow(
        transaction_id=outcome.result.id,
        sandbox_id=row.id,
        customer_id=row.customer_id,
        at=outcome.result.created_at,
        operation=operation,
        amounts=amounts,
    )
