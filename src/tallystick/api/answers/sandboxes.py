"""Answers about sandboxes: how they stand, what was run in them, and what they cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from tallystick.api.answers.common import Name, Number, Time
from tallystick.api.rendering import identifier, moment, number, numbers
from tallystick.core.ids import to_text
from tallystick.core.sandboxes import Cost, per_hour
from tallystick.core.times import format_rfc3339
from tallystick.ports.sandboxes import Capabilities, Template
from tallystick.services.explain import RefundLine
from tallystick.services.sandbox_views import BillView, Forecast, RunningView, UsageView
from tallystick.store.sandbox_lines import ExecutionRow, LineRow
from tallystick.store.sandboxes import SandboxRow

Status = Literal["creating", "running", "stopped", "failed"]
Reason = Literal[
    "requested",
    "timeout",
    "credits",
    "budget",
    "frozen",
    "plan",
    "memory",
    "disk",
    "crashed",
    "host_restart",
    "provider_gone",
]
Amounts = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "additionalProperties": {"type": "number"}})
]


@dataclass(slots=True)
class SandboxAnswer:
    """A sandbox. ``seconds`` and ``cost`` are what was billed, ``paid_until`` is how far its lease pays.

    It ends at ``ends_at`` at the latest. ``reason`` says why it stopped, ``detail`` why it failed.
    """

    id: Name
    customer: Name
    name: str | None
    template: str
    provider: str
    status: Status
    reason: Reason | None
    detail: str | None
    vcpu: int
    memory_mib: int
    unit: str
    per_hour: Number
    cost: Number
    seconds: Number
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    ends_at: Time | None
    paid_until: Time | None
    metadata: Any


@dataclass(slots=True)
class ExecutionAnswer:
    """What came of code that was run. ``exit_code`` is 128 + the signal's number for what a signal ended.

    ``failed`` was not carried out, and cost nothing.
    """

    id: Name
    sandbox: Name
    language: Literal["bash", "python", "javascript"]
    status: Literal["running", "done", "failed"]
    started_at: Time
    duration_ms: int | None
    exit_code: int | None
    timed_out: bool | None
    oom: bool | None
    truncated: bool | None
    stdout: str | None
    stderr: str | None


@dataclass(slots=True)
class LogLine(ExecutionAnswer):
    """Something that was run, with its code."""

    code: str


@dataclass(slots=True)
class TemplateAnswer:
    """What sandboxes can be made from."""

    name: str
    description: str
    languages: list[Literal["bash", "python", "javascript"]]


@dataclass(slots=True)
class TemplateList:
    """All templates, and what whoever runs the sandboxes does for their isolation and limits."""

    templates: list[TemplateAnswer]
    provider: str
    isolation: str
    limits: Literal["enforced", "best_effort"]
    limits_by: str
    network: bool
    disk_mib: int
    warnings: list[str]


@dataclass(slots=True)
class BillLine:
    """An operation's price, or the time between two moments of the life, in milliseconds; both may be one transaction."""

    transaction: Name
    at: Time
    operation: str
    amounts: Amounts
    from_ms: int | None
    to_ms: int | None
    vcpu_amount: Number | None
    memory_amount: Number | None
    execution: Name | None


@dataclass(slots=True)
class BillRefund:
    """What went back of the transaction ``of``, one of the lines."""

    transaction: Name
    of: Name
    at: Time
    amounts: Amounts
    reason: str | None


@dataclass(slots=True)
class BillSecond:
    """One second of the life: what it cost, and the whole up to its end."""

    second: int
    vcpu_amount: Number
    memory_amount: Number
    total: Number


@dataclass(slots=True)
class Bill:
    """A sandbox's bill. ``paid`` is the lines less the refunds.

    ``unbilled_ms`` were seen running since the last line, and will cost ``unbilled``.
    """

    sandbox: SandboxAnswer
    lines: list[BillLine]
    refunds: list[BillRefund]
    paid: Amounts
    unbilled_ms: int
    unbilled: Number
    seconds: list[BillSecond]


@dataclass(slots=True)
class OperationUse:
    """How often something was done, and what that cost."""

    operation: str
    count: int
    amounts: Amounts


@dataclass(slots=True)
class RunningSandbox:
    """A sandbox that runs now, what an hour of it costs, and what it has cost by now."""

    sandbox: Name
    name: str | None
    per_hour: Number
    cost: Number
    unit: str
    paid_until: Time


@dataclass(slots=True)
class ForecastAnswer:
    """All that runs in one unit: what an hour costs, and until when the credits last if it all runs on.

    Null: for more than ten years.
    """

    unit: str
    per_hour: Number
    available: Number
    lasts_until: Time | None


@dataclass(slots=True)
class SandboxUsage:
    """What sandboxes cost in a span of time. ``vcpu_ms`` and ``mib_ms`` are billed sizes by time, in integers."""

    start: Time
    end: Time
    operations: list[OperationUse]
    running_ms: int
    vcpu_ms: int
    mib_ms: int
    running: list[RunningSandbox]
    forecast: list[ForecastAnswer]


