"""Reading what explains a figure: a charge with all its lines, and a wallet's lots as of a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.words import PENDING, POST_PENDING, POSTED, REVENUE
from tallystick.store.schema import accounts, budgets, entries, holds, transactions, transfers, wallets
from tallystick.store.seals import seal_of

_TRANSACTION: Final = (
    transactions.c.id,
    transactions.c.kind,
    transactions.c.at,
    transactions.c.customer_id,
    transactions.c.caller,
    transactions.c.agent,
    transactions.c.idempotency,
    transactions.c.idempotency_key,
    transactions.c.request_digest,
    transactions.c.unit,
    transactions.c.amount,
    transactions.c.meter,
    transactions.c.category,
    transactions.c.quantity,
    transactions.c.economy,
    transactions.c.subject_id,
    transactions.c.description,
    transactions.c.metadata,
    transactions.c.result,
    transactions.c.seal,
)


class Posted(NamedTuple):
    """A row of the journal, its columns in the order in which the seal at the end was made over them."""

    id: int
    kind: str
    at: int
    customer_id: int
    caller: str | None
    agent: str | None
    idempotency: str | None
    idempotency_key: str | None
    request_digest: str | None
    unit: str | None
    amount: int | None
    meter: str | None
    category: str | None
    quantity: int | None
    economy: str | None
    subject_id: int | None
    description: str | None
    metadata: str | None
    result: str | None
    seal: str


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of a transaction, with its wallet's unit."""

    unit: str
    type: str
    category: str | None
    meter: str | None
    amount: int
    balance_after: int


@dataclass(frozen=True, slots=True)
class Leg:
    """What one lot gave to a charge, or got back by a refund: a grant id, its unit, micro-units."""

    transaction_id: int
    grant_id: int
    unit: str
    amount: int


@dataclass(frozen=True, slots=True)
class Move:
    """What a transaction took out of a customer's lot or debt (below zero) or put into it, in micro-units."""

    account_id: int
    kind: str
    unit: str
    amount: int


def transaction(connection: Connection, number: int, *, kinds: Sequence[str] | None = None) -> Posted | None:
    """A transaction, of one of these kinds if they are given."""
    query = sa.select(*_TRANSACTION).where(transactions.c.id == number)
    if kinds is not None:
        query = query.where(transactions.c.kind.in_(kinds))
    row = connection.execute(query).first()
    return None if row is None else Posted._make(row)


def seal_holds(connection: Connection, found: Posted) -> bool:
    """Whether a charge or capture and all its lines are as they were written."""
    moved = connection.execute(
        sa.select(transfers).where(transfers.c.transaction_id == found.id).order_by(transfers.c.number)
    ).all()
    booked = connection.execute(
        sa.select(entries).where(entries.c.transaction_id == found.id).order_by(entries.c.number)
    ).all()
    # The last part is the grants and holds that a transaction made: neither of these two makes any.
    content = (found[:-1], [tuple(row) for row in moved], [tuple(row) for row in booked], ())
    return found.seal == seal_of(content)


def lines(connection: Connection, number: int, *, customer_id: int | None = None) -> list[Line]:
    """A transaction's entries in the order of booking; with ``customer_id`` those of one of its customers."""
    query = (
        sa.select(
            wallets.c.unit,
            entries.c.type,
            entries.c.category,
            entries.c.meter,
            entries.c.amount,
            entries.c.balance_after,
        )
        .join_from(entries, wallets, wallets.c.id == entries.c.wallet_id)
        .where(entries.c.transaction_id == number)
        .order_by(entries.c.number)
    )
    if customer_id is not None:
        query = query.where(wallets.c.customer_id == customer_id)
    return [Line(*row) for row in connection.execute(query)]


def moves(connection: Connection, number: int, customer_id: int) -> list[Move]:
    """What a transaction moved out of and into a customer's lots and debt, in the order of booking."""
    found = []
    for side, sign in ((transfers.c.debit_id, -1), (transfers.c.credit_id, 1)):
        rows = connection.execute(
            sa.select(transfers.c.number, accounts.c.id, accounts.c.kind, accounts.c.unit, transfers.c.amount)
            .join_from(transfers, accounts, accounts.c.id == side)
            .where(
                transfers.c.transaction_id == number,
                transfers.c.phase.in_((POSTED, POST_PENDING)),
                accounts.c.customer_id == customer_id,
            )
        )
        found += [(row.number, Move(row.id, row.kind, row.unit, sign * int(row.amount))) for row in rows]
    return [move for _, move in sorted(found, key=lambda each: (each[0], each[1].amount))]


