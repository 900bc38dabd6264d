"""`tally billing checkout|payments|auto-refill|card` for who pays, and `tally payments` for operators."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console

from tallystick.cli.balances import billing, show_page
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.options import (
    CursorOption,
    CustomerOption,
    KeyOption,
    LimitOption,
    ReasonOption,
    number,
    segment,
)
from tallystick.cli.rendering import amount, answer_facts, facts, moment, text, units
from tallystick.cli.tables import Column, table

noun = Noun(
    "payments", "For operators: every payment with its credits, refunds, disputes and reconciliation."
)

PaymentArgument = Annotated[str, typer.Argument(metavar="PAYMENT", help="The payment's id: pay_….")]

_COLUMNS = (
    Column("date", "date", "time"),
    Column("payment", "id"),
    Column("for", "title", wraps=True),
    Column("USD", "amount", "amount"),
    Column("credits", "credits", "amount"),
    Column("status", "status"),
    Column("invoice", "invoice_url", wraps=True),
)


@billing.command("checkout")
def checkout(
    session: Session,
    package: Annotated[str | None, typer.Argument(help="The pack to buy.")] = None,
    *,
    amount_: Annotated[
        Decimal | None,
        typer.Option("--amount", parser=number, metavar="USD", help="Or: credits for so many US dollars."),
    ] = None,
    customer: CustomerOption = None,
    key: KeyOption = None,
) -> Output:
    """Get the address of a page on which credits are bought."""
    body = {"package": package, "amount": amount_, "customer": customer}
    answer = session.remote.post("/billing/checkout", body, key=key)

    def show(out: Console) -> None:
        out.print(
            facts(
                [
                    ("adds", units(answer["credits_amount"], answer["unit"])),
                    ("for", f"${amount(answer['amount'])}"),
                    ("until", moment(answer["expires_at"])),
                    ("payment", answer["payment"]),
                ]
            )
        )
        out.print(text(answer["url"], "bold"))

    return Output(answer, show)


@billing.command("payments")
def billing_payments(
    session: Session,
    *,
    customer: CustomerOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """List payments, newest first, with what became of each."""
    answer = session.remote.get("/billing/payments", customer=customer, limit=limit, cursor=cursor)
    return Output(answer, lambda out: show_page(out, answer, "payments", _COLUMNS))


@billing.command("auto-refill")
def auto_refill(
    session: Session,
    *,
    enabled: Annotated[
        bool | None, typer.Option("--on/--off", help="Turn it on or off; without either it is shown.")
    ] = None,
    threshold: Annotated[
        Decimal | None,
        typer.Option("--threshold", parser=number, metavar="CREDITS", help="Buy when less is available."),
    ] = None,
    amount_: Annotated[
        Decimal | None,
        typer.Option("--amount", parser=number, metavar="USD", help="For how many US dollars."),
    ] = None,
    customer: CustomerOption = None,
) -> Output:
    """Show or set automatic refills: below a threshold, credits are bought with the saved card."""
    if enabled is None and threshold is None and amount_ is None:
        answer = session.remote.get("/billing/auto-refill", customer=customer)
    else:
        body = {
            "enabled": enabled is not False,
            "threshold": threshold,
            "amount": amount_,
            "customer": customer,
        }
        answer = session.remote.put(
            "/billing/auto-refill", {name: value for name, value in body.items() if value is not None}
        )
    return Output(answer, lambda out: _show_refill(out, answer))


def _show_refill(out: Console, answer: dict[str, Any]) -> None:
    card = answer["card"]
    pairs: list[tuple[str, object]] = [
        ("automatic refills", "on" if answer["enabled"] else "off"),
        ("below", units(answer["threshold"], answer["unit"])),
        ("buy for", f"${amount(answer['amount'])} ({units(answer['credits'], answer['unit'])})"),
        ("card", None if card is None else f"{card['brand']} …{card['last4']}, until {card['expires']}"),
        ("paused", answer["paused_reason"]),
    ]
    if answer["next_charge"] is not None:
        pairs.append(("next try", moment(answer["next_charge"])))
    out.print(facts(pairs))
    if answer["save_card_url"] is not None:
        out.print(text("No card is saved yet. Save one here:", "yellow"))
        out.print(text(answer["save_card_url"], "bold"))


@billing.command("card")
def card(session: Session, *, customer: CustomerOption = None) -> Output:
    """Get the address of a page on which a card is saved for automatic refills."""
    answer = session.remote.post("/billing/card", {"customer": customer}, repeatable=False)
    return Output(answer, lambda out: out.print(text(answer["url"], "bold")))


@noun.command("list")
def list_(session: Session, *, limit: LimitOption = 20, cursor: CursorOption = None) -> Output:
    """List the payments of all customers, newest first."""
    answer = session.remote.get("/billing/payments", all="true", limit=limit, cursor=cursor)
    columns = (_COLUMNS[0], _COLUMNS[1], Column("customer", "customer"), *_COLUMNS[2:6])
    return Output(answer, lambda out: show_page(out, answer, "payments", columns))


@noun.command("show")
def show(session: Session, payment: PaymentArgument) -> Output:
    """Show one payment: its grant, refunds, disputes, and the provider's own ids."""
    answer = session.remote.get(f"/billing/payments/{segment(payment)}")
    return Output(answer, lambda out: _show_payment(out, answer))


