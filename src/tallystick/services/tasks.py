"""Tasks: hire an agent, and see the work through to its end. The ledger does each step, or refuses it."""

from __future__ import annotations

from typing import Any, Final

import structlog

from tallystick.core import errors
from tallystick.core.amounts import MICROS, parse_amount
from tallystick.core.catalog import Economy
from tallystick.core.decimals import format_amount
from tallystick.core.events import TASK_EVENTS
from tallystick.core.holdings import Task
from tallystick.core.ids import from_text, to_text
from tallystick.core.limits import DAY_MICROS
from tallystick.core.operations import Part
from tallystick.core.task_disputes import DisputeTask, ResolveDispute
from tallystick.core.tasks import (
    UNBILLED,
    AcceptTask,
    CompleteTask,
    CreateTask,
    EndTask,
    TaskResult,
    TaskStep,
)
from tallystick.services.agents import Agents
from tallystick.services.context import SYSTEM, Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.operator_outcomes import decided
from tallystick.services.operator_record import Deed, commit
from tallystick.services.pages import Page, check_limit, page_of, position_of
from tallystick.services.pricing import MAX_HOLD_SECONDS, Number, Pricing
from tallystick.services.requests import check_json, check_reason, idempotency_fields
from tallystick.store import tasks as store
from tallystick.store.agents import AgentRow
from tallystick.store.tasks import TaskTerms, Wanted

STATUSES: Final = tuple(TASK_EVENTS)
ROLES: Final = ("requester", "owner")
DEFAULT_TASK_SECONDS: Final = 86_400
MAX_CONTENT_BYTES: Final = 65_536
MAX_REMEMBERED: Final = 10_000
OVER_AT_ONCE: Final = 200

log = structlog.get_logger(__name__)


