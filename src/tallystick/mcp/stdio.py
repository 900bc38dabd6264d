"""The MCP server for one person or agent on this machine: over the services themselves, or in front of a remote server."""

from __future__ import annotations

from typing import Any, Protocol

from fastmcp import FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.server.providers.proxy import FastMCPProxy, ProxyClient
from fastmcp.tools import ToolResult
from mcp.types import CallToolRequestParams

from tallystick.core import errors
from tallystick.mcp import answers
from tallystick.mcp.callers import Callers
from tallystick.mcp.refusals import Refusing, refused
from tallystick.mcp.tools import Email, Password, register_logins


class Door(Protocol):
    """The way to a remote server's logins."""

    def register(self, email: str, password: str) -> answers.LoggedIn:
        """Register a user and keep its login. Raises a ``Refusal``."""

    def login(self, email: str, password: str) -> answers.LoggedIn:
        """Log a user in and keep the login. Raises a ``Refusal``."""

    def logout(self) -> None:
        """End the login. Raises a ``Refusal``."""


class RemoteLogins:
    """The tools that a remote server can only have before anybody is logged in: here, where the login is kept."""

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


class LoginFirst(Middleware):
    """Says what to do where nobody is logged in: the remote server would only say that it has no such tool."""

    def __init__(self, callers: Callers, *, ours: frozenset[str]) -> None:
        self._callers = callers
        self._ours = ours

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Call the tool, unless the remote server would not know who asks."""
        if context.message.name not in self._ours and self._callers.token() is None:
            return refused(errors.NotAuthenticated("log in with user_login, or set TALLY_API_KEY"))
        return await call_next(context)


def build_remote(url: str, callers: Callers, door: Door) -> FastMCP[Any]:
    """A server that passes calls on to the MCP server at ``url``, as whoever is logged in here at that moment."""

    def client() -> ProxyClient[StreamableHttpTransport]:
        return ProxyClient(StreamableHttpTransport(f"{url}/mcp", auth=callers.token()))

    logins = RemoteLogins(door)
    server = FastMCPProxy(client_factory=client, name="tallystick", mask_error_details=True)
    ours = register_logins(server, logins)
    server.add_middleware(Refusing())
    server.add_middleware(LoginFirst(callers, ours=ours))
    return server
