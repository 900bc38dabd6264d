"""Reading statements: the entries of one wallet, in pages and summed up by day.

Entries are numbered without gaps and their times never fall, so a moment's place among them is found by
halving: no index by time is needed, and a page is as quick at the end of a long statement as at its start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.times import DAY
from tallystick.store.schema import entries, transactions
from tallystick.store.schema_agents import tasks


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One line of a statement, with what its transaction says."""

    transaction_id: int
    number: int
    sequence: int
    at: int
    type: str
    category: str | None
    meter: str | None
    amount: int
    balance_after: int
    kind: str
    subject_id: int | None
    description: str | None
    metadata: str | None
    agent: str | None


@dataclass(frozen=True, slots=True)
class DayRow:
    """The sum of a day's entries of one type on one meter. Days are told by their first moment, UTC.

    ``counts_at`` is the day that they are counted on: a refund on that of what it gives back.
    """

    day_at: int
    type: str
    meter: str | None
    amount: int
    counts_at: int


def span(
    connection: Connection, wallet_id: int, *, last: int, start: int | None, end: int | None
) -> tuple[int, int]:
    """After which entry a statement begins and with which it ends, from ``start`` on and before ``end`` if given."""
    after, upto = 0, last
    if start is not None:
        after = count_before(connection, wallet_id, last=last, moment=start)
    if end is not None:
        upto = count_before(connection, wallet_id, last=last, moment=end)
    return after, upto


def count_before(connection: Connection, wallet_id: int, *, last: int, moment: int) -> int:
    """How many of a wallet's ``last`` entries were booked before ``moment``."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2 + 1
        at = connection.scalar(
            sa.select(entries.c.at).where(entries.c.wallet_id == wallet_id, entries.c.sequence == middle)
        )
        if at is not None and at < moment:
            low = middle
        else:
            high = middle - 1
    return low


def page(
    connection: Connection, wallet_id: int, *, after: int, upto: int, entry_type: str | None, limit: int
) -> list[EntryRow]:
    """Entries with a sequence above ``after`` and up to ``upto``, newest first."""
    query = _lines(wallet_id, after=after, upto=upto).order_by(entries.c.sequence.desc()).limit(limit)
    if entry_type is not None:
        query = query.where(entries.c.type == entry_type)
    return [EntryRow(*tuple(row)) for row in connection.execute(query)]


def onward(connection: Connection, wallet_id: int, *, after: int, upto: int, limit: int) -> list[EntryRow]:
    """The first entries with a sequence above ``after`` and up to ``upto``, oldest first."""
    query = _lines(wallet_id, after=after, upto=upto).order_by(entries.c.sequence).limit(limit)
    return [EntryRow(*tuple(row)) for row in connection.execute(query)]


def _lines(wallet_id: int, *, after: int, upto: int) -> sa.Select[Any]:
    return (
        sa.select(
            entries.c.transaction_id,
            entries.c.number,
            entries.c.sequence,
            entries.c.at,
            entries.c.type,
            entries.c.category,
            entries.c.meter,
            entries.c.amount,
            entries.c.balance_after,
            transactions.c.kind,
            transactions.c.subject_id,
            transactions.c.description,
            transactions.c.metadata,
            transactions.c.agent,
        )
        .join_from(entries, transactions, transactions.c.id == entries.c.transaction_id)
        .where(entries.c.wallet_id == wallet_id, entries.c.sequence > after, entries.c.sequence <= upto)
    )


def by_day(connection: Connection, wallet_id: int, *, after: int, upto: int) -> list[DayRow]:
    """The entries with a sequence above ``after`` and up to ``upto``, summed by day, type and meter."""
    day_at = _day_of(entries.c.at).label("day_at")
    rows = connection.execute(
        sa.select(day_at, entries.c.type, entries.c.meter, sa.func.sum(entries.c.amount))
        .where(entries.c.wallet_id == wallet_id, entries.c.sequence > after, entries.c.sequence <= upto)
        .group_by(day_at, entries.c.type, entries.c.meter)
    )
    found = [DayRow(int(at), type_, meter, int(amount), int(at)) for at, type_, meter, amount in rows]
    if not any(
        row.type == "refund" for row in found
    ):  # as in most wallets: what follows reads the entries again
        return found
    others = [row for row in found if row.type != "refund"]
    return others + _refunds_by_day(connection, wallet_id, after=after, upto=upto)


def _refunds_by_day(connection: Connection, wallet_id: int, *, after: int, upto: int) -> list[DayRow]:
    """The refunds among some entries, summed by their day and meter and by the day of what they give back."""
    charge = transactions.alias("charge")
    day_at = _day_of(entries.c.at).label("day_at")
    spent_at = sa.func.coalesce(charge.c.at, tasks.c.ended_at, entries.c.at)
    counts_at = _day_of(spent_at).label("counts_at")
    rows = connection.execute(
        sa.select(day_at, counts_at, entries.c.meter, sa.func.sum(entries.c.amount))
        .join_from(entries, transactions, transactions.c.id == entries.c.transaction_id)
        .outerjoin(charge, (charge.c.id == transactions.c.subject_id) & (transactions.c.kind == "refund"))
        .outerjoin(tasks, (tasks.c.id == transactions.c.subject_id) & (transactions.c.kind == "task_refund"))
        .where(entries.c.wallet_id == wallet_id, entries.c.sequence > after, entries.c.sequence <= upto)
        .where(entries.c.type == "refund")
        .group_by(day_at, counts_at, entries.c.meter)
    )
    return [
        DayRow(int(at), "refund", meter, int(amount), int(counted)) for at, counted, meter, amount in rows
    ]


def _day_of(at: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """The first moment of a moment's day, UTC."""
    return at - at % sa.literal_column(str(DAY))
