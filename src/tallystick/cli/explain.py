"""`tally explain`: where a figure comes from."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import segment
from tallystick.cli.rate_card import price_text
from tallystick.cli.rendering import amount, facts, moment, text, units
from tallystick.cli.tables import Column, table

_CHARGES = ("chg_", "txn_")


def register(root: Noun) -> None:
    """Put the command under the root."""
    root.command("explain")(explain)


def explain(
    session: Session,
    what: Annotated[
        str,
        typer.Argument(metavar="CHARGE|CUSTOMER", help="A charge's id, or a customer's id or external_id."),
    ],
    *,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="A customer's balance as of this moment (RFC 3339); now if absent."
        ),
    ] = None,
) -> Output:
    """Explain a charge, or (for admins) a customer's balance as of a moment."""
    if what.startswith(_CHARGES):
        if at is not None:
            raise typer.BadParameter("--at is for customers: a charge does not change")
        charge = session.remote.get(f"/charges/{segment(what)}", explain="true")
        return Output(charge, lambda out: _show_charge(out, charge))
    wallets = session.remote.get(f"/customers/{segment(what)}/explain", at=at)
    return Output(wallets, lambda out: _show_customer(out, wallets))


def _show_charge(out: Console, charge: dict[str, Any]) -> None:
    found = charge["explain"]
    names = ("id", "customer", "hold", "meter", "category", "agent", "description")
    pairs: list[tuple[str, object]] = [(name, charge.get(name)) for name in names]
    if charge["quantity"] is not None:
        pairs.append(("quantity", amount(charge["quantity"])))
    pairs += [(f"amount in {unit}", each) for unit, each in charge["amounts"].items()]
    if found["refunds"]:
        pairs += [
            (f"{name} in {each['unit']}", each[name])
            for each in charge["refunds"]
            for name in ("refunded", "refundable")
        ]
    pairs.append(("made", moment(charge["created_at"])))
    pairs += [
        ("economy", " ".join(filter(None, (found.get("economy"), found.get("economy_version")))) or None)
    ]
    pairs += [
        ("sealed", "yes, nobody edited it" if found["seal_ok"] else "NO: this record was edited afterwards")
    ]
    out.print(facts(pairs))
    lines = [part | {"line": line} for part in found["prices"] for line in part["lines"]]
    working = (
        Column("meter", "meter"),
        Column("quantity", lambda row: row["line"]["quantity"], "amount"),
        Column("price", lambda row: price_text(row["line"] | {"unit": row["unit"]}, one_tier=True)),
        Column("amount", lambda row: row["line"]["amount"], "amount"),
        Column("unit", "unit"),
    )
    out.print(table(lines, working, title="Price", empty="the amount was named by the caller"))
    drawn = (
        Column("grant", "grant"),
        Column("drawn", "amount", "amount"),
        Column("refunded", "refunded", "amount"),
        Column("unit", "unit"),
        Column("category", "category"),
        Column("origin", "origin"),
        Column("priority", "priority", "amount"),
        Column("expires", "expires_at", "time"),
    )
    out.print(table(found["lots"], drawn, title="Drawn from", empty="no grant was drawn"))
    around = (
        Column("unit", "unit"),
        Column("before", "before", "amount"),
        Column("after", "after", "amount"),
    )
    out.print(table(found["balances"], around, title="Balance"))
    _show_circumstances(out, found)


def _show_circumstances(out: Console, found: dict[str, Any]) -> None:
    if limit := found.get("limit"):
        left = f"{limit['remaining']} of {limit['limit']} calls were left until {moment(limit['reset_at'])}"
        out.print(text(f"Hourly limit: {left}."))
    if budgets := found.get("budgets"):
        counted = (Column("budget", "source"), Column("counted", "amount", "amount"), Column("unit", "unit"))
        out.print(table(budgets, counted, title="Budgets"))
    if refunds := found.get("refunds"):
        given_back = (
            Column("refund", "id"),
            Column("date", "date", "time"),
            Column(
                "amounts",
                lambda row: ", ".join(units(each, unit) for unit, each in row["amounts"].items()),
            ),
            Column("reason", "reason", wraps=True),
        )
        out.print(table(refunds, given_back, title="Refunds"))


def _show_customer(out: Console, found: dict[str, Any]) -> None:
    out.print(facts([("customer", found["customer"]), ("as of", moment(found["at"]))]))
    behind = (
        Column("grant", "grant"),
        Column("category", "category"),
        Column("origin", "origin"),
        Column("granted", "amount", "amount"),
        Column("remaining", "remaining", "amount"),
        Column("held", "held", "amount"),
        Column("priority", "priority", "amount"),
        Column("effective", "effective_at", "time"),
        Column("expires", "expires_at", "time"),
        Column("reason", "reason", wraps=True),
    )
    for wallet in found["wallets"]:
        names = ("balance", "available", "held", "debt")
        out.print(facts([(name, wallet[name]) for name in names], title=wallet["unit"]))
        if wallet["frozen_at"] is not None:
            since = moment(wallet["frozen_at"])
            out.print(text(f"Frozen since {since}: nothing is drawn, and nothing expires.", "yellow"))
        if not wallet["statement_agrees"]:
            out.print(text("The statement does not agree with the transfers: run `tally audit`.", "bold red"))
        out.print(table(wallet["grants"], behind, empty="no grant had anything left"))
