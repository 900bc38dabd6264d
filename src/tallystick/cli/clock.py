"""`tally clock`: move the test clock, and with it all work that becomes due."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.rendering import moment, text
from tallystick.cli.tables import Column, table

noun = Noun("clock", "The test clock: time passes at once, and all that became due is done.")

LONGEST_MOVE_SECONDS = 1800.0


@noun.command("advance")
def advance(
    session: Session,
    duration: Annotated[str, typer.Argument(help="How far (ISO 8601), such as P1D, PT3H or P1M2DT4H.")],
) -> Output:
    """Move the clock forwards by a duration. For admins, in test mode."""
    return _move(session, {"advance": duration})


@noun.command("set")
def set_(
    session: Session,
    time: Annotated[str, typer.Argument(help="When (RFC 3339), such as 2026-12-01T00:00:00Z.")],
) -> Output:
    """Set the clock to a later moment. For admins, in test mode."""
    return _move(session, {"now": time})


def _move(session: Session, body: dict[str, str]) -> Output:
    with session.busy("time passes…"):
        answer = session.remote.post(
            "/test/clock", body, repeatable=False, timeout_seconds=LONGEST_MOVE_SECONDS
        )

    def show(out: Console) -> None:
        out.print(text(f"It is {moment(answer['now'])}.", "green"))
        done = [each for each in answer["ran"] if each["count"]]
        columns = (Column("done", "job"), Column("count", "count", "amount"))
        out.print(table(done, columns, empty="nothing became due"))

    return Output(answer, show)