def sandbox(row: SandboxRow) -> SandboxAnswer:
    """A sandbox."""
    started, running = row.started_at, row.status == "running"
    return SandboxAnswer(
        id=to_text("sbx", row.id),
        customer=to_text("cust", row.customer_id),
        name=row.name,
        template=row.template,
        provider=row.provider,
        status=row.status,  # type: ignore[arg-type] # the database's own check says so
        reason=row.reason,  # type: ignore[arg-type] # as above
        detail=row.detail,
        vcpu=row.vcpu,
        memory_mib=row.memory_mib,
        unit=row.unit,
        per_hour=number(per_hour(row.size)),
        cost=number(row.cost.total),
        seconds=number(row.metered_ms * 1000),
        created_at=format_rfc3339(row.created_at),
        started_at=moment(started),
        ended_at=moment(row.ended_at),
        ends_at=moment(started + row.timeout_ms * 1000) if started is not None and running else None,
        paid_until=moment(started + row.funded_ms * 1000) if started is not None and running else None,
        metadata=None if row.metadata is None else json.loads(row.metadata),
    )


def _ran(row: ExecutionRow) -> dict[str, Any]:
    return {
        "id": to_text("exec", row.id),
        "sandbox": to_text("sbx", row.sandbox_id),
        "language": row.language,
        "status": row.status,
        "started_at": format_rfc3339(row.started_at),
        "duration_ms": row.duration_ms,
        "exit_code": row.exit_code,
        "timed_out": row.timed_out,
        "oom": row.oom,
        "truncated": row.truncated,
        "stdout": row.stdout,
        "stderr": row.stderr,
    }


def execution(row: ExecutionRow) -> ExecutionAnswer:
    """What came of code that was run."""
    return ExecutionAnswer(**_ran(row))


def log_line(row: ExecutionRow) -> LogLine:
    """Something that was run, with its code."""
    return LogLine(**_ran(row), code=row.code)


def template(each: Template) -> TemplateAnswer:
    """What sandboxes can be made from."""
    return TemplateAnswer(name=each.name, description=each.description, languages=list(each.languages))


def templates(name: str, found: list[Template], capabilities: Capabilities) -> TemplateList:
    """All templates, with what their provider does."""
    return TemplateList(
        templates=[template(each) for each in found],
        provider=name,
        isolation=capabilities.isolation,
        limits=capabilities.limits,
        limits_by=capabilities.limits_by,
        network=capabilities.network,
        disk_mib=capabilities.disk_mib,
        warnings=list(capabilities.warnings),
    )


def bill_line(line: LineRow) -> BillLine:
    """One line of a bill."""
    return BillLine(
        transaction=to_text("txn", line.transaction_id),
        at=format_rfc3339(line.at),
        operation=line.operation,
        amounts=numbers(line.amounts),
        from_ms=line.from_ms,
        to_ms=line.to_ms,
        vcpu_amount=None if line.vcpu_cost is None else number(line.vcpu_cost),
        memory_amount=None if line.memory_cost is None else number(line.memory_cost),
        execution=identifier("exec", line.execution_id),
    )


def bill(view: BillView) -> Bill:
    """A bill with the seconds that were asked for."""
    return Bill(
        sandbox=sandbox(view.row),
        lines=[bill_line(line) for line in view.lines],
        refunds=[_refund(each) for each in view.refunds],
        paid=numbers(view.paid),
        unbilled_ms=view.unbilled_ms,
        unbilled=number(view.unbilled.total),
        seconds=[_second(each.number, each.cost, each.total) for each in view.seconds],
    )


def _refund(line: RefundLine) -> BillRefund:
    return BillRefund(
        transaction=to_text("txn", line.id),
        of=to_text("txn", line.charge_id),
        at=format_rfc3339(line.date),
        amounts=numbers(line.amounts),
        reason=line.reason,
    )


def _second(count: int, cost: Cost, total: Cost) -> BillSecond:
    return BillSecond(
        second=count,
        vcpu_amount=number(cost.vcpu),
        memory_amount=number(cost.memory),
        total=number(total.total),
    )


def usage(view: UsageView) -> SandboxUsage:
    """What sandboxes cost, and will cost."""
    return SandboxUsage(
        start=format_rfc3339(view.since),
        end=format_rfc3339(view.until),
        operations=[
            OperationUse(operation=each.operation, count=each.count, amounts=numbers(each.amounts))
            for each in view.operations
        ],
        running_ms=view.lived_ms,
        vcpu_ms=view.vcpu_ms,
        mib_ms=view.mib_ms,
        running=[_running(each) for each in view.running],
        forecast=[_forecast(each) for each in view.forecasts],
    )


def _running(view: RunningView) -> RunningSandbox:
    return RunningSandbox(
        sandbox=to_text("sbx", view.row.id),
        name=view.row.name,
        per_hour=number(view.per_hour),
        cost=number(view.cost),
        unit=view.row.unit,
        paid_until=format_rfc3339(view.paid_until),
    )


def _forecast(view: Forecast) -> ForecastAnswer:
    return ForecastAnswer(
        unit=view.unit,
        per_hour=number(view.per_hour),
        available=number(view.available),
        lasts_until=moment(view.lasts_until),
    )