def _show_payment(out: Console, answer: dict[str, Any]) -> None:
    out.print(answer_facts(answer["payment"]))
    out.print(answer_facts(answer))
    if answer["refunds"]:
        columns = (
            Column("date", "date", "time"),
            Column("refund", "id"),
            Column("USD", "amount", "amount"),
            Column("status", "status"),
            Column("reason", "reason", wraps=True),
        )
        out.print(table(answer["refunds"], columns, title="Refunds"))
    if answer["disputes"]:
        out.print(table(answer["disputes"], _DISPUTES, title="Disputes"))


_DISPUTES = (
    Column("dispute", "id"),
    Column("payment", "payment"),
    Column("status", "status"),
    Column("USD", "amount", "amount"),
    Column("withdrawn", "withdrawn", "amount"),
    Column("answer by", "evidence_due_at", "time"),
    Column("reason", "reason", wraps=True),
)


@noun.command("refund")
def refund(
    session: Session,
    payment: PaymentArgument,
    *,
    amount_: Annotated[
        Decimal | None,
        typer.Option("--amount", parser=number, metavar="USD", help="A part; all that is left if absent."),
    ] = None,
    reason: ReasonOption = None,
    key: KeyOption = None,
) -> Output:
    """Give money back and take its credits; what was spent of them is owed."""
    body = {"amount": amount_, "reason": reason}
    answer = session.remote.post(f"/billing/payments/{segment(payment)}/refund", body, key=key)

    def show(out: Console) -> None:
        out.print(text(f"Refunded ${amount(answer['amount'])} of {payment}: {answer['status']}.", "green"))
        out.print(answer_facts(answer))

    return Output(answer, show)


@noun.command("disputes")
def disputes(session: Session) -> Output:
    """List open disputes, those that must be answered soonest first."""
    answer = session.remote.get("/billing/disputes")
    return Output(
        answer, lambda out: out.print(table(answer["disputes"], _DISPUTES, empty="no dispute is open"))
    )


@noun.command("reconcile")
def reconcile(
    session: Session,
    *,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="From when on (RFC 3339); 30 days if absent."),
    ] = None,
) -> Output:
    """Compare payments with the provider's: catch up on what was missed, and tell what differs still.

    Leaves with status 1 when something differs.
    """
    answer = session.remote.post("/billing/reconcile", {"since": since}, timeout_seconds=600)
    columns = (
        Column("about", "subject"),
        Column("what", "what", wraps=True),
        Column("here", "ours", wraps=True),
        Column("there", "theirs", wraps=True),
    )

    def show(out: Console) -> None:
        out.print(
            facts(
                [
                    ("since", moment(answer["since"])),
                    ("payments compared", answer["payments"]),
                    ("events seen", answer["events"]),
                    ("caught up", answer["caught_up"]),
                    ("differences", len(answer["differences"])),
                ]
            )
        )
        if answer["differences"]:
            out.print(table(answer["differences"], columns, title="Differences"))

    return Output(answer, show, status=1 if answer["differences"] else 0)


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
