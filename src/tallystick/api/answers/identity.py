"""Answers about users, sessions, API keys, budgets and customers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tallystick.api.answers.billing import BalanceAnswer
from tallystick.api.answers.common import Name, Number, Time
from tallystick.api.rendering import identifier, moment, number
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.services.budgets import BudgetInfo
from tallystick.services.customers import Customer
from tallystick.services.identity import Me, Registration, Session
from tallystick.services.keys import KeyInfo, NewKey

Role = Literal["user", "service", "admin"]


@dataclass(slots=True)
class UserLine:
    """A user."""

    id: Name
    email: str
    role: str


@dataclass(slots=True)
class CustomerId:
    """A customer by its id."""

    id: Name


@dataclass(slots=True)
class RegisterAnswer:
    """A new user, logged in, with what the customer begins with."""

    user: UserLine
    customer: CustomerId
    token: str
    expires_at: Time
    balance: BalanceAnswer


@dataclass(slots=True)
class LoginAnswer:
    """A session. The token is shown once."""

    token: str
    expires_at: Time
    user: Name
    customer: Name


@dataclass(slots=True)
class MeAnswer:
    """Who the caller is."""

    role: str
    name: str
    user: Name | None
    email: str | None
    customer: Name | None
    key: Name | None


@dataclass(slots=True)
class NewKeyAnswer:
    """A new API key. ``key`` is shown this once."""

    id: Name
    key: str
    prefix: str
    name: str
    role: str
    customer: Name | None
    expires_at: Time | None
    created_at: Time


@dataclass(slots=True)
class KeyLine:
    """An API key in a list, recognised by its ``prefix``."""

    id: Name
    prefix: str
    name: str
    role: str
    customer: Name | None
    expires_at: Time | None
    revoked_at: Time | None
    created_at: Time


@dataclass(slots=True)
class BudgetAnswer:
    """A budget and what its current period has spent. ``source`` is its name in refusals."""

    id: Name
    level: str
    subject: str
    source: str
    customer: Name | None
    unit: str
    amount: Number
    per: str
    spent: Number
    resets_at: Time
    created_at: Time


@dataclass(slots=True)
class CustomerAnswer:
    """A customer."""

    id: Name
    external_id: str | None
    email: str | None
    metadata: dict[str, Any]
    created_at: Time


def registered(made: Registration, balance: BalanceAnswer) -> RegisterAnswer:
    """A new user."""
    return RegisterAnswer(
        user=UserLine(to_text("usr", made.user_id), made.email, made.role),
        customer=CustomerId(to_text("cust", made.customer_id)),
        token=made.token,
        expires_at=format_rfc3339(made.expires_at),
        balance=balance,
    )


def session(made: Session) -> LoginAnswer:
    """A login."""
    return LoginAnswer(
        made.token,
        format_rfc3339(made.expires_at),
        to_text("usr", made.user_id),
        to_text("cust", made.customer_id),
    )


def me(found: Me) -> MeAnswer:
    """The caller."""
    return MeAnswer(
        role=found.role,
        name=found.name,
        user=identifier("usr", found.user_id),
        email=found.email,
        customer=identifier("cust", found.customer_id),
        key=identifier("key", found.key_id),
    )


def new_key(made: NewKey) -> NewKeyAnswer:
    """A new key."""
    return NewKeyAnswer(
        id=to_text("key", made.id),
        key=made.key,
        prefix=made.prefix,
        name=made.name,
        role=made.role,
        customer=identifier("cust", made.customer_id),
        expires_at=moment(made.expires_at),
        created_at=format_rfc3339(made.created_at),
    )


def key_line(info: KeyInfo) -> KeyLine:
    """A key in a list."""
    return KeyLine(
        id=to_text("key", info.id),
        prefix=info.prefix,
        name=info.name,
        role=info.role,
        customer=identifier("cust", info.customer_id),
        expires_at=moment(info.expires_at),
        revoked_at=moment(info.revoked_at),
        created_at=format_rfc3339(info.created_at),
    )


def budget(info: BudgetInfo) -> BudgetAnswer:
    """A budget."""
    return BudgetAnswer(
        id=to_text("budget", info.id),
        level=info.level,
        subject=info.subject,
        source=info.source,
        customer=identifier("cust", info.customer_id),
        unit=info.unit,
        amount=number(info.amount),
        per=info.per,
        spent=number(info.spent),
        resets_at=format_rfc3339(info.resets_at),
        created_at=format_rfc3339(info.created_at),
    )


def customer(found: Customer) -> CustomerAnswer:
    """A customer."""
    return CustomerAnswer(
        id=to_text("cust", found.id),
        external_id=found.external_id,
        email=found.email,
        metadata=dict(found.metadata),
        created_at=format_rfc3339(found.created_at),
    )
