"""A price on the tools of a server that is not ours: it is served as it is, and each call is charged on its way through.

- What the price file does not name is neither listed nor called, unless the file has a default.
- Nothing but prices is taken from the file, and no price from the upstream: what it says of itself is not trusted.
- An upstream that is away costs nothing: what was held for a call is given back, and the next call tries again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import mcp.types
from fastmcp import FastMCP
from fastmcp.exceptions import NotFoundError
from fastmcp.server.auth import AccessToken, AuthProvider, TokenVerifier
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.server.providers.proxy import ProxyMetadataMiddleware, ProxyProvider
from fastmcp.tools import Tool, ToolResult
from mcp.shared.exceptions import MCPError

from tallystick.metering.fastmcp import TallyMiddleware, principal
from tallystick.metering.price_file import PriceFile
from tallystick.metering.tool_calls import Customer
from tallystick.metering.upstream import Connections
from tallystick.plain_json import or_refused
from tallystick.tool_results import failed

if TYPE_CHECKING:
    from tallystick.metering.metering import Metering

_LIST_SECONDS: Final = 5  # how long a call goes by the upstream's list as it was
_AWAY: Final = "the server behind this gateway does not answer: the call was not charged, try again"

log = logging.getLogger(__name__)


def build_gateway(
    connections: Connections,
    prices: PriceFile,
    metering: Metering,
    *,
    customer: Customer = principal,
    auth: AuthProvider | None = None,
) -> FastMCP[Any]:
    """A server that has what the upstream has, at a price; ``customer`` is as in ``TallyMiddleware``.

    ``auth`` guards it where it is reached over HTTP. Raises ``ConfigurationError`` for prices that cannot be.
    """

    @asynccontextmanager
    async def connected(_server: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await connections.close()

    provider = ProxyProvider(connections.client, cache_ttl=_LIST_SECONDS)
    server: FastMCP[Any] = FastMCP(
        "tallystick-gateway",
        version=version("tallystick"),
        auth=auth,
        lifespan=connected,
        mask_error_details=True,
        middleware=[
            ProxyMetadataMiddleware(provider, identity="upstream"),
            Gate(prices),
            TallyMiddleware(metering, rules=prices.rule, customer=customer),
        ],
    )
    server.provider_error_strategy = "raise"
    server.add_provider(provider)
    server.completion(_completing(connections))
    return server


class CustomerKeys(TokenVerifier):
    """Lets in whoever shows a key that belongs to a customer, who then pays."""

    def __init__(self, customer_of: Callable[[str], str | None]) -> None:
        super().__init__()
        self._customer_of = customer_of

    async def verify_token(self, token: str) -> AccessToken | None:
        """The customer as the library wants it, or None for nobody."""
        customer = await anyio.to_thread.run_sync(self._customer_of, token)
        if customer is None:
            return None
        return AccessToken(token=token, client_id=customer, scopes=[], subject=customer)


class Gate(Middleware):
    """Lets through what has a price or is said to be free, and gives every call an answer."""

    def __init__(self, prices: PriceFile) -> None:
        self._prices = prices
        self._is_compared = False

    async def on_list_tools(
        self,
        context: MiddlewareContext[mcp.types.ListToolsRequest],
        call_next: CallNext[mcp.types.ListToolsRequest, Sequence[Tool]],
    ) -> Sequence[Tool]:
        """The tools that are served."""
        tools = await call_next(context)
        if not self._is_compared:
            self._is_compared = True
            self._compare({tool.name for tool in tools})
        return [_admitting(tool) for tool in tools if self._prices.serves(tool.name)]

    def _compare(self, there: set[str]) -> None:
        """Tell the operator, once, of prices for nothing and of tools without one."""
        where = self._prices.where
        if unknown := sorted(self._prices.tools.keys() - there):
            log.warning("%s: the upstream has no tool %s", where, ", ".join(unknown))
        if unserved := sorted(name for name in there if not self._prices.serves(name)):
            log.warning("%s: not served, for they have no price: %s", where, ", ".join(unserved))

    async def on_call_tool(
        self,
        context: MiddlewareContext[mcp.types.CallToolRequestParams],
        call_next: CallNext[mcp.types.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Call a tool that is served. What the upstream raises is said as it said it."""
        name = context.message.name
        if not self._prices.serves(name):
            return failed("unknown_tool", f"there is no tool {name!r}")
        try:
            return await call_next(context)
        except Exception as error:
            raised = _raised(error)
            if isinstance(raised, NotFoundError):
                return failed("unknown_tool", f"there is no tool {name!r}")
            if isinstance(raised, MCPError) and raised.error.code != mcp.types.CONNECTION_CLOSED:
                raise raised from error
            # What it says may name programs, hosts and folders.
            log.warning("a call of %s failed, for the upstream does not answer: %s", name, raised)
            return failed("upstream_unavailable", _AWAY)


def _admitting(tool: Tool) -> Tool:
    """A tool whose answer may be that the upstream is away, also where it is free."""
    if tool.output_schema is None or "error" in tool.output_schema.get("properties", {}):
        return tool
    return tool.model_copy(update={"output_schema": or_refused(tool.output_schema)})


def _raised(error: BaseException) -> BaseException:
    """What was raised first. An error of the upstream's own has no cause here; a connection that failed has."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _completing(connections: Connections) -> Any:  # noqa: ANN401 - the library's own kind of handler
    async def complete(
        reference: Any,  # noqa: ANN401 - of a prompt or a resource
        argument: mcp.types.CompletionArgument,
        context: mcp.types.CompletionContext | None,
    ) -> mcp.types.Completion | None:
        client = connections.client()
        try:
            async with client:
                given = {"name": argument.name, "value": argument.value}
                return await client.complete(reference, given, None if context is None else context.arguments)
        except MCPError as error:
            if error.error.code == mcp.types.METHOD_NOT_FOUND:
                return None
            raise

    return complete
