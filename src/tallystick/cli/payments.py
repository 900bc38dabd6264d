"""`tally payments`: what operators do to payments."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer
from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import number, segment
from tallystick.cli.rendering import answer_facts, text

noun = Noun("payments", "Payments: what operators do to them.")


@noun.command("simulate")
def simulate(
    session: Session,
    action: Annotated[
        str,
        typer.Argument(help="dispute, inquiry, win, lose, refund, fail-refund, settle, fail or detach-card."),
    ],
    payment: Annotated[str, typer.Argument(help="The payment's id: the provider's, or pay_….")],
    *,
    amount: Annotated[
        Decimal | None,
        typer.Option("--amount", parser=number, metavar="NUMBER", help="How much to refund; all if absent."),
    ] = None,
) -> Output:
    """Do to a simulated payment what a bank would do to a real one. For admins, in test mode."""
    path = f"/test/payments/{segment(payment)}/{segment(action)}"
    answer = session.remote.post(path, {"amount": amount}, repeatable=False)

    def show(out: Console) -> None:
        out.print(text(f"Done to {answer['id']}: {action}.", "green"))
        out.print(answer_facts(answer))

    return Output(answer, show)
