"""Budgets as they are set; what a period has spent is counted by the ledger.

A subject has at most one budget per unit and kind of period: the writer locks the subject (a customer's
wallets, or a key) before it looks.
"""

from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.limits import period_start
from tallystick.store.schema import budget_counters, budgets


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A limit of ``amount`` micro-units per UTC ``day`` or ``month``; a service's key has no customer."""

    id: int
    customer_id: int | None
    level: str
    key_id: int | None
    agent: str | None
    unit: str
    amount: int
    per: str
    created_at: int
    by_operator: bool = False  # set by a service or an admin: its customer cannot change it


_COLUMNS = (
    budgets.c.id,
    budgets.c.customer_id,
    budgets.c.level,
    budgets.c.key_id,
    budgets.c.agent,
    budgets.c.unit,
    budgets.c.amount,
    budgets.c.per,
    budgets.c.created_at,
    budgets.c.by_operator,
)


def put(connection: Connection, row: BudgetRow) -> BudgetRow:
    """Set a budget: one that is there keeps its id, and what it counted. The caller locked the subject."""
    found = connection.execute(sa.select(*_COLUMNS).where(_same(row))).first()
    if found is None:
        connection.execute(
            budgets.insert().values(
                id=row.id,
                customer_id=row.customer_id,
                level=row.level,
                key_id=row.key_id,
                agent=row.agent,
                unit=row.unit,
                amount=row.amount,
                per=row.per,
                created_at=row.created_at,
                by_operator=row.by_operator,
            )
        )
        return row
    change = budgets.update().where(budgets.c.id == found.id)
    connection.execute(change.values(amount=row.amount, by_operator=row.by_operator))
    return replace(BudgetRow(*tuple(found)), amount=row.amount, by_operator=row.by_operator)


def same_as(connection: Connection, row: BudgetRow) -> BudgetRow | None:
    """The budget that is set for this subject, unit and period."""
    found = connection.execute(sa.select(*_COLUMNS).where(_same(row))).first()
    return None if found is None else BudgetRow(*tuple(found))


def by_id(connection: Connection, number: int) -> BudgetRow | None:
    """A budget by its id."""
    row = connection.execute(sa.select(*_COLUMNS).where(budgets.c.id == number)).first()
    return None if row is None else BudgetRow(*tuple(row))


def remove(connection: Connection, row: BudgetRow) -> bool:
    """Delete the budget of this subject, unit and period, if it is there; its counters stay for the audit."""
    return connection.execute(budgets.delete().where(_same(row))).rowcount > 0


def _same(row: BudgetRow) -> sa.ColumnElement[bool]:
    if row.level == "key":
        subject = budgets.c.key_id == row.key_id
    else:
        subject = sa.and_(
            budgets.c.customer_id == row.customer_id, budgets.c.agent.is_not_distinct_from(row.agent)
        )
    return sa.and_(
        budgets.c.level == row.level, subject, budgets.c.unit == row.unit, budgets.c.per == row.per
    )


def number_of(connection: Connection, *, customer_id: int) -> int:
    """How many budgets every charge of a customer has to read: its own, and those of all its agents."""
    conditions = budgets.c.customer_id == customer_id, budgets.c.level != "key"
    query = sa.select(sa.func.count()).select_from(budgets).where(*conditions)
    return int(connection.scalar(query) or 0)


def listed(
    connection: Connection, *, now: int, customer_id: int | None = None, key_id: int | None = None
) -> list[tuple[BudgetRow, int]]:
    """The budgets of a key, or of a customer, its agents and keys, oldest first, with what each has spent."""
    condition = budgets.c.customer_id == customer_id if key_id is None else budgets.c.key_id == key_id
    period = sa.case(
        (budgets.c.per == "day", sa.literal(period_start("day", now), sa.BigInteger)),
        else_=sa.literal(period_start("month", now), sa.BigInteger),
    )
    counted = sa.and_(budget_counters.c.budget_id == budgets.c.id, budget_counters.c.period_at == period)
    query = (
        sa.select(*_COLUMNS, sa.func.coalesce(budget_counters.c.spent, 0))
        .join_from(budgets, budget_counters, counted, isouter=True)
        .where(condition)
        .order_by(budgets.c.id)
    )
    return [(BudgetRow(*tuple(row)[:-1]), int(row[-1])) for row in connection.execute(query)]


def spent_of(connection: Connection, number: int, *, period_at: int) -> int:
    """What one period of a budget has spent."""
    counted = budget_counters.c.budget_id == number, budget_counters.c.period_at == period_at
    return int(connection.scalar(sa.select(budget_counters.c.spent).where(*counted)) or 0)
