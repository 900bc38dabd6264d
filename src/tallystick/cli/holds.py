"""`tally holds`: reserve now, take what was used later, give the rest back."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console

from tallystick.cli.balances import show_page
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import (
    AgentOption,
    AlsoOption,
    CursorOption,
    CustomerOption,
    DescriptionOption,
    KeyOption,
    LimitOption,
    MetadataOption,
    QuantityOption,
    UnitOption,
    also_of,
    metadata_of,
    number,
    segment,
)
from tallystick.cli.rendering import answer_facts, facts, moment, text, units
from tallystick.cli.tables import Column

noun = Noun("holds", "Reserve credits now, take what was used later, and give the rest back.")

HoldArgument = Annotated[str, typer.Argument(metavar="HOLD", help="The hold's id: hold_….")]
AmountOption = Annotated[
    Decimal | None,
    typer.Option("--amount", parser=number, metavar="NUMBER", help="An amount instead of a meter."),
]


@noun.command("create")
def create(
    session: Session,
    *,
    meter: Annotated[str | None, typer.Option("--meter", help="Reserve the price of this meter.")] = None,
    quantity: QuantityOption = None,
    also: AlsoOption = None,
    amount_: AmountOption = None,
    unit: UnitOption = None,
    customer: CustomerOption = None,
    agent: AgentOption = None,
    description: DescriptionOption = None,
    metadata: MetadataOption = None,
    expires_in: Annotated[
        int | None,
        typer.Option("--expires-in", metavar="SECONDS", help="When it ends by itself; 3600 by default."),
    ] = None,
    key: KeyOption = None,
) -> Output:
    """Reserve the price of a usage, or an amount."""
    body = {
        "meter": meter,
        "quantity": quantity,
        "also": also_of(also),
        "amount": amount_,
        "unit": unit,
        "customer": customer,
        "agent": agent,
        "description": description,
        "metadata": metadata_of(metadata),
        "expires_in": expires_in,
    }
    answer = session.remote.post("/holds", body, key=key)

    def show(out: Console) -> None:
        out.print(text(f"Held {units(answer['amount'], answer.get('unit', ''))}".rstrip() + ".", "green"))
        pairs = [
            ("hold", answer["id"]),
            ("until", moment(answer["expires_at"])),
            ("available", answer["available"]),
        ]
        out.print(facts(pairs))

    return Output(answer, show)


@noun.command("list")
def list_(
    session: Session,
    *,
    customer: CustomerOption = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only: open, captured, released or expired.")
    ] = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """List holds, newest first."""
    answer = session.remote.get("/holds", customer=customer, status=status, limit=limit, cursor=cursor)
    columns = (
        Column("hold", "id"),
        Column("status", "status"),
        Column("meter", "meter", wraps=True),
        Column("amount", "amount", "amount"),
        Column("unit", "unit"),
        Column("until", "expires_at", "time"),
    )
    return Output(answer, lambda out: show_page(out, answer, "holds", columns))


@noun.command("capture")
def capture(
    session: Session,
    hold: HoldArgument,
    *,
    amount_: Annotated[
        Decimal | None, typer.Option("--amount", parser=number, metavar="NUMBER", help="How much was used.")
    ] = None,
    quantity: Annotated[
        Decimal | None,
        typer.Option(
            "--quantity", parser=number, metavar="NUMBER", help="How much of the hold's meter was used."
        ),
    ] = None,
    key: KeyOption = None,
) -> Output:
    """Take what was used, and give the rest back; with neither option, take all that was held."""
    body = {"amount": amount_, "quantity": quantity}
    answer = session.remote.post(f"/holds/{segment(hold)}/capture", body, key=key)
    return Output(answer, lambda out: _show_end(out, f"Captured {hold}.", answer))


@noun.command("release")
def release(session: Session, hold: HoldArgument, *, key: KeyOption = None) -> Output:
    """Give everything back."""
    answer = session.remote.post(f"/holds/{segment(hold)}/release", key=key)
    return Output(answer, lambda out: _show_end(out, f"Released {hold}.", answer))


def _show_end(out: Console, words: str, answer: dict[str, Any]) -> None:
    out.print(text(words, "green"))
    out.print(answer_facts(answer))
