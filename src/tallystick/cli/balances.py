"""`tally ruv` and `tally billing`: what one has, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer
from rich.console import Console, RenderableType

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import (
    CursorOption,
    CustomerOption,
    FromOption,
    KeyOption,
    LimitOption,
    ToOption,
    UnitOption,
)
from tallystick.cli.rendering import answer_facts, facts, moment, text
from tallystick.cli.tables import Column, Row, table

ruv = Noun("ruv", "Your credits at a glance.")
billing = Noun("billing", "Balances with the grants behind them, statements, usage and the plan.")

PeriodOption = Annotated[
    Literal["7d", "30d", "90d"], typer.Option("--period", help="How many days, today included.")
]


@ruv.command("balance")
def ruv_balance(session: Session, *, customer: CustomerOption = None, unit: UnitOption = None) -> Output:
    """Show the credits, what of them is held, and what was earned and spent in all."""
    balance = session.remote.get("/billing/balance", customer=customer, unit=unit)
    short = {
        "credits": balance["balance"],
        "pending": balance["held"],
        "earned_total": balance["earned"],
        "spent_total": balance["spent"],
    }

    def show(out: Console) -> None:
        pairs = [
            ("credits", short["credits"]),
            ("available", balance["available"]),
            ("pending", short["pending"]),
            ("earned in all", short["earned_total"]),
            ("spent in all", short["spent_total"]),
            ("unit", balance["unit"]),
            ("plan", balance.get("tier")),
        ]
        out.print(facts(pairs))
        _warn_if_low(balance, out)

    return Output(short | balance, show)


@ruv.command("history")
def ruv_history(
    session: Session,
    *,
    customer: CustomerOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """Show the latest movements of the primary unit, newest first."""
    answer = session.remote.get("/billing/transactions", customer=customer, limit=limit, cursor=cursor)
    columns = (
        Column("date", "date", "time"),
        Column("type", _short_type),
        Column("amount", "amount", "amount"),
        Column("balance", "balance_after", "amount"),
        Column("description", "description", wraps=True),
    )
    return Output(answer, lambda out: show_page(out, answer, "transactions", columns))


@billing.command("balance")
def billing_balance(session: Session, *, customer: CustomerOption = None, unit: UnitOption = None) -> Output:
    """Show a balance in full, with every grant behind it in the order in which they are drawn."""
    balance = session.remote.get("/billing/balance", customer=customer, unit=unit)
    return Output(balance, lambda out: _show_balance(out, balance))


@billing.command("history")
def billing_history(
    session: Session,
    *,
    customer: CustomerOption = None,
    unit: UnitOption = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="Only this type, such as usage or refund.")
    ] = None,
    start: FromOption = None,
    end: ToOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """Show the statement, newest first: every movement with the balance after it."""
    query = {"customer": customer, "unit": unit, "type": type_, "from": start, "to": end}
    answer = session.remote.get("/billing/transactions", **query, limit=limit, cursor=cursor)
    columns = (
        Column("date", "date", "time"),
        Column("type", _full_type, wraps=True),
        Column("amount", "amount", "amount"),
        Column("balance", "balance_after", "amount"),
        Column("description", "description", wraps=True),
        Column("reference", "reference"),
    )
    return Output(answer, lambda out: show_page(out, answer, "transactions", columns))


@billing.command("usage")
def billing_usage(
    session: Session,
    *,
    period: PeriodOption = "30d",
    customer: CustomerOption = None,
    unit: UnitOption = None,
) -> Output:
    """Show what was spent and earned each day, and on which meters."""
    usage = session.remote.get("/billing/usage", period=period, customer=customer, unit=unit)

    def show(out: Console) -> None:
        days = [day for day in usage["days"] if day["spent"] or day["earned"]]
        columns = (
            Column("day", "date"),
            Column("spent", "spent", "amount"),
            Column("earned", "earned", "amount"),
            Column("meters", lambda day: ", ".join(day["by_meter"]), wraps=True),
        )
        out.print(
            table(days, columns, title=_span(usage), empty=f"nothing was spent or earned: {_span(usage)}")
        )
        totals = usage["totals"]
        meters = [{"meter": name, "spent": spent} for name, spent in totals["by_meter"].items()]
        if meters:
            out.print(table(meters, (Column("meter", "meter"), Column("spent", "spent", "amount"))))
        out.print(facts([("spent", totals["spent"]), ("earned", totals["earned"])]))

    return Output(usage, show)


@billing.command("tier")
def billing_tier(
    session: Session,
    tier: Annotated[str, typer.Argument(help="The plan to change to.")],
    *,
    customer: CustomerOption = None,
    key: KeyOption = None,
) -> Output:
    """Change the plan. What must be paid first gives the address of a page to pay on; what is paid ends first."""
    answer = session.remote.post("/billing/tier", {"tier": tier, "customer": customer}, key=key)

    def show(out: Console) -> None:
        out.print(answer_facts(answer))
        if "checkout_url" in answer:
            out.print(text("The plan begins when it is paid there.", "dim"))

    return Output(answer, show)


@billing.command("subscription")
def billing_subscription(session: Session, *, customer: CustomerOption = None) -> Output:
    """Show how the plan is paid, until when, and what follows."""
    answer = session.remote.get("/billing/subscription", customer=customer)
    return Output(answer, lambda out: out.print(answer_facts(answer)))


@billing.command("cancel")
def billing_cancel(session: Session, *, customer: CustomerOption = None) -> Output:
    """End a paid plan with the period that is paid."""
    answer = session.remote.delete("/billing/subscription", customer=customer)
    return Output(answer, lambda out: out.print(answer_facts(answer)))


@billing.command("portal")
def billing_portal(session: Session, *, customer: CustomerOption = None) -> Output:
    """Give the address of the page where one sees bills and changes the card."""
    answer = session.remote.post("/billing/portal", {"customer": customer})
    return Output(answer, lambda out: out.print(text(answer["url"])))


def show_page(out: Console, answer: dict[str, Any], noun: str, columns: tuple[Column, ...]) -> None:
    """A page of a list, and how to see the next one."""
    out.print(table(answer[noun], columns, empty=f"no {noun}"))
    if answer.get("has_more"):
        out.print(text(f"There is more: add --cursor {answer['next_cursor']}", "dim"))


def grants_table(grants: list[Row], title: str | None = None) -> RenderableType:
    """Grants in the order in which they are drawn."""
    columns = (
        Column("grant", "id"),
        Column("category", lambda row: f"{row['category']}, {row['origin']}", wraps=True),
        Column("remaining", "remaining", "amount"),
        Column("held", "held", "amount"),
        Column("rank", "priority", "amount"),
        Column("expires", "expires_at", "time"),
    )
    return table(grants, columns, title=title, empty="no grant has anything left")


def _show_balance(out: Console, balance: dict[str, Any]) -> None:
    numbers = (
        "balance",
        "available",
        "held",
        "debt",
        "granted",
        "purchased",
        "earned",
        "spent",
        "expired",
        "removed",
    )
    pairs: list[tuple[str, object]] = [("customer", balance.get("customer")), ("unit", balance["unit"])]
    pairs += [(name, balance.get(name)) for name in numbers]
    pairs += [("plan", balance.get("tier")), ("unlimited", balance.get("unlimited") or None)]
    for title, name in (("next grant", "next_grant_at"), ("frozen since", "frozen_at")):
        if balance.get(name) is not None:
            pairs.append((title, moment(balance[name])))
    out.print(facts(pairs))
    out.print(grants_table(balance["grants"], "Grants, first drawn first"))
    _warn_if_low(balance, out)


def _warn_if_low(balance: dict[str, Any], out: Console) -> None:
    threshold = balance.get("threshold")
    if threshold is not None and balance["available"] < threshold:
        out.print(text(f"Low balance: less than {threshold} {balance['unit']} are available.", "yellow"))


def _full_type(row: Row) -> object:
    return " ".join(filter(None, (row.get("type"), row.get("category"))))


def _short_type(row: Row) -> object:
    return row.get("category") if row.get("type") == "usage" else row.get("type")


def _span(usage: dict[str, Any]) -> str:
    return f"{str(usage['from'])[:10]} to {str(usage['to'])[:10]}"
