"""Budgets: how much a customer, one of its agents or a key may spend in one unit per UTC day or month.

Budgets nest, and every one of them must have room. One counts from the moment it is set; changing its amount
keeps what it has counted, and a subject may have one per day and one per month. The ledger enforces them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import from_text, to_text
from tallystick.core.limits import Budget, period_start
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.keys import budget_terms, may_manage, refuse_limited
from tallystick.services.pricing import Number
from tallystick.services.requests import check_text
from tallystick.store import budgets as store
from tallystick.store import keys
from tallystick.store.budgets import BudgetRow
from tallystick.store.results import subject_text

# Each charge of a customer reads all of these, so that a crowd of them would slow everybody down.
MAX_BUDGETS: Final = 200


@dataclass(frozen=True, slots=True)
class BudgetInfo:
    """A budget with what its current period has spent, in micro-units; ``source`` is its name in refusals."""

    id: int
    customer_id: int | None
    level: str
    subject: str
    unit: str
    amount: int
    per: str
    spent: int
    resets_at: int
    source: str
    created_at: int


class Budgets:
    """Set, list and remove spending limits."""

    def __init__(self, context: Context, customers: Customers) -> None:
        self._context = context
        self._customers = customers

    def put(
        self,
        caller: Caller,
        *,
        level: str,
        subject: str | None = None,
        customer: str | None = None,
        unit: str | None = None,
        amount: Number,
        per: str,
    ) -> BudgetInfo:
        """Set a budget, or change its amount; ``subject`` is an agent's name or a key's id, or nothing.

        Users set budgets for their own customer, its agents and its keys, services and admins for any; a key
        with a budget sets none.
        """
        terms = budget_terms(self._context, amount=amount, unit=unit, per=per)
        wanted = self._row(caller, level, subject, customer, terms)

        def work(connection: Connection) -> BudgetInfo:
            self._lock(connection, wanted)
            require_own(caller, store.same_as(connection, wanted))
            now = self._context.now()
            row = store.put(connection, replace(wanted, id=self._context.new_id(), created_at=now))
            owner = row.customer_id
            if owner is not None and store.number_of(connection, customer_id=owner) > MAX_BUDGETS:
                raise errors.Conflict(
                    f"a customer has at most {MAX_BUDGETS} budgets, those of its agents included"
                )
            spent = store.spent_of(connection, row.id, period_at=period_start(row.per, now))
            return _info(row, spent, now)

        return self._context.database.transact(work)

    def list(
        self, caller: Caller, *, customer: str | None = None, key: str | None = None
    ) -> list[BudgetInfo]:
        """The budgets of a customer, its agents and its keys, or those of one key, oldest first."""
        context = self._context
        found = None if key is None else self._key(caller, key)
        owner = self._customers.resolve(caller, customer) if found is None else found.customer_id

        def work(connection: Connection) -> list[BudgetInfo]:
            now = context.now()
            if owner is not None:
                # Holds that have ended gave back what they had counted.
                context.ledger.settle(connection, [owner], now=now)
            key_id = None if found is None else found.id
            rows = store.listed(connection, now=now, customer_id=owner, key_id=key_id)
            return [_info(row, spent, now) for row, spent in rows]

        return context.database.transact(work)

    def remove(
        self,
        caller: Caller,
        *,
        level: str,
        subject: str | None = None,
        customer: str | None = None,
        unit: str | None = None,
        per: str,
    ) -> None:
        """Lift a budget. Raises ``NotFound`` when there is none."""
        terms = budget_terms(self._context, amount=0, unit=unit, per=per)
        wanted = self._row(caller, level, subject, customer, terms)

        def work(connection: Connection) -> None:
            self._lock(connection, wanted)
            require_own(caller, store.same_as(connection, wanted))
            if not store.remove(connection, wanted):
                raise errors.NotFound("budget", f"{_of(wanted, 0, 0).source} per {per}")

        self._context.database.transact(work)

    def remove_by_id(self, caller: Caller, budget_id: str) -> None:
        """Lift a budget named by its id. One that the caller may not manage is not found."""
        refuse_limited(caller)
        number = from_text("budget", budget_id)

        def work(connection: Connection) -> None:
            row = None if number is None else store.by_id(connection, number)
            if row is None or not may_manage(caller, row.customer_id):
                raise errors.NotFound("budget", budget_id)
            require_own(caller, row)
            self._lock(connection, row)
            store.remove(connection, row)

        self._context.database.transact(work)

    def _row(
        self,
        caller: Caller,
        level: str,
        subject: str | None,
        customer: str | None,
        terms: tuple[int, str, str],
    ) -> BudgetRow:
        """The budget that is meant, if the caller may manage it."""
        refuse_limited(caller)
        amount, unit, per = terms
        if level == "key":
            key = self._key(caller, subject or "")
            if not may_manage(caller, key.customer_id):
                raise errors.NotAllowed("an admin sets the budgets of a service")
            return BudgetRow(0, key.customer_id, level, key.id, None, unit, amount, per, 0, caller.is_service)
        if level not in {"customer", "agent"}:
            raise errors.ValidationFailed([("level", "expected customer, agent or key")])
        owner = self._customers.resolve(caller, customer)
        agent = check_text(subject, field="subject", most=200) if level == "agent" else None
        if level == "agent" and agent is None:
            raise errors.ValidationFailed([("subject", "expected the name of an agent")])
        if level == "customer" and subject not in {None, to_text("cust", owner)}:
            raise errors.ValidationFailed([("subject", "expected none: the customer is named in customer")])
        return BudgetRow(0, owner, level, None, agent, unit, amount, per, 0, caller.is_service)

    def _key(self, caller: Caller, text: str) -> keys.KeyRow:
        number = from_text("key", text)
        with self._context.database.read() as connection:
            row = None if number is None else keys.by_id(connection, number)
        if row is None or not (may_manage(caller, row.customer_id) or row.id == caller.key_id):
            raise errors.NotFound("key", text)
        return row

    def _lock(self, connection: Connection, row: BudgetRow) -> None:
        """Let no charge and no other change of this subject's budgets happen at the same time."""
        if row.key_id is not None:
            keys.lock(connection, row.key_id)
        else:
            assert row.customer_id is not None
            self._context.ledger.mark_budgets(connection, row.customer_id)


def require_own(caller: Caller, row: BudgetRow | None) -> None:
    """A customer changes budgets of its own making; what an operator set stays as it is."""
    if row is not None and row.by_operator and not caller.is_service:
        raise errors.NotAllowed("an operator set this budget: ask them to change it")


def _of(row: BudgetRow, spent: int, now: int) -> Budget:
    """The budget as the ledger enforces it."""
    subject = {"customer": row.customer_id, "agent": row.agent, "key": row.key_id}[row.level]
    return Budget(
        id=row.id,
        level=row.level,
        subject=subject_text(row.level, subject),
        unit=row.unit,
        limit=row.amount,
        per=row.per,
        period_at=period_start(row.per, now),
        spent=spent,
    )


def _info(row: BudgetRow, spent: int, now: int) -> BudgetInfo:
    budget = _of(row, spent, now)
    return BudgetInfo(
        id=row.id,
        customer_id=row.customer_id,
        level=row.level,
        subject=budget.subject,
        unit=row.unit,
        amount=row.amount,
        per=row.per,
        spent=spent,
        resets_at=budget.resets_at(),
        source=budget.source,
        created_at=row.created_at,
    )
