"""Agents that can be hired, the tasks that they are hired for, and what their owners have earned."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import Body, Query
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import agents
from tallystick.api.answers.pages import AgentPage, PayoutPage, TaskPage, page
from tallystick.api.auth import CallerOf
from tallystick.api.models import (
    PAGE,
    AgentBody,
    AgentChange,
    CompleteBody,
    CursorQuery,
    CustomerQuery,
    DecisionBody,
    DisputeBody,
    IdempotencyKey,
    LimitQuery,
    ReasonBody,
    TaskBody,
    UnitQuery,
)
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, written
from tallystick.services.agents import Changes

routes = router("agents")

TextQuery = Annotated[str | None, Query(alias="q", description="A part of the name or the description")]
CapabilityQuery = Annotated[str | None, Query(description="A capability, whole")]
MaxPriceQuery = Annotated[str | None, Query(description="The highest price per task")]
AgentStatusQuery = Annotated[Literal["active", "paused"] | None, Query(description="Only these")]
OwnerQuery = Annotated[str | None, Query(description="A customer's id, or me")]
RoleQuery = Annotated[
    Literal["requester", "owner"] | None, Query(description="Only tasks asked for, or only those worked on")
]
TaskStatusQuery = Annotated[agents.Status | None, Query(description="Only tasks of this status")]
BillingQuery = Annotated[agents.Billing | None, Query(description="Only tasks that are billed like this")]
AgentQuery = Annotated[str | None, Query(description="Only tasks of this agent")]
ParentQuery = Annotated[str | None, Query(description="Only sub-tasks of this task")]
NO_REASON: Final = ReasonBody()
NO_OUTPUT: Final = CompleteBody()


@routes.post("/agents", status_code=201, response_model=agents.AgentAnswer)
def register_agent(request: Request, caller: CallerOf, body: AgentBody) -> Response:
    """Offer an agent for a price per task; 0 is free. An owner's agents differ by their names: a repeat is harmless."""
    answer = services(request).agents.register(
        caller,
        name=body.name,
        price_per_task=body.price_per_task,
        description=body.description,
        capabilities=body.capabilities,
        unit=body.unit,
        customer=body.customer,
    )
    return written(request, answer, agents.agent(answer.value))


