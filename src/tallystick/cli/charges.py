"""`tally charge`, `quote`, `refund` and `prices`: what things cost, and drawing it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import (
    AgentOption,
    AlsoOption,
    CustomerOption,
    DescriptionOption,
    KeyOption,
    MetadataOption,
    QuantityOption,
    ReasonOption,
    UnitOption,
    also_of,
    metadata_of,
    number,
    segment,
)
from tallystick.cli.rendering import amount, answer_facts, facts, moment, text, units
from tallystick.cli.tables import Column, table

MeterArgument = Annotated[str, typer.Argument(help="What was used; `tally prices` lists the meters.")]


def register(root: Noun) -> None:
    """Put the commands under the root: they are used too often to have a group."""
    root.command("charge")(charge)
    root.command("quote")(quote)
    root.command("refund")(refund)


def charge(
    session: Session,
    meter: MeterArgument,
    *,
    quantity: QuantityOption = None,
    customer: CustomerOption = None,
    agent: AgentOption = None,
    description: DescriptionOption = None,
    metadata: MetadataOption = None,
    also: AlsoOption = None,
    key: KeyOption = None,
) -> Output:
    """Price a usage and draw the credits now, or change nothing at all."""
    body = {
        "meter": meter,
        "quantity": quantity,
        "customer": customer,
        "agent": agent,
        "description": description,
        "metadata": metadata_of(metadata),
        "also": also_of(also),
    }
    answer = session.remote.post("/charges", body, key=key)

    def show(out: Console) -> None:
        amounts = answer.get("amounts") or {answer.get("unit", ""): answer["amount"]}
        charged = " and ".join(units(each, unit).rstrip() for unit, each in amounts.items())
        out.print(text(f"Charged {charged} for {amount(answer['quantity'])} × {answer['meter']}.", "green"))
        out.print(facts([("charge", answer["id"]), *_after(answer)]))
        columns = (
            Column("drawn from", "grant"),
            Column("amount", "amount", "amount"),
            Column("unit", "unit"),
        )
        out.print(table(answer["grants"], columns, empty="nothing was drawn"))

    return Output(answer, show)


def quote(
    session: Session,
    meter: MeterArgument,
    *,
    quantity: QuantityOption = None,
    customer: CustomerOption = None,
    agent: AgentOption = None,
    also: AlsoOption = None,
) -> Output:
    """Say what a usage would cost now and whether it could be paid, without charging it."""
    body = {"meter": meter, "quantity": quantity, "customer": customer, "agent": agent, "also": also_of(also)}
    answer = session.remote.post("/quotes", body)

    def show(out: Console) -> None:
        amounts = answer.get("amounts") or {answer.get("unit", "amount"): answer["amount"]}
        pairs: list[tuple[str, object]] = [(f"costs, in {unit}", each) for unit, each in amounts.items()]
        pairs += [("available", answer.get("available")), ("affordable", answer.get("affordable"))]
        pairs += [("refused by", answer.get("refused_by")), *_limit(answer.get("rate_limit"))]
        out.print(facts(pairs))

    return Output(answer, show)


def refund(
    session: Session,
    charge_id: Annotated[str, typer.Argument(metavar="CHARGE", help="The charge's id: chg_….")],
    *,
    part: Annotated[
        Decimal | None,
        typer.Option(
            "--amount", parser=number, metavar="NUMBER", help="How much; without it, all that is left."
        ),
    ] = None,
    unit: UnitOption = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
) -> Output:
    """Give a charge back, whole or in part, to the grants that it was drawn from. For services and admins."""
    body = {"amount": part, "unit": unit, "reason": reason}
    answer = session.remote.post(f"/charges/{segment(charge_id)}/refund", body, key=key)

    def show(out: Console) -> None:
        out.print(text(f"Refunded {charge_id}.", "green"))
        out.print(answer_facts(answer))

    return Output(answer, show)


def _after(answer: dict[str, Any]) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = [
        ("balance", answer.get("balance")),
        ("available", answer.get("available")),
    ]
    return [*pairs, ("unit", answer.get("unit")), *_limit(answer.get("limit"))]


def _limit(limit: dict[str, Any] | None) -> list[tuple[str, object]]:
    if not limit:
        return []
    return [("calls left", limit.get("remaining")), ("limit resets", moment(limit.get("reset_at")))]
