"""A customer's own figures: balance, statement, usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tallystick.client.exact import Moment, moment
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.pages import Page, page
from tallystick.client.requests import Request, get


@dataclass(frozen=True, kw_only=True)
class OpenGrant(Model):
    """A grant that is not used up, in burn order."""

    id: str
    category: str
    origin: str
    amount: Decimal
    remaining: Decimal
    held: Decimal
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Balance(Model):
    """A wallet now: ``balance = available + held - debt``. ``grants`` are the open ones, first drawn first."""

    customer: str
    unit: str
    balance: Decimal
    available: Decimal
    held: Decimal
    debt: Decimal
    granted: Decimal
    purchased: Decimal
    earned: Decimal
    spent: Decimal
    expired: Decimal
    removed: Decimal
    tier: str | None
    unlimited: bool
    auto_refill: bool
    threshold: Decimal | None
    next_grant_at: datetime | None
    frozen_at: datetime | None
    grants: tuple[OpenGrant, ...]


@dataclass(frozen=True, kw_only=True)
class Entry(Model):
    """One line of a statement: signed amount, and the balance after it."""

    id: str
    date: datetime
    type: str
    category: str | None
    meter: str | None
    unit: str
    amount: Decimal
    balance_after: Decimal
    description: str | None
    reference: str | None
    agent: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Transactions(Page[Entry, Mode]):
    """A page of a statement."""

    noun = "transactions"

    transactions: tuple[Entry, ...]


class Billing(Resource[Mode]):
    """What a customer has, spends and buys."""

    @operation
    def get_balance(self, *, customer: str | None = None, unit: str | None = None) -> Request[Balance]:
        """What a customer has now, and in which grants."""
        return get("/billing/balance", Balance, {"customer": customer, "unit": unit})

    @operation
    def get_transactions(
        self,
        *,
        customer: str | None = None,
        unit: str | None = None,
        type: str | None = None,  # noqa: A002 - the statement's word
        from_: Moment | None = None,
        to: Moment | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[Transactions[Mode]]:
        """The statement, newest first. ``from_`` is included, ``to`` is not."""
        query = {
            "customer": customer,
            "unit": unit,
            "type": type,
            "from": moment(from_),
            "to": moment(to),
            "limit": limit,
            "cursor": cursor,
        }
        return page(self, "/billing/transactions", Transactions[Mode], query)
