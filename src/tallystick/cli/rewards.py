"""`tally rewards`: credits for facts, within the economy's ranges, each once."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer
from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import ReasonOption, number
from tallystick.cli.rendering import answer_facts, text, units

noun = Noun(
    "rewards", "Credits for facts: challenges, use of an app, coming back every day, bringing others."
)

CustomerArgument = Annotated[str, typer.Argument(help="Who gets it: an id or external_id.")]


@noun.command("give")
def give(
    session: Session,
    customer: CustomerArgument,
    source: Annotated[str, typer.Argument(help="What kind of fact: a name of the economy's [rewards].")],
    *,
    fact: Annotated[
        str | None, typer.Option("--fact", help="Your own id of what is rewarded: each is rewarded once.")
    ] = None,
    amount_: Annotated[
        Decimal | None,
        typer.Option("--amount", parser=number, metavar="NUMBER", help="How much, within the range."),
    ] = None,
    difficulty: Annotated[str | None, typer.Option("--difficulty", help="Which of the ranges.")] = None,
    reason: ReasonOption = None,
) -> Output:
    """Reward a fact; a source with a streak takes neither a fact nor an amount. For services and admins."""
    body = {
        "customer": customer,
        "source": source,
        "fact": fact,
        "amount": amount_,
        "difficulty": difficulty,
        "reason": reason,
    }
    answer = session.remote.post("/rewards", body)

    def show(out: Console) -> None:
        out.print(text(f"{customer} got {units(answer['amount'], answer['unit'])}.", "green"))
        out.print(answer_facts(answer))

    return Output(answer, show)


@noun.command("refer")
def refer(
    session: Session,
    referrer: Annotated[str, typer.Argument(help="Who brought the other.")],
    referred: Annotated[str, typer.Argument(help="Who came.")],
) -> Output:
    """Reward that one customer brought another, once for each who came. For services and admins."""
    answer = session.remote.post("/referrals", {"referrer": referrer, "referred": referred})

    def show(out: Console) -> None:
        for name in ("referrer", "referred"):
            got = answer[name]
            given = "nothing" if got is None else units(got["amount"], got["unit"])
            out.print(text(f"{name}: {given}", "green"))

    return Output(answer, show)
