"""`tally budgets`: how much a customer, an agent or a key may spend per day or month."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

import typer

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import CustomerOption, UnitOption, number, segment
from tallystick.cli.rendering import answer_facts, text
from tallystick.cli.tables import Column, table

noun = Noun("budgets", "Spending limits of a customer, an agent or a key, per day or month.")


@noun.command("set")
def set_(
    session: Session,
    level: Annotated[Literal["customer", "agent", "key"], typer.Argument(help="What is limited.")],
    amount: Annotated[
        Decimal, typer.Argument(parser=number, metavar="AMOUNT", help="How much may be spent.")
    ],
    *,
    per: Annotated[Literal["day", "month"], typer.Option("--per", help="In which period.")] = "month",
    subject: Annotated[
        str | None, typer.Option("--subject", help="The agent's name or the key's id; none for a customer.")
    ] = None,
    customer: CustomerOption = None,
    unit: UnitOption = None,
) -> Output:
    """Set a budget, or change the one that is there."""
    body = {
        "level": level,
        "subject": subject,
        "customer": customer,
        "unit": unit,
        "amount": amount,
        "per": per,
    }
    answer = session.remote.put("/budgets", body)
    return Output(answer, lambda out: out.print(answer_facts(answer)))


@noun.command("list")
def list_(
    session: Session,
    *,
    customer: CustomerOption = None,
    key: Annotated[str | None, typer.Option("--key", help="Only those of this key: key_….")] = None,
) -> Output:
    """List budgets with what was spent of them in this period."""
    answer = session.remote.get("/budgets", customer=customer, key=key)
    columns = (
        Column("budget", "id"),
        Column("level", "level"),
        Column("subject", "subject"),
        Column("amount", "amount", "amount"),
        Column("spent", "spent", "amount"),
        Column("unit", "unit"),
        Column("per", "per"),
        Column("resets", "resets_at", "time"),
    )
    return Output(answer, lambda out: out.print(table(answer["budgets"], columns, empty="no budgets")))


@noun.command("remove")
def remove(
    session: Session, budget: Annotated[str, typer.Argument(metavar="BUDGET", help="The budget's id.")]
) -> Output:
    """Remove a budget: nothing limits the spending any more."""
    answer = session.remote.delete(f"/budgets/{segment(budget)}")
    return Output(
        answer or {"id": budget, "removed": True}, lambda out: out.print(text(f"Removed {budget}.", "green"))
    )
