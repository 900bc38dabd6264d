"""Who asks: the bearer token of an HTTP request, or whoever is logged in on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol

import anyio.to_thread
from fastmcp.server.auth import AccessToken, TokenVerifier
from fastmcp.server.dependencies import get_access_token

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.services.context import Caller

PATH: Final = "/mcp"


class Callers(Protocol):
    """Tells who asks, and keeps a login where there is a place for it."""

    keeps_logins: bool

    def token(self) -> str | None:
        """The session token or API key that this request shows."""

    def keep(self, token: str, *, email: str, expires_at: str) -> None:
        """Use this login from now on."""

    def forget(self) -> None:
        """Use no login any more."""


def caller_of(tally: Tally, callers: Callers) -> Caller:
    """Who asks, as it stands now. Raises ``NotAuthenticated``."""
    token = callers.token()
    if token is None:
        raise errors.NotAuthenticated("log in with user_login, or start the server with TALLY_API_KEY set")
    caller = look_up(tally, token)
    return replace(caller, door="mcp") if caller.is_admin else caller


def resource_of(tally: Tally) -> str:
    """The address of the MCP server, which access tokens of apps are made for (RFC 8707)."""
    return f"{tally.context.public_url}{PATH}"


def look_up(tally: Tally, token: str) -> Caller:
    """Who a session token, an API key or an app's access token acts for. Raises ``NotAuthenticated``."""
    now = tally.context.now()
    if tally.connected_apps.is_access_token(token):
        return tally.connected_apps.authenticate(token, now, resource=resource_of(tally))
    return tally.identity.authenticate(token, now)


async def access_of(tally: Tally, token: str) -> AccessToken | None:
    """The caller as the library wants it, or None for nobody. It has no end here: our clock decided that already."""
    try:
        caller = await anyio.to_thread.run_sync(look_up, tally, token)
    except errors.NotAuthenticated:
        return None
    return AccessToken(token=token, client_id=caller.name, scopes=[caller.role], subject=caller.scope)


class BearerCallers:
    """Each HTTP request shows its own token; nothing is kept between requests."""

    keeps_logins = False

    def token(self) -> str | None:
        """The bearer token of this request."""
        access = get_access_token()
        return None if access is None else access.token

    def keep(self, token: str, *, email: str, expires_at: str) -> None:
        """The client keeps its tokens itself."""

    def forget(self) -> None:
        """As ``keep``."""


class Bearer(TokenVerifier):
    """Lets in whoever shows a valid session token or API key, looked up each time: a revocation holds at once."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(base_url=tally.context.public_url)
        self._tally = tally

    async def verify_token(self, token: str) -> AccessToken | None:
        """The caller as the library wants it, or None for nobody."""
        return await access_of(self._tally, token)
