"""Agents and tasks: what one offers, whom one hires, and what has come of the work."""

from __future__ import annotations

import json
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.ids import to_text
from tallystick.services.agents import Changes
from tallystick.services.context import Caller
from tallystick.services.pages import Page
from tallystick.services.tasks import Tasks
from tallystick.store.agents import AgentRow
from tallystick.web.dashboard import looked, posted, show
from tallystick.web.frame import FormOf, see_other, tally_of
from tallystick.web.refusals import Again, again_of
from tallystick.web.signing_in import SignedIn
from tallystick.web.words import TASK_WORDS

routes = APIRouter(include_in_schema=False)

AGENTS: Final = "/billing/agents"
TASKS: Final = "/billing/tasks"
ON_A_PAGE: Final = 25
# Who asked or who works: what a form of a task's page may do.
STEPS: Final = frozenset({"accept", "complete", "fail", "cancel", "dispute"})


# --- agents --------------------------------------------------------------------------------------------------------


@routes.get(AGENTS)
def get_agents(request: Request) -> Response:
    """One's own agents, and those that can be hired."""
    return looked(request, AGENTS, _agents)


@routes.post(AGENTS)
def post_agents(request: Request, form: FormOf) -> Response:
    """Offer an agent, change or pause one, or hire somebody's."""
    return posted(request, form, AGENTS, _act_on_agents, _agents)


def _act_on_agents(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
    tally, action, agent = tally_of(request), form.get("action", ""), form.get("agent", "")
    if action == "hire":
        made = tally.tasks.create(
            who.caller,
            agent=agent,
            input=form.get("input", ""),
            max_price=form.get("max_price", ""),
            idempotency_key=form.get("once"),
        )
        return see_other(f"{TASKS}/{to_text('task', made.value.id)}")
    if action == "offer":
        tally.agents.register(
            who.caller,
            name=form.get("name", "").strip(),
            price_per_task=form.get("price", "").strip(),
            description=form.get("description", "").strip(),
            capabilities=_words(form.get("capabilities", "")),
            unit=form.get("unit"),
        )
    elif action in {"pause", "resume"}:
        status = "paused" if action == "pause" else "active"
        tally.agents.change(who.caller, agent, Changes(status=status))
    elif action == "change":
        tally.agents.change(who.caller, agent, Changes(price_per_task=form.get("price", "").strip()))
    else:
        raise errors.ValidationFailed([("action", "expected one of offer, change, pause, resume, hire")])
    return see_other(AGENTS)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _agents(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
    tally, search = tally_of(request), request.query_params.get("q", "").strip()
    cursor = request.query_params.get("cursor") or None
    others: Page[AgentRow] = Page((), has_more=False, next_cursor=None)
    try:
        others = tally.agents.find(
            who.caller, text=search, status="active", of_others=True, limit=ON_A_PAGE, cursor=cursor
        )
    except errors.ValidationFailed as refusal:
        again = again or again_of(refusal, {})
    own = tally.agents.find(who.caller, owner="me", limit=100).items
    return show(
        request,
        "billing/agents.html",
        who,
        section=AGENTS,
        again=again,
        own=own,
        others=others.items,
        next_cursor=others.next_cursor,
        first=cursor is None,
        search=search,
        units=list(tally.context.economy().units),
        fee=tally.context.economy().task_fee,
    )


# --- tasks ---------------------------------------------------------------------------------------------------------


@routes.get(TASKS)
def get_tasks(request: Request) -> Response:
    """Tasks that one asked for, and those that one's agents work on."""
    return looked(request, TASKS, _tasks)


def _tasks(request: Request, who: SignedIn) -> Response:
    query = request.query_params
    role, cursor = query.get("role") or None, query.get("cursor") or None
    found = tally_of(request).tasks.list(who.caller, role=role, limit=ON_A_PAGE, cursor=cursor)
    return show(
        request,
        "billing/tasks.html",
        who,
        section=TASKS,
        found=found,
        role=role,
        first=cursor is None,
        own=who.caller.customer_id,
        words=TASK_WORDS,
    )


@routes.get(TASKS + "/{task}")
def get_task(request: Request, task: str) -> Response:
    """One task: what was asked and answered, what it cost, and what can be done now."""
    return looked(request, TASKS, lambda request, who: _task(request, who, task))


@routes.post(TASKS + "/{task}")
def post_task(request: Request, task: str, form: FormOf) -> Response:
    """A step of a task."""

    def act(request: Request, who: SignedIn, form: dict[str, str]) -> Response:
        _step(tally_of(request).tasks, who.caller, task, form)
        return see_other(f"{TASKS}/{task}")

    def shown(request: Request, who: SignedIn, *, again: Again | None = None) -> Response:
        return _task(request, who, task, again=again)

    return posted(request, form, f"{TASKS}/{task}", act, shown)


def _step(tasks: Tasks, caller: Caller, task: str, form: dict[str, str]) -> None:
    """Do what the form says; sent twice, it is done once."""
    action, key = form.get("action", ""), form.get("once")
    words = form.get("words", "").strip() or None
    if action == "accept":
        tasks.accept(caller, task, idempotency_key=key)
    elif action == "complete":
        tasks.complete(caller, task, output=words, idempotency_key=key)
    elif action == "fail":
        tasks.fail(caller, task, reason=words, idempotency_key=key)
    elif action == "cancel":
        tasks.cancel(caller, task, reason=words, idempotency_key=key)
    elif action == "dispute":
        tasks.dispute(caller, task, reason=words or "", idempotency_key=key)
    else:
        raise errors.ValidationFailed([("action", f"expected one of {', '.join(sorted(STEPS))}")])


def _task(request: Request, who: SignedIn, task: str, *, again: Again | None = None) -> Response:
    tally = tally_of(request)
    found, agent = tally.tasks.get(who.caller, task)
    own = who.caller.customer_id
    return show(
        request,
        "billing/task.html",
        who,
        section=TASKS,
        again=again,
        found=found,
        agent=agent,
        asked=_readable(found.input),
        answered=None if found.output is None else _readable(found.output),
        works=own == found.owner_id,
        asks=own in {found.requester_id, found.payer_id},
        dispute_days=tally.context.economy().settlement.dispute_days,
        words=TASK_WORDS,
    )


def _readable(text: str) -> str:
    """JSON for people: a text as it is, everything else in lines."""
    value = json.loads(text)
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
