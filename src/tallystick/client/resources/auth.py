"""Users and their sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Repeat, Request, get, post, remove
from tallystick.client.resources.billing import Balance


@dataclass(frozen=True, kw_only=True)
class User(Model):
    """A user."""

    id: str
    email: str
    role: str


@dataclass(frozen=True, kw_only=True)
class OwnCustomer(Model):
    """A customer by its id."""

    id: str


@dataclass(frozen=True, kw_only=True)
class Registration(Model):
    """A new user, logged in, with what the customer begins with."""

    user: User
    customer: OwnCustomer
    token: str
    expires_at: datetime
    balance: Balance


@dataclass(frozen=True, kw_only=True)
class Login(Model):
    """A session. The token is shown once."""

    token: str
    expires_at: datetime
    user: str
    customer: str


@dataclass(frozen=True, kw_only=True)
class Me(Model):
    """Who the caller is."""

    role: str
    name: str
    user: str | None
    email: str | None
    customer: str | None
    key: str | None


class Auth(Resource[Mode]):
    """Register, log in and out. What gives a ``token`` leaves this client as it is: make another with ``with_key``."""

    @operation
    def register(
        self, *, email: str, password: str, referral_code: str | None = None
    ) -> Request[Registration]:
        """A new user with a customer of its own, logged in."""
        body = {"email": email, "password": password, "referral_code": referral_code}
        return post("/auth/register", Registration, body, repeat=Repeat.TWICE)

    @operation
    def login(self, *, email: str, password: str) -> Request[Login]:
        """A session for 30 days."""
        return post("/auth/login", Login, {"email": email, "password": password}, repeat=Repeat.SAME)

    @operation
    def logout(self) -> Request[None]:
        """End the session whose token this client shows."""
        return remove("POST", "/auth/logout", gone=401)

    @operation
    def me(self) -> Request[Me]:
        """Who this client is."""
        return get("/auth/me", Me)
