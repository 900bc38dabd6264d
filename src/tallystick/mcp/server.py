"""The MCP server over the services of a Tally, for whichever transport it runs on."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import anyio.to_thread
import mcp.types
from fastmcp import FastMCP
from fastmcp.server.auth import AuthProvider
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import Tool

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.mcp.callers import Callers, caller_of
from tallystick.mcp.logins import ServiceDoor, register_logins
from tallystick.mcp.receipts import Priced
from tallystick.mcp.refusals import Refusing
from tallystick.mcp.resources import register_resources
from tallystick.mcp.sandboxes import CHARGED, SandboxTools, register_sandboxes
from tallystick.mcp.tools import FOR_SERVICES, Tools, register

_INSTRUCTIONS = (
    "Credits of {title}. Look at check_balance before work that costs credits. When credits are short, "
    "create_payment_link gives an address that the user opens to buy more; nothing is bought without the user. "
    "A refused call has isError and an error with a code, a sentence, and what would help."
)


class Visible(Middleware):
    """Shows each caller the tools that it may call."""

    def __init__(self, tally: Tally, callers: Callers) -> None:
        self._tally = tally
        self._callers = callers

    async def on_list_tools(
        self,
        context: MiddlewareContext[mcp.types.ListToolsRequest],
        call_next: CallNext[mcp.types.ListToolsRequest, Sequence[Tool]],
    ) -> Sequence[Tool]:
        """The tools, less those for services where a user asks, or nobody."""
        tools = await call_next(context)
        if await anyio.to_thread.run_sync(self._is_service):
            return tools
        return [tool for tool in tools if FOR_SERVICES not in tool.tags]

    def _is_service(self) -> bool:
        try:
            return caller_of(self._tally, self._callers).is_service
        except errors.NotAuthenticated:
            return False


def build(tally: Tally, callers: Callers, *, auth: AuthProvider | None = None) -> FastMCP[Any]:
    """A server whose name is the economy's; ``auth`` guards it where it is reached over HTTP."""
    economy = tally.context.economy()
    server: FastMCP[Any] = FastMCP(
        economy.server_name,
        instructions=_INSTRUCTIONS.format(title=economy.title),
        version=version("tallystick"),
        auth=auth,
        mask_error_details=True,
        middleware=[Refusing(), Visible(tally, callers), Priced(tally, charged=CHARGED)],
    )
    tools = Tools(tally, callers)
    register_logins(server, ServiceDoor(tally, callers))
    register(server, tools)
    if tally.sandboxes.are_there:
        register_sandboxes(server, SandboxTools(tally, callers))
    register_resources(server, tools, tally.context.economy)
    return server
