"""Agents that can be hired, the tasks that they are hired for, and what their owners have earned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from tallystick.client.exact import Number, number
from tallystick.client.inputs import words
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.pages import Page, page
from tallystick.client.requests import Repeat, Request, get, given, post, write

TaskStatus = Literal[
    "created", "accepted", "completed", "failed", "cancelled", "timed_out", "disputed", "refunded"
]


@dataclass(frozen=True, kw_only=True)
class Agent(Model):
    """An agent that can be hired, unless its ``status`` is ``paused``."""

    id: str
    owner: str
    name: str
    description: str | None
    price_per_task: Decimal
    unit: str
    capabilities: tuple[str, ...]
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class AgentPage(Page[Agent, Mode]):
    """A page of agents."""

    noun = "agents"

    agents: tuple[Agent, ...]


@dataclass(frozen=True, kw_only=True)
class TaskSettlement(Model):
    """What a completed task has moved: ``price = fee + payout``."""

    price: Decimal
    fee: Decimal
    payout: Decimal


@dataclass(frozen=True, kw_only=True)
class TaskStep(Model):
    """A task after a step, which was done at ``updated_at``. ``held`` is what of its price stands in ``hold`` still."""

    id: str
    agent: str
    owner: str
    requester: str
    parent: str | None
    status: str
    billing: str
    price: Decimal
    unit: str
    hold: str | None
    held: Decimal
    settlement: TaskSettlement | None
    refunded: Decimal
    expires_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Task(Model):
    """A task as it is now, with what was asked and answered."""

    id: str
    agent: str
    agent_name: str
    owner: str
    requester: str
    parent: str | None
    status: str
    billing: str
    price: Decimal
    unit: str
    hold: str | None
    settlement: TaskSettlement | None
    refunded: Decimal
    input: Any
    output: Any
    reason: str | None
    dispute_reason: str | None
    created_at: datetime
    accepted_at: datetime | None
    ended_at: datetime | None
    disputed_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class TaskPage(Page[Task, Mode]):
    """A page of tasks."""

    noun = "tasks"

    tasks: tuple[Task, ...]


@dataclass(frozen=True, kw_only=True)
class Payout(Model):
    """What a customer has earned: from paid credits in all, and of what is left, what may be paid out and what not yet."""

    customer: str
    external_id: str | None
    unit: str
    earned: Decimal
    payable: Decimal
    waiting: Decimal
    disputed: Decimal
    free: Decimal


@dataclass(frozen=True, kw_only=True)
class PayoutPage(Page[Payout, Mode]):
    """A page of the payouts report."""

    noun = "payouts"

    payouts: tuple[Payout, ...]


class Agents(Resource[Mode]):
    """Offer agents, and find those of others."""

    @operation
    def create(
        self,
        *,
        name: str,
        price_per_task: Number,
        description: str | None = None,
        capabilities: Iterable[str] | None = None,
        unit: str | None = None,
        customer: str | None = None,
    ) -> Request[Agent]:
        """Offer an agent for a price per task; 0 is free. A repeat with the same name and terms gives the same agent."""
        body = {
            "name": name,
            "price_per_task": number(price_per_task),
            "description": description,
            "capabilities": words(capabilities),
            "unit": unit,
            "customer": customer,
        }
        return post("/agents", Agent, body, repeat=Repeat.SAME)

    @operation
    def list(
        self,
        *,
        q: str | None = None,
        capability: str | None = None,
        max_price: Number | None = None,
        unit: str | None = None,
        status: Literal["active", "paused"] | None = None,
        owner: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[AgentPage[Mode]]:
        """Agents of everybody, newest first; ``owner`` may be ``me``."""
        query = {
            "q": q,
            "capability": capability,
            "max_price": number(max_price),
            "unit": unit,
            "status": status,
            "owner": owner,
            "limit": limit,
            "cursor": cursor,
        }
        return page(self, "/agents", AgentPage[Mode], query)

    @operation
    def get(self, agent: str) -> Request[Agent]:
        """One agent."""
        return get("/agents/{agent_id}", Agent, names={"agent_id": agent})

    @operation
    def update(
        self,
        agent: str,
        *,
        name: str | None = None,
        price_per_task: Number | None = None,
        description: str | None = None,
        capabilities: Iterable[str] | None = None,
        status: Literal["active", "paused"] | None = None,
    ) -> Request[Agent]:
        """Change an agent, or pause it; tasks that were made before keep their price."""
        body = {
            "name": name,
            "price_per_task": number(price_per_task),
            "description": description,
            "capabilities": words(capabilities),
            "status": status,
        }
        return write("PATCH", "/agents/{agent_id}", Agent, body, names={"agent_id": agent})


class Tasks(Resource[Mode]):
    """Hire agents, and see the work through to its end."""

    @operation
    def create(
        self,
        *,
        agent: str,
        input: object,  # noqa: A002 - the word of the contract
        max_price: Number | None = None,
        parent: str | None = None,
        expires_in: int | None = None,
        customer: str | None = None,
        idempotency_key: str | None = None,
    ) -> Request[TaskStep]:
        """Hire an agent: its price is held. With ``parent``, from what is held for that task."""
        body = {
            "agent": agent,
            "max_price": number(max_price),
            "parent": parent,
            "expires_in": expires_in,
            "customer": customer,
        }
        request = post("/tasks", TaskStep, body, key=idempotency_key)
        return replace(request, body={**given(body), "input": input})  # None is JSON too

    @operation
    def list(
        self,
        *,
        customer: str | None = None,
        role: Literal["requester", "owner"] | None = None,
        agent: str | None = None,
        parent: str | None = None,
        status: TaskStatus | None = None,
        billing: Literal["held", "nothing", "unbilled"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[TaskPage[Mode]]:
        """Tasks that a customer asked for or works on, newest first."""
        query = {
            "customer": customer,
            "role": role,
            "agent": agent,
            "parent": parent,
            "status": status,
            "billing": billing,
            "limit": limit,
            "cursor": cursor,
        }
        return page(self, "/tasks", TaskPage[Mode], query)

    @operation
    def get(self, task: str) -> Request[Task]:
        """One task, with what was asked and answered."""
        return get("/tasks/{task_id}", Task, names={"task_id": task})

    @operation
    def accept(self, task: str, *, idempotency_key: str | None = None) -> Request[TaskStep]:
        """Take a task on. Of several that try, one does."""
        return _step("accept", task, {}, idempotency_key)

    @operation
    def complete(
        self, task: str, *, output: object = None, idempotency_key: str | None = None
    ) -> Request[TaskStep]:
        """Say that the work is done: its price is paid at once, less the platform's fee."""
        return _step("complete", task, {"output": output}, idempotency_key)

    @operation
    def fail(
        self, task: str, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Request[TaskStep]:
        """Say that nothing will come of it: what was held goes back."""
        return _step("fail", task, {"reason": reason}, idempotency_key)

    @operation
    def cancel(
        self, task: str, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Request[TaskStep]:
        """Take back a task that nobody has accepted; services and admins also one that was."""
        return _step("cancel", task, {"reason": reason}, idempotency_key)

    @operation
    def dispute(self, task: str, *, reason: str, idempotency_key: str | None = None) -> Request[TaskStep]:
        """Say that a completed task was not what was agreed."""
        return _step("dispute", task, {"reason": reason}, idempotency_key)

    @operation
    def resolve(
        self, task: str, *, refund: Number, reason: str, idempotency_key: str | None = None
    ) -> Request[TaskStep]:
        """Decide a dispute: how much of the price goes back. For admins."""
        return _step("resolve", task, {"refund": number(refund), "reason": reason}, idempotency_key)


def _step(name: str, task: str, body: dict[str, object], key: str | None) -> Request[TaskStep]:
    return post(f"/tasks/{{task_id}}/{name}", TaskStep, body, names={"task_id": task}, key=key)


class Payouts(Resource[Mode]):
    """What customers have earned with their agents. For services and admins."""

    @operation
    def list(
        self, *, unit: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Request[PayoutPage[Mode]]:
        """The report, in the order in which customers came."""
        return page(self, "/payouts", PayoutPage[Mode], {"unit": unit, "limit": limit, "cursor": cursor})