def draws(connection: Connection, number: int) -> list[Leg]:
    """What each lot gave to a charge or capture, in the order of the draw."""
    revenue = accounts.alias("revenue")
    rows = connection.execute(
        sa.select(transfers.c.transaction_id, transfers.c.debit_id, revenue.c.unit, transfers.c.amount)
        .join_from(transfers, revenue, revenue.c.id == transfers.c.credit_id)
        .where(
            transfers.c.transaction_id == number,
            transfers.c.phase.in_((POSTED, POST_PENDING)),
            revenue.c.code == REVENUE,
        )
        .order_by(transfers.c.number)
    )
    return [Leg(*row) for row in rows]


def refunds(
    connection: Connection, charges: Sequence[int] | sa.Select[tuple[int]]
) -> tuple[list[Posted], list[Leg]]:
    """The refunds of charges, oldest first, and what each lot got back."""
    found = connection.execute(
        sa.select(*_TRANSACTION)
        .where(transactions.c.subject_id.in_(charges), transactions.c.kind == "refund")
        .order_by(transactions.c.id)
    )
    made = [Posted._make(row) for row in found]
    revenue = accounts.alias("revenue")
    rows = connection.execute(
        sa.select(transfers.c.transaction_id, transfers.c.credit_id, revenue.c.unit, transfers.c.amount)
        .join_from(transfers, revenue, revenue.c.id == transfers.c.debit_id)
        .where(transfers.c.transaction_id.in_([row.id for row in made]), revenue.c.code == REVENUE)
        .order_by(transfers.c.transaction_id, transfers.c.number)
    )
    return made, [Leg(*row) for row in rows]


def budget_subjects(connection: Connection, numbers: Sequence[int]) -> dict[int, tuple[str, Any]]:
    """The level and subject of some budgets; one that was removed since is not there."""
    rows = connection.execute(
        sa.select(
            budgets.c.id, budgets.c.level, budgets.c.customer_id, budgets.c.key_id, budgets.c.agent
        ).where(budgets.c.id.in_(numbers))
    )
    return {
        row.id: (row.level, {"customer": row.customer_id, "agent": row.agent, "key": row.key_id}[row.level])
        for row in rows
    }


def balance_at(connection: Connection, wallet_id: int, sequence: int) -> int:
    """The balance after an entry, or 0 before the first."""
    found: int | None = connection.scalar(
        sa.select(entries.c.balance_after).where(
            entries.c.wallet_id == wallet_id, entries.c.sequence == sequence
        )
    )
    return found or 0


def posted_until(connection: Connection, wallet_id: int, sequence: int) -> dict[int, int]:
    """What the transactions behind a wallet's first entries moved: of each account, credits less debits."""
    behind = sa.select(entries.c.transaction_id).where(
        entries.c.wallet_id == wallet_id, entries.c.sequence <= sequence
    )
    rows = connection.execute(
        sa.select(transfers.c.debit_id, transfers.c.credit_id, sa.func.sum(transfers.c.amount))
        .where(transfers.c.transaction_id.in_(behind), transfers.c.phase.in_((POSTED, POST_PENDING)))
        .group_by(transfers.c.debit_id, transfers.c.credit_id)
    )
    net: dict[int, int] = {}
    for debit_id, credit_id, amount in rows:
        net[debit_id] = net.get(debit_id, 0) - int(amount)
        net[credit_id] = net.get(credit_id, 0) + int(amount)
    return net


def held_at(connection: Connection, customer_id: int, moment: int) -> dict[int, int]:
    """What the holds that were open at a moment had reserved of each lot."""
    rows = connection.execute(
        sa.select(transfers.c.debit_id, sa.func.sum(transfers.c.amount))
        .join_from(holds, transactions, transactions.c.id == holds.c.id)
        .join(transfers, transfers.c.transaction_id == holds.c.id)
        .where(
            holds.c.customer_id == customer_id,
            transactions.c.at <= moment,
            sa.or_(holds.c.resolved_at.is_(None), holds.c.resolved_at > moment),
            transfers.c.phase == PENDING,
        )
        .group_by(transfers.c.debit_id)
    )
    return {lot_id: int(amount) for lot_id, amount in rows}
