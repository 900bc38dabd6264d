"""API keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tallystick.client.exact import Moment, moment, number
from tallystick.client.inputs import KeyBudget
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.pages import Page, page
from tallystick.client.requests import Repeat, Request, delete, given, post


@dataclass(frozen=True, kw_only=True)
class Key(Model):
    """An API key in a list, recognised by its ``prefix``."""

    id: str
    prefix: str
    name: str
    role: str
    customer: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class KeyPage(Page[Key, Mode]):
    """A page of API keys."""

    noun = "keys"

    keys: tuple[Key, ...]


@dataclass(frozen=True, kw_only=True)
class NewKey(Model):
    """A new API key. ``key`` is shown this once."""

    id: str
    key: str
    prefix: str
    name: str
    role: str
    customer: str | None
    expires_at: datetime | None
    created_at: datetime


class Keys(Resource[Mode]):
    """Make, list and revoke keys."""

    @operation
    def create(
        self,
        *,
        name: str,
        role: Literal["user", "service", "admin"] | None = None,
        customer: str | None = None,
        budget: KeyBudget | None = None,
        expires_at: Moment | None = None,
    ) -> Request[NewKey]:
        """Make a key, of the role ``user`` unless another is named. ``key`` is shown this once."""
        limit = None
        if budget is not None:
            limit = given({"amount": number(budget.amount), "per": budget.per, "unit": budget.unit})
        body = {
            "name": name,
            "role": role,
            "customer": customer,
            "budget": limit,
            "expires_at": moment(expires_at),
        }
        return post("/keys", NewKey, body, repeat=Repeat.TWICE)

    @operation
    def list(
        self, *, customer: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Request[KeyPage[Mode]]:
        """Keys, newest first, revoked ones too. An admin who names nobody sees every key."""
        return page(self, "/keys", KeyPage[Mode], {"customer": customer, "limit": limit, "cursor": cursor})

    @operation
    def revoke(self, key: str) -> Request[None]:
        """From now on nobody gets in with this key. It is named by its id."""
        return delete("/keys/{key_id}", names={"key_id": key})
