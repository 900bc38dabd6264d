"""Budgets: spending limits of a customer, an agent or a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from tallystick.client.exact import Number, number
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Request, delete, get, write


@dataclass(frozen=True, kw_only=True)
class Budget(Model):
    """A budget and what its current period has spent. ``source`` is its name in refusals."""

    id: str
    level: str
    subject: str
    source: str
    customer: str | None
    unit: str
    amount: Decimal
    per: str
    spent: Decimal
    resets_at: datetime
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class BudgetList(Model):
    """All budgets: a customer has only so many."""

    budgets: tuple[Budget, ...]


class Budgets(Resource[Mode]):
    """Set and lift budgets."""

    @operation
    def set(
        self,
        *,
        level: Literal["customer", "agent", "key"],
        amount: Number,
        per: Literal["day", "month"],
        subject: str | None = None,
        customer: str | None = None,
        unit: str | None = None,
    ) -> Request[Budget]:
        """Set a budget, or change its amount. ``subject`` is an agent's name or a key's id."""
        body = {
            "level": level,
            "subject": subject,
            "customer": customer,
            "unit": unit,
            "amount": number(amount),
            "per": per,
        }
        return write("PUT", "/budgets", Budget, body)

    @operation
    def list(self, *, customer: str | None = None, key: str | None = None) -> Request[BudgetList]:
        """Budgets, with what this period has spent."""
        return get("/budgets", BudgetList, {"customer": customer, "key": key})

    @operation
    def remove(self, budget: str) -> Request[None]:
        """Lift a budget."""
        return delete("/budgets/{budget_id}", names={"budget_id": budget})
