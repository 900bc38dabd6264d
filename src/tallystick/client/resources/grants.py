"""Grants: credits with terms of their own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from tallystick.client.exact import Moment, Number, moment, number
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.pages import Page, page
from tallystick.client.requests import Request, post


@dataclass(frozen=True, kw_only=True)
class Grant(Model):
    """A grant in a list. ``remaining`` includes what is ``held``."""

    id: str
    customer: str
    status: str
    category: str
    origin: str
    unit: str
    amount: Decimal
    remaining: Decimal
    held: Decimal
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    reason: str | None
    reference: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class GrantPage(Page[Grant, Mode]):
    """A page of grants."""

    noun = "grants"

    grants: tuple[Grant, ...]


@dataclass(frozen=True, kw_only=True)
class NewGrant(Model):
    """A grant as it was made, or what was taken back of it; ``balance`` and ``available`` are those afterwards."""

    id: str
    customer: str
    amount: Decimal
    unit: str
    category: str
    origin: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    reason: str | None
    transaction: str
    balance: Decimal
    available: Decimal
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Clawback(Model):
    """What was taken back of a grant: ``removed`` from what was left of it, ``owed`` as new debt."""

    id: str
    grant: str
    customer: str
    amount: Decimal
    unit: str
    removed: Decimal
    owed: Decimal
    debt: Decimal
    balance: Decimal
    available: Decimal
    created_at: datetime


class Grants(Resource[Mode]):
    """Give credits, and take them back. For services and admins, but for a customer's own list."""

    @operation
    def create(
        self,
        *,
        customer: str,
        amount: Number,
        category: str,
        unit: str | None = None,
        origin: Literal["paid", "free"] | None = None,
        expires_at: Moment | None = None,
        effective_at: Moment | None = None,
        priority: int | None = None,
        reason: str | None = None,
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Request[NewGrant]:
        """Give credits."""
        body = {
            "customer": customer,
            "amount": number(amount),
            "category": category,
            "unit": unit,
            "origin": origin,
            "expires_at": moment(expires_at),
            "effective_at": moment(effective_at),
            "priority": priority,
            "reason": reason,
            "reference": reference,
        }
        return post("/grants", NewGrant, body, key=idempotency_key)

    @operation
    def list(
        self,
        *,
        customer: str | None = None,
        unit: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[GrantPage[Mode]]:
        """Grants, newest first: scheduled, active, used, expired and voided ones."""
        query = {"customer": customer, "unit": unit, "limit": limit, "cursor": cursor}
        return page(self, "/grants", GrantPage[Mode], query)

    @operation
    def void(
        self, grant: str, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Request[NewGrant]:
        """Take back what is left of a grant made by mistake."""
        names, body = {"grant_id": grant}, {"reason": reason}
        return post("/grants/{grant_id}/void", NewGrant, body, names=names, key=idempotency_key)

    @operation
    def claw_back(
        self, grant: str, *, amount: Number, reason: str | None = None, idempotency_key: str | None = None
    ) -> Request[Clawback]:
        """Take credits back; what was spent already becomes debt."""
        names, body = {"grant_id": grant}, {"amount": number(amount), "reason": reason}
        return post("/grants/{grant_id}/clawback", Clawback, body, names=names, key=idempotency_key)
