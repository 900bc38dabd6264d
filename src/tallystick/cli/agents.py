"""`tally agents`: what can be hired, at which price per task."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from tallystick.cli.balances import show_page
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import CursorOption, CustomerOption, LimitOption, UnitOption, number, segment
from tallystick.cli.rendering import answer_facts, text
from tallystick.cli.tables import Column

noun = Noun("agents", "Agents that can be hired: offer, find, change and pause them.")

AgentArgument = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id: agent_….")]
CapabilityOption = Annotated[
    list[str] | None,
    typer.Option("--capability", metavar="WORD", help="What it can do; may be given more than once."),
]
DescriptionOption = Annotated[str | None, typer.Option("--description", help="What it does.")]


@noun.command("create")
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="What it is called; an owner's agents differ by it.")],
    price: Annotated[
        Decimal, typer.Argument(parser=number, metavar="PRICE", help="Credits per task; 0 is free.")
    ],
    *,
    description: DescriptionOption = None,
    capability: CapabilityOption = None,
    unit: UnitOption = None,
    customer: CustomerOption = None,
) -> Output:
    """Offer an agent."""
    body = {
        "name": name,
        "price_per_task": price,
        "description": description,
        "capabilities": capability,
        "unit": unit,
        "customer": customer,
    }
    answer = session.remote.post("/agents", body)
    return Output(answer, lambda out: _show(out, f"{answer['name']} can be hired.", answer))


@noun.command("list")
def list_(
    session: Session,
    *,
    text_: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="A part of the name or the description.")
    ] = None,
    capability: Annotated[
        str | None, typer.Option("--capability", metavar="WORD", help="Only those that can do this.")
    ] = None,
    max_price: Annotated[
        Decimal | None,
        typer.Option("--max-price", parser=number, metavar="NUMBER", help="Only those that cost no more."),
    ] = None,
    status: Annotated[
        Literal["active", "paused"] | None, typer.Option("--status", help="Only these.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", help="Only those of this customer; me is yourself.")
    ] = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """Find agents, newest first."""
    answer = session.remote.get(
        "/agents",
        q=text_,
        capability=capability,
        max_price=max_price,
        status=status,
        owner=owner,
        limit=limit,
        cursor=cursor,
    )
    columns = (
        Column("agent", "id"),
        Column("name", "name", wraps=True),
        Column("status", "status"),
        Column("price per task", "price_per_task", "amount"),
        Column("unit", "unit"),
        Column("description", "description", wraps=True),
    )
    return Output(answer, lambda out: show_page(out, answer, "agents", columns))


@noun.command("show")
def show(session: Session, agent: AgentArgument) -> Output:
    """Show one agent."""
    answer = session.remote.get(f"/agents/{segment(agent)}")
    return Output(answer, lambda out: _show(out, answer["name"], answer))


@noun.command("update")
def update(
    session: Session,
    agent: AgentArgument,
    *,
    name: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    price: Annotated[
        Decimal | None,
        typer.Option(
            "--price",
            parser=number,
            metavar="NUMBER",
            help="Credits per task from now on; tasks that were made before keep theirs.",
        ),
    ] = None,
    description: DescriptionOption = None,
    capability: CapabilityOption = None,
) -> Output:
    """Change what an agent costs, or how it is found."""
    body = {
        "name": name,
        "price_per_task": price,
        "description": description,
        "capabilities": capability,
    }
    answer = session.remote.patch(f"/agents/{segment(agent)}", body)
    return Output(answer, lambda out: _show(out, f"Changed {answer['name']}.", answer))


@noun.command("pause")
def pause(session: Session, agent: AgentArgument) -> Output:
    """Take no new tasks for an agent; those that were made go on."""
    answer = session.remote.patch(f"/agents/{segment(agent)}", {"status": "paused"})
    return Output(answer, lambda out: _show(out, f"Paused {answer['name']}.", answer))


@noun.command("resume")
def resume(session: Session, agent: AgentArgument) -> Output:
    """Take tasks for an agent again."""
    answer = session.remote.patch(f"/agents/{segment(agent)}", {"status": "active"})
    return Output(answer, lambda out: _show(out, f"{answer['name']} can be hired again.", answer))


def _show(out: Console, words: str, answer: dict[str, Any]) -> None:
    out.print(text(words, "green"))
    out.print(answer_facts(answer))
