"""Answers about agents, tasks and what was earned with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from tallystick.api.answers.common import Name, Number, Time
from tallystick.api.rendering import moment, number
from tallystick.core.holdings import Task
from tallystick.core.ids import to_text
from tallystick.core.tasks import TaskResult
from tallystick.core.times import format_rfc3339
from tallystick.store.agents import AgentRow
from tallystick.store.payouts import PayoutRow

Status = Literal[
    "created", "accepted", "completed", "failed", "cancelled", "timed_out", "disputed", "refunded"
]
Billing = Literal["held", "nothing", "unbilled"]
_PAID: Final = frozenset({"completed", "disputed", "refunded"})


@dataclass(slots=True)
class AgentAnswer:
    """An agent that can be hired, unless it is paused."""

    id: Name
    owner: Name
    name: str
    description: str | None
    price_per_task: Number
    unit: str
    capabilities: list[str]
    status: Literal["active", "paused"]
    created_at: Time
    updated_at: Time


@dataclass(slots=True)
class TaskSettlement:
    """What a completed task has moved: ``price = fee + payout``."""

    price: Number
    fee: Number
    payout: Number


@dataclass(slots=True)
class TaskAnswer:
    """A task after a step, which was done at ``updated_at``. ``held`` is what of its price stands in ``hold`` still."""

    id: Name
    agent: Name
    owner: Name
    requester: Name
    parent: Name | None
    status: Status
    billing: Billing
    price: Number
    unit: str
    hold: Name | None
    held: Number
    settlement: TaskSettlement | None
    refunded: Number
    expires_at: Time
    updated_at: Time


@dataclass(slots=True)
class TaskLine:
    """A task as it is now, with what was asked and answered."""

    id: Name
    agent: Name
    agent_name: str
    owner: Name
    requester: Name
    parent: Name | None
    status: Status
    billing: Billing
    price: Number
    unit: str
    hold: Name | None
    settlement: TaskSettlement | None
    refunded: Number
    input: Any
    output: Any
    reason: str | None
    dispute_reason: str | None
    created_at: Time
    accepted_at: Time | None
    ended_at: Time | None
    disputed_at: Time | None
    expires_at: Time


@dataclass(slots=True)
class PayoutLine:
    """What a customer has earned: from paid credits in all, and of what is left, what may be paid out and what not yet."""

    customer: Name
    external_id: str | None
    unit: str
    earned: Number
    payable: Number
    waiting: Number
    disputed: Number
    free: Number


def agent(row: AgentRow) -> AgentAnswer:
    """An agent."""
    return AgentAnswer(
        id=to_text("agent", row.id),
        owner=to_text("cust", row.customer_id),
        name=row.name,
        description=row.description,
        price_per_task=number(row.price),
        unit=row.unit,
        capabilities=list(row.capabilities),
        status="paused" if row.status == "paused" else "active",
        created_at=format_rfc3339(row.created_at),
        updated_at=format_rfc3339(row.updated_at),
    )


def _settlement(found: Task | TaskResult) -> TaskSettlement | None:
    if found.status not in _PAID:
        return None
    return TaskSettlement(number(found.paid), number(found.fee), number(found.paid - found.fee))


def _name(prefix: str, number_: int | None) -> Name | None:
    return None if number_ is None else to_text(prefix, number_)


def task(result: TaskResult) -> TaskAnswer:
    """A task after a step."""
    return TaskAnswer(
        id=to_text("task", result.id),
        agent=to_text("agent", result.agent_id),
        owner=to_text("cust", result.owner_id),
        requester=to_text("cust", result.requester_id),
        parent=_name("task", result.parent_id),
        status=result.status,  # type: ignore[arg-type] # one of these words
        billing=result.billing,  # type: ignore[arg-type] # as above
        price=number(result.price),
        unit=result.unit,
        hold=_name("hold", result.hold_id),
        held=number(result.held),
        settlement=_settlement(result),
        refunded=number(result.refunded),
        expires_at=format_rfc3339(result.expires_at),
        updated_at=format_rfc3339(result.created_at),
    )


def task_line(found: tuple[Task, str]) -> TaskLine:
    """A task in a list, or alone."""
    each, agent_name = found
    return TaskLine(
        id=to_text("task", each.id),
        agent=to_text("agent", each.agent_id),
        agent_name=agent_name,
        owner=to_text("cust", each.owner_id),
        requester=to_text("cust", each.requester_id),
        parent=_name("task", each.parent_id),
        status=each.status,  # type: ignore[arg-type] # one of these words
        billing=each.billing,  # type: ignore[arg-type] # as above
        price=number(each.price),
        unit=each.unit,
        hold=_name("hold", each.hold_id),
        settlement=_settlement(each),
        refunded=number(each.refunded),
        input=msgspec.Raw(each.input.encode()),
        output=None if each.output is None else msgspec.Raw(each.output.encode()),
        reason=each.reason,
        dispute_reason=each.dispute_reason,
        created_at=format_rfc3339(each.created_at),
        accepted_at=moment(each.accepted_at),
        ended_at=moment(each.ended_at),
        disputed_at=moment(each.disputed_at),
        expires_at=format_rfc3339(each.expires_at),
    )


def payout(row: PayoutRow) -> PayoutLine:
    """A line of the report."""
    return PayoutLine(
        customer=to_text("cust", row.customer_id),
        external_id=row.external_id,
        unit=row.unit,
        earned=number(row.earned),
        payable=number(row.payable),
        waiting=number(row.waiting),
        disputed=number(row.disputed),
        free=number(row.free),
    )
