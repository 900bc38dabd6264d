"""`tally keys`: API keys, made, listed and revoked."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import typer
from rich.console import Console

from tallystick.cli.balances import show_page
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import CursorOption, CustomerOption, LimitOption, UnitOption, number, segment
from tallystick.cli.rendering import answer_facts, text
from tallystick.cli.tables import Column

noun = Noun("keys", "API keys: create, list and revoke.")


@noun.command("create")
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="What you call it.")],
    *,
    role: Annotated[
        Literal["user", "service", "admin"],
        typer.Option("--role", help="What it may do; service and admin by admins only."),
    ] = "user",
    customer: CustomerOption = None,
    budget: Annotated[
        Decimal | None,
        typer.Option(
            "--budget", parser=number, metavar="AMOUNT", help="How much it may spend in each period."
        ),
    ] = None,
    per: Annotated[Literal["day", "month"], typer.Option("--per", help="The budget's period.")] = "month",
    unit: UnitOption = None,
    expires_at: Annotated[
        str | None, typer.Option("--expires-at", metavar="TIME", help="When it stops working (RFC 3339).")
    ] = None,
) -> Output:
    """Make a key. It is shown this once and never again."""
    limit = None if budget is None else {"amount": budget, "per": per} | ({"unit": unit} if unit else {})
    body = {"name": name, "role": role, "customer": customer, "budget": limit, "expires_at": expires_at}
    answer = session.remote.post("/keys", body, repeatable=False)

    def show(out: Console) -> None:
        out.print(text(answer["key"], "bold green"))
        out.print(text("Keep it now: it is not shown again.", "yellow"))
        out.print(answer_facts({name: value for name, value in answer.items() if name != "key"}))

    return Output(answer, show)


@noun.command("list")
def list_(
    session: Session, *, customer: CustomerOption = None, limit: LimitOption = 20, cursor: CursorOption = None
) -> Output:
    """List keys by their first characters, newest first."""
    answer = session.remote.get("/keys", customer=customer, limit=limit, cursor=cursor)
    columns = (
        Column("id", "id"),
        Column("name", "name", wraps=True),
        Column("begins with", "prefix"),
        Column("role", "role"),
        Column("made", "created_at", "time"),
        Column("expires", "expires_at", "time"),
        Column("revoked", "revoked_at", "time"),
    )
    return Output(answer, lambda out: show_page(out, answer, "keys", columns))


@noun.command("revoke")
def revoke(
    session: Session, key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id: key_….")]
) -> Output:
    """End a key at once and for good."""
    answer = session.remote.delete(f"/keys/{segment(key)}")
    return Output(
        answer or {"id": key, "revoked": True},
        lambda out: out.print(text(f"{key} works no longer.", "green")),
    )
