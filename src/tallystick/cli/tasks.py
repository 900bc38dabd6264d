"""`tally tasks`: hire an agent, and see the work through to its end."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from tallystick.cli.balances import show_page
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import (
    CursorOption,
    CustomerOption,
    KeyOption,
    LimitOption,
    ReasonOption,
    number,
    segment,
)
from tallystick.cli.rendering import answer_facts, text, units
from tallystick.cli.tables import Column

noun = Noun("tasks", "What agents are hired for: create, accept, complete, fail, cancel, dispute, resolve.")

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="The task's id: task_….")]
BecauseOption = Annotated[str, typer.Option("--reason", help="Why, for both sides.")]


def content(value: str) -> Any:  # noqa: ANN401 - any JSON
    """JSON, or a text as it is. Raises a usage error for JSON that cannot be sent."""
    from tallystick.cli.remote import NULL

    try:
        found = json.loads(value, parse_float=Decimal, parse_constant=_no_json)
    except ValueError:
        return value
    except (RecursionError, InvalidOperation):
        raise typer.BadParameter("expected JSON that is not nested as deeply, with smaller numbers") from None
    return NULL if found is None else found


def _no_json(value: str) -> Any:  # noqa: ANN401 - as the parser wants it
    raise ValueError(value)


@noun.command("create")
def create(
    session: Session,
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Who is hired: agent_….")],
    input_: Annotated[str, typer.Argument(metavar="INPUT", help="What for: a text or JSON.")],
    *,
    max_price: Annotated[
        Decimal | None,
        typer.Option("--max-price", parser=number, metavar="NUMBER", help="Hire for no more than this."),
    ] = None,
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="TASK", help="The task whose budget pays.")
    ] = None,
    expires_in: Annotated[
        int | None,
        typer.Option("--expires-in", metavar="SECONDS", help="When it times out; a day by default."),
    ] = None,
    customer: CustomerOption = None,
    key: KeyOption = None,
) -> Output:
    """Hire an agent: its price is held, and paid when the task is completed."""
    body = {
        "agent": agent,
        "input": content(input_),
        "max_price": max_price,
        "parent": parent,
        "expires_in": expires_in,
        "customer": customer,
    }
    answer = session.remote.post("/tasks", body, key=key)
    held = units(answer["held"], answer["unit"])
    return Output(answer, lambda out: _show(out, f"Made {answer['id']}, and held {held} for it.", answer))


@noun.command("list")
def list_(
    session: Session,
    *,
    customer: CustomerOption = None,
    role: Annotated[
        Literal["requester", "owner"] | None,
        typer.Option("--role", help="Only tasks asked for, or only those worked on."),
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only tasks of this agent.")] = None,
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="TASK", help="Only sub-tasks of this task.")
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only tasks that are created, accepted, completed, …")
    ] = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """List tasks, newest first."""
    answer = session.remote.get(
        "/tasks",
        customer=customer,
        role=role,
        agent=agent,
        parent=parent,
        status=status,
        limit=limit,
        cursor=cursor,
    )
    columns = (
        Column("task", "id"),
        Column("agent", "agent_name", wraps=True),
        Column("status", "status"),
        Column("price", "price", "amount"),
        Column("unit", "unit"),
        Column("made", "created_at", "time"),
    )
    return Output(answer, lambda out: show_page(out, answer, "tasks", columns))


@noun.command("show")
def show(session: Session, task: TaskArgument) -> Output:
    """Show one task, with what was asked and answered."""
    answer = session.remote.get(f"/tasks/{segment(task)}")
    return Output(answer, lambda out: _show(out, f"{answer['agent_name']}: {answer['status']}", answer))


@noun.command("accept")
def accept(session: Session, task: TaskArgument, *, key: KeyOption = None) -> Output:
    """Take a task on, as the owner of its agent."""
    return _step(session, task, "accept", {}, key, "Accepted")


@noun.command("complete")
def complete(
    session: Session,
    task: TaskArgument,
    *,
    output: Annotated[
        str | None, typer.Option("--output", metavar="OUTPUT", help="What came of it: a text or JSON.")
    ] = None,
    key: KeyOption = None,
) -> Output:
    """Say that the work is done: its price is paid at once, less the platform's fee."""
    body = {"output": None if output is None else content(output)}
    return _step(session, task, "complete", body, key, "Completed")


@noun.command("fail")
def fail(
    session: Session, task: TaskArgument, *, reason: ReasonOption = None, key: KeyOption = None
) -> Output:
    """Say that nothing will come of it: what was held goes back."""
    return _step(session, task, "fail", {"reason": reason}, key, "Failed")


@noun.command("cancel")
def cancel(
    session: Session, task: TaskArgument, *, reason: ReasonOption = None, key: KeyOption = None
) -> Output:
    """Take back a task that nobody has accepted; services and admins also one that was."""
    return _step(session, task, "cancel", {"reason": reason}, key, "Cancelled")


@noun.command("dispute")
def dispute(session: Session, task: TaskArgument, reason: BecauseOption, *, key: KeyOption = None) -> Output:
    """Say that a completed task was not what was agreed."""
    return _step(session, task, "dispute", {"reason": reason}, key, "Disputed")


@noun.command("resolve")
def resolve(
    session: Session,
    task: TaskArgument,
    refund: Annotated[
        Decimal, typer.Argument(parser=number, metavar="REFUND", help="How much of its price goes back.")
    ],
    reason: BecauseOption,
    *,
    key: KeyOption = None,
) -> Output:
    """Decide a dispute; it is final. For admins."""
    return _step(session, task, "resolve", {"refund": refund, "reason": reason}, key, "Decided")


def _step(
    session: Session, task: str, name: str, body: dict[str, Any], key: str | None, words: str
) -> Output:
    answer = session.remote.post(f"/tasks/{segment(task)}/{name}", body, key=key)
    return Output(answer, lambda out: _show(out, f"{words} {task}.", answer))


def _show(out: Console, words: str, answer: dict[str, Any]) -> None:
    out.print(text(words, "green"))
    out.print(answer_facts(answer))
