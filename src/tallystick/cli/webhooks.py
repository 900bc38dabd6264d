"""`tally webhooks`: where events are sent, what happened, and what was sent."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console

from tallystick.cli.balances import show_page
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import CursorOption, CustomerOption, LimitOption, segment
from tallystick.cli.rendering import answer_facts, text
from tallystick.cli.tables import Column, Row

noun = Noun("webhooks", "Tell other programs what happens: endpoints, notifications and deliveries.")

EndpointArgument = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's id: whe_….")]
TypesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="Only these events, such as balance.low or balance.*; may be given several times.",
    ),
]
DescriptionOption = Annotated[str | None, typer.Option("--description", help="What you call it.")]
_DELIVERY = "whd_"


@noun.command("create")
def create(
    session: Session,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent.")],
    *,
    types: TypesOption = None,
    description: DescriptionOption = None,
    customer: CustomerOption = None,
) -> Output:
    """Have events sent to an address. Its secret is shown this once; an operator's own endpoint names no customer."""
    body = {"url": url, "types": types, "description": description, "customer": customer}
    return _with_secret(session.remote.post("/webhooks/endpoints", body, repeatable=False))


@noun.command("list")
def list_(
    session: Session, *, customer: CustomerOption = None, limit: LimitOption = 20, cursor: CursorOption = None
) -> Output:
    """List endpoints, newest first."""
    answer = session.remote.get("/webhooks/endpoints", customer=customer, limit=limit, cursor=cursor)
    columns = (
        Column("endpoint", "id"),
        Column("url", "url", wraps=True),
        Column("events", _types_of, wraps=True),
        Column("status", "status"),
        Column("failing since", "failing_since", "time"),
        Column("reason", "reason", wraps=True),
    )
    return Output(answer, lambda out: show_page(out, answer, "endpoints", columns))


@noun.command("update")
def update(
    session: Session,
    endpoint: EndpointArgument,
    *,
    url: Annotated[str | None, typer.Option("--url", help="Another address.")] = None,
    types: TypesOption = None,
    all_types: Annotated[bool, typer.Option("--all-types", help="Every event from now on.")] = False,
    description: DescriptionOption = None,
) -> Output:
    """Change an endpoint; what is not named stays."""
    chosen = [] if all_types else types
    answer = session.remote.patch(
        f"/webhooks/endpoints/{segment(endpoint)}",
        {"url": url, "types": chosen, "description": description},
    )
    return Output(answer, lambda out: out.print(answer_facts(answer | {"events": _types_of(answer)})))


@noun.command("rotate")
def rotate(session: Session, endpoint: EndpointArgument) -> Output:
    """Sign with a new secret, shown this once. The old one signs too for 24 hours."""
    path = f"/webhooks/endpoints/{segment(endpoint)}/rotate"
    return _with_secret(session.remote.post(path, repeatable=False))


@noun.command("delete")
def delete(session: Session, endpoint: EndpointArgument) -> Output:
    """Send nothing there any more, for good."""
    answer = session.remote.delete(f"/webhooks/endpoints/{segment(endpoint)}")
    return Output(
        answer or {"id": endpoint, "deleted": True},
        lambda out: out.print(text(f"Deleted {endpoint}.", "green")),
    )


@noun.command("ping")
def ping(session: Session, endpoint: EndpointArgument) -> Output:
    """Send a test event to this endpoint alone; `deliveries` shows what came of it."""
    answer = session.remote.post(f"/webhooks/endpoints/{segment(endpoint)}/ping", repeatable=False)
    return Output(answer, lambda out: out.print(answer_facts(answer)))


@noun.command("enable")
def enable(session: Session, endpoint: EndpointArgument) -> Output:
    """Send to a disabled endpoint again; `replay` sends what it missed."""
    answer = session.remote.post(f"/webhooks/endpoints/{segment(endpoint)}/enable")
    return Output(answer, lambda out: out.print(answer_facts(answer)))


@noun.command("notifications")
def notifications(
    session: Session,
    *,
    customer: CustomerOption = None,
    event_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only these: balance.low, or balance.*.")
    ] = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """List what happened, newest first, whether anybody was told or not."""
    answer = session.remote.get(
        "/webhooks/notifications", customer=customer, type=event_type, limit=limit, cursor=cursor
    )
    columns = (
        Column("event", "id"),
        Column("when", "timestamp", "time"),
        Column("customer", "customer"),
        Column("number", lambda row: str(row["sequence"])),
        Column("type", "type"),
    )
    return Output(answer, lambda out: show_page(out, answer, "notifications", columns))


@noun.command("deliveries")
def deliveries(
    session: Session,
    *,
    customer: CustomerOption = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="ENDPOINT", help="Only those to this endpoint.")
    ] = None,
    status: Annotated[
        Literal["pending", "delivered", "failed", "dropped"] | None,
        typer.Option("--status", help="Only those that this became of."),
    ] = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """List what was sent, by webhook and by e-mail, newest first."""
    answer = session.remote.get(
        "/webhooks/deliveries",
        customer=customer,
        endpoint=endpoint,
        status=status,
        limit=limit,
        cursor=cursor,
    )
    columns = (
        Column("delivery", "id"),
        Column("type", "type"),
        Column("to", lambda row: row["endpoint"] or row["address"], wraps=True),
        Column("status", "status"),
        Column("tries", lambda row: str(row["attempts"])),
        Column("next", "next_at", "time"),
        Column("last error", "last_error", wraps=True),
    )
    return Output(answer, lambda out: show_page(out, answer, "deliveries", columns))


@noun.command("replay")
def replay(
    session: Session,
    subject: Annotated[
        str, typer.Argument(metavar="ID", help="One delivery (whd_…), or an endpoint (whe_…).")
    ],
    *,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="For an endpoint: since when (RFC 3339).")
    ] = None,
    after: Annotated[
        int | None,
        typer.Option("--after", min=0, help="For an endpoint: after which of the customer's numbers."),
    ] = None,
) -> Output:
    """Send one delivery again, or all that happened since a moment or a number."""
    if subject.startswith(_DELIVERY):
        answer = session.remote.post(f"/webhooks/deliveries/{segment(subject)}/replay")
        return Output(answer, lambda out: out.print(answer_facts(answer)))
    answer = session.remote.post(
        f"/webhooks/endpoints/{segment(subject)}/replay", {"since": since, "after_sequence": after}
    )

    def show(out: Console) -> None:
        out.print(text(f"{answer['queued']} events are sent again.", "green"))
        if not answer["complete"]:
            out.print(text("There is more: go on from the last of them.", "yellow"))
            out.print(answer_facts(answer))

    return Output(answer, show)


def _with_secret(answer: Row) -> Output:
    def show(out: Console) -> None:
        out.print(text(answer["secret"], "bold green"))
        out.print(text("Keep it now: it is not shown again.", "yellow"))
        facts = {name: value for name, value in answer.items() if name != "secret"}
        out.print(answer_facts(facts | {"events": _types_of(answer)}))

    return Output(answer, show)


def _types_of(row: Row) -> str:
    return ", ".join(row["types"]) or "all"
