"""`tally payouts`: what customers have earned with their agents, and how much of it may be paid out."""

from __future__ import annotations

from tallystick.cli.balances import show_page
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import CursorOption, LimitOption, UnitOption
from tallystick.cli.tables import Column

noun = Noun("payouts", "What agents have earned, for the operator who pays it out in money.")


@noun.command("list")
def list_(
    session: Session, *, unit: UnitOption = None, limit: LimitOption = 20, cursor: CursorOption = None
) -> Output:
    """List what each customer has earned from paid credits, and how much of it may be paid out now."""
    answer = session.remote.get("/payouts", unit=unit, limit=limit, cursor=cursor)
    columns = (
        Column("customer", "customer"),
        Column("external id", "external_id", wraps=True),
        Column("earned", "earned", "amount"),
        Column("payable", "payable", "amount"),
        Column("waiting", "waiting", "amount"),
        Column("disputed", "disputed", "amount"),
        Column("unit", "unit"),
    )
    return Output(answer, lambda out: show_page(out, answer, "payouts", columns))
