"""`tally grants`: credits with terms of their own, given and taken back by services and admins."""

from __future__ import annotations

from decimal import Decimal
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
    UnitOption,
    number,
    segment,
)
from tallystick.cli.rendering import amount, answer_facts, text
from tallystick.cli.tables import Column

noun = Noun("grants", "Credits with terms of their own: give, list, void and claw back.")

GrantArgument = Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id: grant_….")]
AmountArgument = Annotated[Decimal, typer.Argument(parser=number, metavar="AMOUNT", help="How many credits.")]


@noun.command("create")
def create(
    session: Session,
    customer: Annotated[str, typer.Argument(help="Who gets it: an id or external_id.")],
    amount_: AmountArgument,
    *,
    category: Annotated[
        str, typer.Option("--category", help="What kind of grant, which also says when it is drawn.")
    ] = "promotional_grant",
    unit: UnitOption = None,
    origin: Annotated[
        Literal["paid", "free"] | None,
        typer.Option("--origin", help="Where it comes from; the category says it if absent."),
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option("--expires-at", metavar="TIME", help="When what is left expires (RFC 3339).")
    ] = None,
    effective_at: Annotated[
        str | None,
        typer.Option("--effective-at", metavar="TIME", help="From when on it can be drawn (RFC 3339)."),
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", help="When it is drawn: lower is earlier.")
    ] = None,
    reason: ReasonOption = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Your own id of what it is for, such as a payment's.")
    ] = None,
    key: KeyOption = None,
) -> Output:
    """Give a customer credits. For services and admins."""
    body = {
        "customer": customer,
        "amount": amount_,
        "category": category,
        "unit": unit,
        "origin": origin,
        "expires_at": expires_at,
        "effective_at": effective_at,
        "priority": priority,
        "reason": reason,
        "reference": reference,
    }
    answer = session.remote.post("/grants", body, key=key)
    return Output(answer, lambda out: _show(out, f"Granted {amount(amount_)} to {customer}.", answer))


@noun.command("list")
def list_(
    session: Session,
    *,
    customer: CustomerOption = None,
    unit: UnitOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """List grants, newest first, with what is left of each."""
    answer = session.remote.get("/grants", customer=customer, unit=unit, limit=limit, cursor=cursor)
    columns = (
        Column("grant", "id"),
        Column("status", "status"),
        Column("category", "category", wraps=True),
        Column("amount", "amount", "amount"),
        Column("remaining", "remaining", "amount"),
        Column("unit", "unit"),
        Column("expires", "expires_at", "time"),
        Column("reason", "reason", wraps=True),
    )
    return Output(answer, lambda out: show_page(out, answer, "grants", columns))


@noun.command("void")
def void(
    session: Session, grant: GrantArgument, *, reason: ReasonOption = None, key: KeyOption = None
) -> Output:
    """Take back what is left of a grant that should not have been given."""
    answer = session.remote.post(f"/grants/{segment(grant)}/void", {"reason": reason}, key=key)
    return Output(answer, lambda out: _show(out, f"Voided {grant}.", answer))


@noun.command("clawback")
def clawback(
    session: Session,
    grant: GrantArgument,
    amount_: AmountArgument,
    *,
    reason: ReasonOption = None,
    key: KeyOption = None,
) -> Output:
    """Take an amount of a grant back; what was spent already becomes debt."""
    body = {"amount": amount_, "reason": reason}
    answer = session.remote.post(f"/grants/{segment(grant)}/clawback", body, key=key)
    return Output(answer, lambda out: _show(out, f"Clawed back {amount(amount_)} of {grant}.", answer))


def _show(out: Console, words: str, answer: dict[str, Any]) -> None:
    out.print(text(words, "green"))
    out.print(answer_facts(answer))
