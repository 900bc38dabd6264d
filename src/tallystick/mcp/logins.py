"""The tools with which somebody becomes known, over whatever knows users: the services here, or a server elsewhere."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastmcp import FastMCP
from pydantic import Field

from tallystick.bootstrap import Tally
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.mcp import answers
from tallystick.mcp.callers import Callers, caller_of
from tallystick.mcp.registration import HERE, SETS, put
from tallystick.plain_json import number

Email = Annotated[str, Field(description="The user's e-mail address")]
Password = Annotated[str, Field(description="The user's password, 8 characters or more")]


class Door(Protocol):
    """The way to the users."""

    def register(self, email: str, password: str) -> answers.LoggedIn:
        """Register a user and keep its login. Raises a ``Refusal``."""

    def login(self, email: str, password: str) -> answers.LoggedIn:
        """Log a user in and keep the login. Raises a ``Refusal``."""

    def logout(self) -> None:
        """End the login. Raises a ``Refusal``."""


class ServiceDoor:
    """The users of this process's own database."""

    def __init__(self, tally: Tally, callers: Callers) -> None:
        self._tally = tally
        self._callers = callers

    def register(self, email: str, password: str) -> answers.LoggedIn:
        """Register and keep the login."""
        made = self._tally.identity.register(email, password)
        return self._logged_in(made.token, made.expires_at)

    def login(self, email: str, password: str) -> answers.LoggedIn:
        """Log in and keep it."""
        made = self._tally.identity.login(email, password)
        return self._logged_in(made.token, made.expires_at)

    def logout(self) -> None:
        """End the login, and forget it; for an app that acts for its user, that is to be disconnected."""
        caller, token = caller_of(self._tally, self._callers), self._callers.token() or ""
        if self._tally.connected_apps.is_access_token(token):
            self._tally.connected_apps.end_by_token(token)
        else:
            self._tally.identity.logout(caller, token)
        self._callers.forget()

    def _logged_in(self, token: str, expires_at: int) -> answers.LoggedIn:
        tally, until = self._tally, format_rfc3339(expires_at)
        caller = tally.identity.authenticate(token, tally.context.now())
        me, balance = tally.identity.me(caller), tally.billing.balance(caller)
        email = me.email or ""
        self._callers.keep(token, email=email, expires_at=until)
        kept = self._callers.keeps_logins
        return answers.LoggedIn(
            user=answers.User(
                id=to_text("usr", me.user_id or 0), email=email, customer=to_text("cust", balance.customer_id)
            ),
            session=answers.Session(expires_at=until, token=None if kept else token, saved=kept),
            credits=number(balance.balance),
        )


class Logins:
    """The tools."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def user_register(self, email: Email, password: Password) -> answers.LoggedIn:
        """Register a new user with a wallet of its own and the sign-up credits, and log in as that user."""
        return self._door.register(email, password)

    def user_login(self, email: Email, password: Password) -> answers.LoggedIn:
        """Log in as a user who is registered. Later calls of this server are made as that user."""
        return self._door.login(email, password)

    def user_logout(self) -> answers.LoggedOut:
        """End the login. An API key cannot be logged out: it is revoked instead."""
        self._door.logout()
        return answers.LoggedOut(logged_out=True)


def register_logins(server: FastMCP[Any], door: Door) -> frozenset[str]:
    """Put the login tools on a server; gives their names."""
    logins = Logins(door)
    return put(
        server,
        (logins.user_register, "Register", HERE),
        (logins.user_login, "Log in", HERE),
        (logins.user_logout, "Log out", SETS.model_copy(update={"open_world_hint": False})),
    )