class Tasks:
    """Every step of a task, and what there is of them."""

    def __init__(self, context: Context, customers: Customers, pricing: Pricing, agents: Agents) -> None:
        self._context = context
        self._customers = customers
        self._pricing = pricing
        self._agents = agents
        # What never changes of tasks that were asked for lately.
        self._terms: dict[int, TaskTerms] = {}

    # --- hiring ------------------------------------------------------------------------------------------------------

    def create(
        self,
        caller: Caller,
        *,
        agent: str,
        input: Any,  # noqa: A002, ANN401 - the word of the contract; any JSON
        max_price: Number | None = None,
        parent: str | None = None,
        expires_in: int = DEFAULT_TASK_SECONDS,
        customer: str | None = None,
        idempotency_key: str | None,
    ) -> Answer[TaskResult]:
        """Hire an agent, and hold what it costs; with ``parent``, from what is held for that task.

        Whoever works on a task may hire from it, as its agent's owner. Raises ``AgentPaused``, ``PriceAboveMaximum``,
        and what holding a price may raise.
        """
        content = (agent, _json(input, field="input"), max_price, parent, expires_in, customer)
        repeat = idempotency_fields(caller, idempotency_key, "task", content)
        row = self._agents.get(agent)
        economy = self._context.economy()
        economy.unit(row.unit)  # An economy may have lost it since the agent was registered.
        around = None if parent is None else self._parent(caller, parent)
        requester = self._customers.resolve(caller, customer) if around is None else around.owner_id
        operation = CreateTask(
            customer_id=requester if around is None else around.payer_id,
            caller=caller.name,
            key_id=caller.key_id if around is None else None,
            key_has_budget=caller.key_has_budget and around is None,
            task_id=None if around is None else around.id,
            description=row.name,
            economy=economy.version,
            parts=(Part("", "task", row.unit, row.price),),
            agent_id=row.id,
            owner_id=row.customer_id,
            requester_id=requester,
            input=content[1],
            expires_at=self._context.now() + _seconds(expires_in) * MICROS,
            unbilled_allowed=economy.settlement.on_insufficient == "create_unbilled" and around is None,
            refused=_refusal_of(row, max_price),
            **repeat,
        )
        outcome = self._context.commit.run(operation)
        if around is not None and outcome.refusal is not None:
            raise outcome.refusal  # Credits in the wallet do not help a task's budget.
        answer: Answer[TaskResult] = self._pricing.finish(operation, outcome)
        if not answer.replayed:
            self._made(answer.value, economy.version)
        return answer

    def _made(self, made: TaskResult, economy: str) -> None:
        ids = made.id, made.agent_id, made.owner_id, made.requester_id, made.customer_id
        self._remember(TaskTerms(*ids, economy))
        if made.billing == UNBILLED:
            log.error(
                "a task is not billed: its requester has too few credits",
                task=to_text("task", made.id),
                customer=to_text("cust", made.requester_id),
            )

    def _parent(self, caller: Caller, parent: str) -> TaskTerms:
        found = self._find(caller, parent)
        if not caller.is_service and found.owner_id != caller.customer_id:
            raise errors.NotAllowed("a task's budget is spent by the owner of the agent that works on it")
        return found

    # --- the steps ---------------------------------------------------------------------------------------------------

    def accept(self, caller: Caller, task: str, *, idempotency_key: str | None) -> Answer[TaskResult]:
        """Take a task on. Of several that try, one does; raises ``TaskNotReady`` for the others."""
        terms = self._of_owner(caller, task)
        return self._do(AcceptTask(**_step(caller, terms, idempotency_key, "accept", task)))

    def complete(
        self,
        caller: Caller,
        task: str,
        *,
        output: Any = None,  # noqa: ANN401 - any JSON
        idempotency_key: str | None,
    ) -> Answer[TaskResult]:
        """Say that the work is done: it is paid at once, less the fee of the economy under which it was made."""
        terms = self._of_owner(caller, task)
        economy = self._economy_of(terms)
        text = None if output is None else _json(output, field="output")
        operation = CompleteTask(
            other_customer_id=terms.owner_id,
            fee=economy.task_fee,
            priority=economy.priority("task_credit"),
            window_micros=economy.settlement.dispute_days * DAY_MICROS,
            output=text,
            **_step(caller, terms, idempotency_key, "complete", task, text),
        )
        return self._do(operation)

    def fail(
        self, caller: Caller, task: str, *, reason: str | None = None, idempotency_key: str | None
    ) -> Answer[TaskResult]:
        """Say that nothing will come of it: what was held goes back. For the agent's owner."""
        terms = self._of_owner(caller, task)
        return self._end(caller, task, terms, "failed", reason, idempotency_key)

    def cancel(
        self, caller: Caller, task: str, *, reason: str | None = None, idempotency_key: str | None
    ) -> Answer[TaskResult]:
        """Take a task back that nobody has accepted; services and admins may also take back one that was."""
        terms = self._of_requester(caller, task)
        return self._end(caller, task, terms, "cancelled", reason, idempotency_key)

    def _end(
        self, caller: Caller, task: str, terms: TaskTerms, status: str, reason: str | None, key: str | None
    ) -> Answer[TaskResult]:
        early = status == "cancelled" and not caller.is_service
        operation = EndTask(
            status=status,
            reason=check_reason(reason),
            from_statuses=("created",) if early else ("created", "accepted"),
            **_step(caller, terms, key, status, task, reason),
        )
        return self._do(operation)

    def dispute(
        self, caller: Caller, task: str, *, reason: str, idempotency_key: str | None
    ) -> Answer[TaskResult]:
        """Say that a completed task was not what was agreed. Raises ``DisputeWindowClosed`` after the economy's days."""
        terms = self._of_requester(caller, task)
        settlement = self._economy_of(terms).settlement
        operation = DisputeTask(
            other_customer_id=terms.owner_id,
            reason=_required(reason),
            refund_at_once=settlement.on_dispute == "refund",
            **_step(caller, terms, idempotency_key, "dispute", task, reason),
        )
        return self._do(operation)

    def resolve(
        self, caller: Caller, task: str, *, refund: Number, reason: str, idempotency_key: str | None
    ) -> Answer[TaskResult]:
        """Decide a dispute: how much of the price goes back, from 0 to all of it. For admins; it is final."""
        operation = self.decision(caller, task, refund=refund, reason=reason, idempotency_key=idempotency_key)
        deed = Deed(
            action="decide_task",
            customer_id=operation.customer_id,
            subject=task,
            terms={"refund": format_amount(operation.amount)},
            reason=reason,
            tell=decided,
        )
        outcome = commit(self._context, caller, operation, deed)
        return Answer(outcome.value(), outcome.replayed)

    def decision(
        self, caller: Caller, task: str, *, refund: Number, reason: str, idempotency_key: str | None
    ) -> ResolveDispute:
        """What ``resolve`` does, for whoever does more with it in one transaction."""
        if not caller.is_admin:
            raise errors.NotAllowed("an admin decides disputes")
        terms = self._find(caller, task)
        amount = parse_amount(refund, field="refund", allow_zero=True)
        return ResolveDispute(
            other_customer_id=terms.owner_id,
            amount=amount,
            description=_required(reason),
            **_step(caller, terms, idempotency_key, "resolve", task, amount, reason),
        )

    def end_over(self, now: int) -> int:
        """End tasks that hold nothing and whose time is over; those that hold something end with their holds."""
        with self._context.database.read() as connection:
            found = store.over_without_hold(connection, now=now, limit=OVER_AT_ONCE)
        operations = [
            EndTask(customer_id=each.payer_id, caller=SYSTEM.name, task_id=each.id, status="timed_out")
            for each in found
        ]
        outcomes = [self._context.commit.run(operation) for operation in operations]
        return sum(outcome.refusal is None for outcome in outcomes)

    def _do(self, operation: TaskStep) -> Answer[TaskResult]:
        outcome = self._context.commit.run(operation)
        if outcome.refusal is not None:
            raise outcome.refusal
        return Answer(outcome.result, outcome.replayed)

    # --- looking -----------------------------------------------------------------------------------------------------

    def get(self, caller: Caller, task: str) -> tuple[Task, str]:
        """A task with the name of its agent. Raises ``NotFound``, also for one that is somebody else's."""
        terms = self._find(caller, task)
        with self._context.database.read() as connection:
            found = store.by_id(connection, terms.id)
        if found is None:
            raise errors.NotFound("task", task)
        return self._now(found[0]), found[1]

    def list(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        role: str | None = None,
        agent: str | None = None,
        parent: str | None = None,
        status: str | None = None,
        billing: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[tuple[Task, str]]:
        """Tasks, newest first, each with the name of its agent.

        Those of a customer, as ``requester``, as ``owner`` or both; without one, services and admins see all.
        """
        if status is not None and status not in STATUSES:
            raise errors.ValidationFailed([("status", f"expected one of {', '.join(STATUSES)}")])
        if role is not None and role not in ROLES:
            raise errors.ValidationFailed([("role", f"expected one of {', '.join(ROLES)}")])
        everybody = customer is None and caller.is_service
        number = None if everybody else self._customers.resolve(caller, customer)
        wanted = Wanted(
            now=self._context.now(),
            requester_id=number if role == "requester" else None,
            owner_id=number if role == "owner" else None,
            either_id=number if role is None else None,
            agent_id=None if agent is None else self._agents.get(agent).id,
            parent_id=None if parent is None else self._find(caller, parent).id,
            status=status,
            billing=billing,
        )
        limit = check_limit(limit)
        before = position_of("tasks", cursor)
        with self._context.database.read() as connection:
            found = store.listed(connection, wanted, before=before, limit=limit + 1)
        page = page_of("tasks", found, limit=limit, position=lambda each: each[0].id)
        return Page([(self._now(task), name) for task, name in page.items], page.has_more, page.next_cursor)

    def _now(self, task: Task) -> Task:
        """The task as it stands: one whose time is over has timed out, whether or not that is booked."""
        if task.is_open and task.expires_at <= self._context.now():
            task.status, task.ended_at = "timed_out", task.expires_at
        return task

    def _find(self, caller: Caller, task: str) -> TaskTerms:
        number = from_text("task", task)
        terms = None if number is None else self._terms_of(number)
        if terms is None or not (
            caller.is_service or caller.customer_id in {terms.owner_id, terms.requester_id, terms.payer_id}
        ):
            raise errors.NotFound("task", task)
        return terms

    def _terms_of(self, number: int) -> TaskTerms | None:
        known = self._terms.get(number)
        if known is None:
            with self._context.database.read() as connection:
                known = store.terms(connection, number)
            if known is not None:
                self._remember(known)
        return known

    def _remember(self, terms: TaskTerms) -> None:
        if len(self._terms) >= MAX_REMEMBERED:
            self._terms.clear()
        self._terms[terms.id] = terms

    def _of_owner(self, caller: Caller, task: str) -> TaskTerms:
        terms = self._find(caller, task)
        if not caller.is_service and caller.customer_id != terms.owner_id:
            raise errors.NotAllowed("this is for the owner of the agent")
        return terms

    def _of_requester(self, caller: Caller, task: str) -> TaskTerms:
        terms = self._find(caller, task)
        if not caller.is_service and caller.customer_id not in {terms.requester_id, terms.payer_id}:
            raise errors.NotAllowed("this is for whoever asked for the task")
        return terms

    def _economy_of(self, terms: TaskTerms) -> Economy:
        active = self._context.economy()
        if terms.economy is None or terms.economy == active.version:
            return active
        return self._pricing.economies.at(terms.economy)


def _step(caller: Caller, terms: TaskTerms, key: str | None, step: str, *content: object) -> dict[str, Any]:
    return {
        "customer_id": terms.payer_id,
        "caller": caller.name,
        "task_id": terms.id,
        **idempotency_fields(caller, key, f"task {step}", content),
    }


def _seconds(expires_in: object) -> int:
    if (
        isinstance(expires_in, bool)
        or not isinstance(expires_in, int)
        or not 1 <= expires_in <= MAX_HOLD_SECONDS
    ):
        message = f"expected whole seconds from 1 to {MAX_HOLD_SECONDS}"
        raise errors.ValidationFailed([("expires_in", message)])
    return expires_in


def _refusal_of(row: AgentRow, max_price: Number | None) -> errors.Refusal | None:
    """Why the agent cannot be hired now, by its own terms."""
    if row.status == "paused":
        return errors.AgentPaused(row.name)
    most = row.price if max_price is None else parse_amount(max_price, field="max_price", allow_zero=True)
    if row.price > most:
        return errors.PriceAboveMaximum(unit=row.unit, price=row.price, max_price=most)
    return None


def _required(reason: str) -> str:
    found = check_reason(reason)
    if found is None:
        raise errors.ValidationFailed([("reason", "expected a text")])
    return found


def _json(value: object, *, field: str) -> str:
    return check_json(value, field=field, most_bytes=MAX_CONTENT_BYTES, keep_order=True)
