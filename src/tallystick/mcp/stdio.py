"""The MCP server for one person or agent on this machine, in front of a remote server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import anyio.to_thread
from fastmcp import FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.server.providers.proxy import ProxyClient, ProxyMetadataMiddleware, ProxyProvider
from fastmcp.tools import Tool, ToolResult
from mcp.types import CallToolRequestParams

from tallystick.core import errors
from tallystick.mcp.callers import Callers
from tallystick.mcp.logins import Door, register_logins
from tallystick.mcp.refusals import Refusing
from tallystick.tool_results import refused

MakeClient = Callable[[], ProxyClient[StreamableHttpTransport]]


class RemoteDoor(Door, Protocol):
    """The way to the users of a server elsewhere."""

    def trouble(self) -> errors.Refusal | None:
        """Why nothing can be asked there: it is away, or does not know the token. None when all is well."""


class LoginFirst(Middleware):
    """Says what to do where the remote server was not asked, or did not know who asks: it only has no such tool."""

    def __init__(self, callers: Callers, door: RemoteDoor, *, ours: frozenset[str]) -> None:
        self._callers = callers
        self._door = door
        self._ours = ours

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Call the tool; where that fails, look whether any call could have worked."""
        if context.message.name in self._ours:
            return await call_next(context)
        try:
            if self._callers.token() is None:
                return refused(errors.NotAuthenticated("log in with user_login, or set TALLY_API_KEY"))
        except errors.Refusal as unreadable:
            return refused(unreadable)
        try:
            return await call_next(context)
        except Exception:
            trouble = await anyio.to_thread.run_sync(self._door.trouble)
            if trouble is None:
                raise
            return refused(trouble)


class TheirTools(ProxyProvider):
    """The remote server's tools, less those that this one answers itself."""

    def __init__(self, make_client: MakeClient, *, ours: frozenset[str]) -> None:
        super().__init__(make_client)
        self._ours = ours

    async def _list_tools(self) -> Sequence[Tool]:
        return [tool for tool in await super()._list_tools() if tool.name not in self._ours]


def build_remote(url: str, callers: Callers, door: RemoteDoor) -> FastMCP[Any]:
    """A server that passes calls on to the MCP server at ``url``, as whoever is logged in here at that moment."""

    def client() -> ProxyClient[StreamableHttpTransport]:
        try:
            token = callers.token()
        except errors.Refusal:  # LoginFirst tells whoever calls a tool.
            token = None
        return ProxyClient(StreamableHttpTransport(f"{url}/mcp", auth=token))

    server: FastMCP[Any] = FastMCP("tallystick", mask_error_details=True)
    ours = register_logins(server, door)
    theirs = TheirTools(client, ours=ours)
    server.add_provider(theirs)
    server.add_middleware(ProxyMetadataMiddleware(theirs))
    server.add_middleware(Refusing())
    server.add_middleware(LoginFirst(callers, door, ours=ours))
    return server
