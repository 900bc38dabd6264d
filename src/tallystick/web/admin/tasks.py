"""Tasks that an operator has to look at: those that are disputed, and those that were not billed."""

from __future__ import annotations

import json
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.web.admin.office import SignedIn, asked, further, looked, posted, show
from tallystick.web.frame import FormOf, tally_of
from tallystick.web.refusals import Again
from tallystick.web.words import TASK_WORDS

routes = APIRouter(include_in_schema=False)
SECTION = "/admin/tasks"
# What the list can show: the status and the billing that each asks for.
CHOICES: Final[dict[str, tuple[str | None, str | None]]] = {
    "disputed": ("disputed", None),
    "unbilled": (None, "unbilled"),
    "all": (None, None),
}


@routes.get(SECTION)
def get_tasks(request: Request) -> Response:
    """Disputed tasks, those that were not billed, or all of them; newest first."""
    return looked(request, _tasks)


def _tasks(request: Request, who: SignedIn) -> Response:
    wanted = asked(request, "show", "customer", "cursor")
    choice = wanted["show"] if wanted["show"] in CHOICES else "disputed"
    status, billing = CHOICES[choice]
    found = tally_of(request).tasks.list(
        who.caller,
        customer=wanted["customer"] or None,
        cursor=wanted["cursor"] or None,
        status=status,
        billing=billing,
    )
    return show(
        request,
        "admin/tasks.html",
        who,
        section=SECTION,
        wanted=wanted,
        choice=choice,
        tasks=found.items,
        next=further(request, found),
        words=TASK_WORDS,
    )


@routes.get(SECTION + "/{task}")
def get_task(request: Request, task: str) -> Response:
    """A task, and the form that decides its dispute."""
    return looked(request, lambda request, who: _task(request, who, task))


@routes.post(SECTION + "/{task}")
def post_task(request: Request, task: str, form: FormOf) -> Response:
    """Decide its dispute."""
    return posted(
        request,
        form,
        lambda request, who, form: tally_of(request).operator_desk.decide_task(
            who.operator,
            task,
            refund=form.get("refund", ""),
            reason=form.get("reason", ""),
            key=form.get("key", ""),
        ),
        lambda request, who, again: _task(request, who, task, again),
    )


def _task(request: Request, who: SignedIn, task: str, again: Again | None = None) -> Response:
    found, agent = tally_of(request).tasks.get(who.caller, task)
    contents = [
        None if text is None else json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        for text in (found.input, found.output)
    ]
    return show(
        request,
        "admin/task.html",
        who,
        section=SECTION,
        again=again,
        task=found,
        agent=agent,
        asked=contents[0],
        answered=contents[1],
        words=TASK_WORDS,
    )
