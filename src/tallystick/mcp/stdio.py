"""The MCP server for one person or agent on this machine, in front of a remote server."""

from __future__ import annotations

from typing import Any

from fastmcp import FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.server.providers.proxy import FastMCPProxy, ProxyClient
from fastmcp.tools import ToolResult
from mcp.types import CallToolRequestParams

from tallystick.core import errors
from tallystick.mcp.callers import Callers
from tallystick.mcp.logins import Door, register_logins
from tallystick.mcp.refusals import Refusing
from tallystick.tool_results import refused


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

    server = FastMCPProxy(client_factory=client, name="tallystick", mask_error_details=True)
    ours = register_logins(server, door)
    server.add_middleware(Refusing())
    server.add_middleware(LoginFirst(callers, ours=ours))
    return server
