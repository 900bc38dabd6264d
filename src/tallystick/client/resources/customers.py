"""Customers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tallystick.client.exact import Moment, moment
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Repeat, Request, get, post


@dataclass(frozen=True, kw_only=True)
class Customer(Model):
    """A customer."""

    id: str
    external_id: str | None
    email: str | None
    metadata: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class LotAsOf(Model):
    """A grant as of a moment."""

    grant: str
    category: str
    origin: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    amount: Decimal
    remaining: Decimal
    held: Decimal
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class WalletAsOf(Model):
    """A wallet as of a moment, worked out anew from its transfers. ``frozen_at``: since when, if it still is."""

    unit: str
    balance: Decimal
    available: Decimal
    held: Decimal
    debt: Decimal
    entries: int
    statement_agrees: bool
    frozen_at: datetime | None
    grants: tuple[LotAsOf, ...]


@dataclass(frozen=True, kw_only=True)
class CustomerAsOf(Model):
    """A customer's wallets as of a moment."""

    customer: str
    at: datetime
    wallets: tuple[WalletAsOf, ...]


@dataclass(frozen=True, kw_only=True)
class Freeze(Model):
    """Since when a wallet is frozen, if it is."""

    customer: str
    unit: str
    frozen: bool
    frozen_at: datetime | None


class Customers(Resource[Mode]):
    """Customers by ids of your own. For services and admins."""

    @operation
    def create(
        self, *, external_id: str, email: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Request[Customer]:
        """A customer by an id of your own; a repeat gives the same one."""
        body = {"external_id": external_id, "email": email, "metadata": metadata}
        return post("/customers", Customer, body, repeat=Repeat.SAME)

    @operation
    def get(self, customer: str) -> Request[Customer]:
        """A customer, by its id or external id."""
        return get("/customers/{customer}", Customer, names={"customer": customer})

    @operation
    def explain(self, customer: str, *, at: Moment | None = None) -> Request[CustomerAsOf]:
        """Each wallet as of a moment, worked out from its transfers. Admins."""
        return get(
            "/customers/{customer}/explain", CustomerAsOf, {"at": moment(at)}, names={"customer": customer}
        )

    @operation
    def freeze(self, customer: str, *, unit: str | None = None, reason: str | None = None) -> Request[Freeze]:
        """Let nothing be drawn from a wallet and nothing in it expire."""
        return _freeze("freeze", customer, unit, reason)

    @operation
    def thaw(self, customer: str, *, unit: str | None = None, reason: str | None = None) -> Request[Freeze]:
        """The end of that."""
        return _freeze("thaw", customer, unit, reason)


def _freeze(what: str, customer: str, unit: str | None, reason: str | None) -> Request[Freeze]:
    body = {"unit": unit, "reason": reason}
    path = f"/customers/{{customer}}/{what}"
    return post(path, Freeze, body, names={"customer": customer}, repeat=Repeat.SAME)
