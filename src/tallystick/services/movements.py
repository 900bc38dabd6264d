"""What one transaction did to a customer: its lines of the statement, and which grants gave or got what.

A charge has more to say of itself (`services.explain`): its working, its budgets, its refunds.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.core import errors
from tallystick.core.ids import from_text
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.explain import CHARGES
from tallystick.store import explanations, grants
from tallystick.store.explanations import Line
from tallystick.store.grants import GrantRow


@dataclass(frozen=True, slots=True)
class Movement:
    """What a grant gave (``amount`` below zero) or got, in micro-units. ``grant`` None: it is what the customer owes."""

    unit: str
    amount: int
    grant: GrantRow | None


@dataclass(frozen=True, slots=True)
class TransactionView:
    """A transaction as one of its customers sees it.

    ``charge_id`` is the charge that it is, or that it gives back; ``is_charge`` tells which.
    """

    id: int
    kind: str
    at: int
    description: str | None
    agent: str | None
    lines: tuple[Line, ...]
    movements: tuple[Movement, ...]
    charge_id: int | None
    is_charge: bool


class Movements:
    """Explain any transaction of a statement."""

    def __init__(self, context: Context, customers: Customers) -> None:
        self._context = context
        self._customers = customers

    def get(self, caller: Caller, transaction_id: str, *, customer: str | None = None) -> TransactionView:
        """A transaction that is on the customer's statement. Raises ``NotFound`` for any other."""
        customer_id = self._customers.resolve(caller, customer)
        number = from_text("txn", transaction_id)
        if number is None:
            raise errors.NotFound("transaction", transaction_id)
        with self._context.database.read() as connection:
            found = explanations.transaction(connection, number)
            lines = explanations.lines(connection, number, customer_id=customer_id)
            if found is None or not lines:
                raise errors.NotFound("transaction", transaction_id)
            moves = explanations.moves(connection, number, customer_id)
            lots = grants.by_ids(connection, [each.account_id for each in moves])
        is_charge = found.kind in CHARGES
        return TransactionView(
            id=number,
            kind=found.kind,
            at=found.at,
            description=found.description,
            agent=found.agent,
            lines=tuple(lines),
            movements=tuple(Movement(each.unit, each.amount, lots.get(each.account_id)) for each in moves),
            charge_id=number if is_charge else found.subject_id if found.kind == "refund" else None,
            is_charge=is_charge,
        )
