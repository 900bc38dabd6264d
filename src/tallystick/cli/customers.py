"""`tally customers`: who is billed, for operators who have users of their own."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import MetadataOption, ReasonOption, UnitOption, metadata_of, segment
from tallystick.cli.rendering import answer_facts, text

noun = Noun("customers", "Who is billed: create, show, freeze and thaw.")

CustomerArgument = Annotated[str, typer.Argument(help="An id or external_id.")]


@noun.command("create")
def create(
    session: Session,
    external_id: Annotated[str, typer.Argument(help="Your own id of the customer.")],
    *,
    email: Annotated[str | None, typer.Option("--email", help="Where to write to.")] = None,
    metadata: MetadataOption = None,
) -> Output:
    """Make a customer with the credits of sign-up; a repeat gives the same one. For services and admins."""
    body = {"external_id": external_id, "email": email, "metadata": metadata_of(metadata)}
    return _answered(session.remote.post("/customers", body))


@noun.command("show")
def show(session: Session, customer: CustomerArgument) -> Output:
    """Show a customer's record."""
    return _answered(session.remote.get(f"/customers/{segment(customer)}"))


@noun.command("freeze")
def freeze(
    session: Session, customer: CustomerArgument, *, unit: UnitOption = None, reason: ReasonOption = None
) -> Output:
    """Let nothing be drawn from a wallet until it is thawed. For services and admins."""
    body = {"unit": unit, "reason": reason}
    return _answered(
        session.remote.post(f"/customers/{segment(customer)}/freeze", body), f"Froze {customer}."
    )


@noun.command("thaw")
def thaw(
    session: Session, customer: CustomerArgument, *, unit: UnitOption = None, reason: ReasonOption = None
) -> Output:
    """Let a frozen wallet be drawn from again. For services and admins."""
    body = {"unit": unit, "reason": reason}
    return _answered(session.remote.post(f"/customers/{segment(customer)}/thaw", body), f"Thawed {customer}.")


def _answered(answer: dict[str, Any] | None, words: str | None = None) -> Output:
    found = answer or {}

    def show_it(out: Console) -> None:
        if words:
            out.print(text(words, "green"))
        out.print(answer_facts(found))

    return Output(found, show_it)