@routes.get("/agents", response_model=AgentPage)
def list_agents(
    request: Request,
    caller: CallerOf,
    *,
    text: TextQuery = None,
    capability: CapabilityQuery = None,
    max_price: MaxPriceQuery = None,
    unit: UnitQuery = None,
    status: AgentStatusQuery = None,
    owner: OwnerQuery = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """Agents of everybody, newest first."""
    found = services(request).agents.find(
        caller,
        text=text,
        capability=capability,
        max_price=max_price,
        unit=unit,
        status=status,
        owner=owner,
        limit=limit,
        cursor=cursor,
    )
    return Json(page("agents", found, agents.agent))


@routes.get("/agents/{agent_id}", response_model=agents.AgentAnswer)
def get_agent(request: Request, _caller: CallerOf, agent_id: str) -> Response:
    """One agent."""
    return Json(agents.agent(services(request).agents.get(agent_id)))


@routes.patch("/agents/{agent_id}", response_model=agents.AgentAnswer)
def change_agent(request: Request, caller: CallerOf, agent_id: str, body: AgentChange) -> Response:
    """Change an agent's price or description, or pause it. Tasks that were made before keep their price."""
    changes = Changes(
        name=body.name,
        description=body.description,
        price_per_task=body.price_per_task,
        capabilities=body.capabilities,
        status=body.status,
    )
    return Json(agents.agent(services(request).agents.change(caller, agent_id, changes)))


@routes.post("/tasks", status_code=201, response_model=agents.TaskAnswer)
def create_task(
    request: Request, caller: CallerOf, body: TaskBody, *, key: IdempotencyKey = None
) -> Response:
    """Hire an agent: its price is held, or there is no task. With ``parent``, from what is held for that task."""
    answer = services(request).tasks.create(
        caller,
        agent=body.agent,
        input=body.input,
        max_price=body.max_price,
        parent=body.parent,
        expires_in=body.expires_in,
        customer=body.customer,
        idempotency_key=key,
    )
    return written(request, answer, agents.task(answer.value))


@routes.get("/tasks", response_model=TaskPage)
def list_tasks(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    role: RoleQuery = None,
    agent: AgentQuery = None,
    parent: ParentQuery = None,
    status: TaskStatusQuery = None,
    billing: BillingQuery = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """Tasks that a customer asked for or works on, newest first; services and admins see those of everybody."""
    found = services(request).tasks.list(
        caller,
        customer=customer,
        role=role,
        agent=agent,
        parent=parent,
        status=status,
        billing=billing,
        limit=limit,
        cursor=cursor,
    )
    return Json(page("tasks", found, agents.task_line))


@routes.get("/tasks/{task_id}", response_model=agents.TaskLine)
def get_task(request: Request, caller: CallerOf, task_id: str) -> Response:
    """One task, for those who have to do with it."""
    return Json(agents.task_line(services(request).tasks.get(caller, task_id)))


@routes.post("/tasks/{task_id}/accept", response_model=agents.TaskAnswer)
def accept_task(request: Request, caller: CallerOf, task_id: str, *, key: IdempotencyKey = None) -> Response:
    """Take a task on, as the owner of its agent. Of several that try, one does."""
    answer = services(request).tasks.accept(caller, task_id, idempotency_key=key)
    return written(request, answer, agents.task(answer.value), status=200)


@routes.post("/tasks/{task_id}/complete", response_model=agents.TaskAnswer)
def complete_task(
    request: Request,
    caller: CallerOf,
    task_id: str,
    *,
    body: Annotated[CompleteBody, Body()] = NO_OUTPUT,
    key: IdempotencyKey = None,
) -> Response:
    """Say that the work is done: its price is paid at once, less the platform's fee."""
    answer = services(request).tasks.complete(caller, task_id, output=body.output, idempotency_key=key)
    return written(request, answer, agents.task(answer.value), status=200)


@routes.post("/tasks/{task_id}/fail", response_model=agents.TaskAnswer)
def fail_task(
    request: Request,
    caller: CallerOf,
    task_id: str,
    *,
    body: Annotated[ReasonBody, Body()] = NO_REASON,
    key: IdempotencyKey = None,
) -> Response:
    """Say that nothing will come of it: what was held goes back."""
    answer = services(request).tasks.fail(caller, task_id, reason=body.reason, idempotency_key=key)
    return written(request, answer, agents.task(answer.value), status=200)


@routes.post("/tasks/{task_id}/cancel", response_model=agents.TaskAnswer)
def cancel_task(
    request: Request,
    caller: CallerOf,
    task_id: str,
    *,
    body: Annotated[ReasonBody, Body()] = NO_REASON,
    key: IdempotencyKey = None,
) -> Response:
    """Take back a task that nobody has accepted; services and admins also one that was."""
    answer = services(request).tasks.cancel(caller, task_id, reason=body.reason, idempotency_key=key)
    return written(request, answer, agents.task(answer.value), status=200)


@routes.post("/tasks/{task_id}/dispute", response_model=agents.TaskAnswer)
def dispute_task(
    request: Request, caller: CallerOf, task_id: str, body: DisputeBody, *, key: IdempotencyKey = None
) -> Response:
    """Say that a completed task was not what was agreed, within the economy's days."""
    answer = services(request).tasks.dispute(caller, task_id, reason=body.reason, idempotency_key=key)
    return written(request, answer, agents.task(answer.value), status=200)


@routes.post("/tasks/{task_id}/resolve", response_model=agents.TaskAnswer)
def resolve_task(
    request: Request, caller: CallerOf, task_id: str, body: DecisionBody, *, key: IdempotencyKey = None
) -> Response:
    """Decide a dispute: how much of the price goes back. For admins; it is final."""
    answer = services(request).tasks.resolve(
        caller, task_id, refund=body.refund, reason=body.reason, idempotency_key=key
    )
    return written(request, answer, agents.task(answer.value), status=200)


@routes.get("/payouts", response_model=PayoutPage)
def list_payouts(
    request: Request,
    caller: CallerOf,
    *,
    unit: UnitQuery = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """What customers have earned with their agents, and how much of it may be paid out. For services and admins."""
    found = services(request).payouts.report(caller, unit=unit, limit=limit, cursor=cursor)
    return Json(page("payouts", found, agents.payout))
