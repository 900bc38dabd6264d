"""A price on the tools of any FastMCP server: hold before the call, capture after it, give back what came to nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import mcp.types
from fastmcp import Context
from fastmcp.server.dependencies import get_access_token
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import Tool, ToolResult

from tallystick.metering.fastmcp_tasks import end_of_task
from tallystick.metering.metering import Metering
from tallystick.metering.tool_calls import (
    Customer,
    Later,
    Rules,
    ToolCall,
    ToolCharges,
    content_of,
)
from tallystick.plain_json import PRICE, key_in, or_refused

try:
    from tallystick.payment_offers import offered
except ImportError:  # FastMCP 3: there the page to pay on stands in the refusal's text alone

    async def offered(context: Context | None, result: ToolResult) -> ToolResult:
        """The result as it is."""
        del context
        return result


if TYPE_CHECKING:
    from tallystick.bootstrap import Tally
    from tallystick.client import AsyncTallyClient, TallyClient

_META_SECONDS: Final = 1.0
_MOST_METAS: Final = 1000


def principal() -> str | None:
    """Whoever the access token of this request is for; None where there is no token, as on stdio."""
    access = get_access_token()
    if access is None:
        return None
    return getattr(access, "subject", None) or access.client_id


class TallyMiddleware(Middleware):
    """Charges every call of a tool that has a price.

    ``source`` is a client of a billing server (as a service), an embedded ``Tally``, or a ``Metering`` of either.

    The price of a tool is that of its rule in ``rules``, or of ``meta={"tallystick": {"meter": …}}`` at the tool, or of the
    economy's meter with the tool's name; a tool with none of them costs nothing. Where ``rules`` is a function of the
    tool's name, it alone says the price, and None is nothing. ``customer`` says who pays, by the id or
    the operator's own id of a customer, as a text or as a function that is called within each request: whoever the
    access token is for, if absent; nobody is served where it gives None. ``customer=None`` is whoever the client's own
    key is for, which one user's own server wants.
    """

    def __init__(
        self,
        source: Metering | Tally | TallyClient | AsyncTallyClient,
        *,
        rules: Rules | None = None,
        customer: Customer = principal,
    ) -> None:
        self.metering = Metering.of(source)
        self._metas: dict[str, tuple[float, Mapping[str, Any] | None]] = {}
        self._charges: ToolCharges[Any] = ToolCharges(
            self.metering, _Results(), rules=rules, customer=customer
        )

    async def on_list_tools(
        self,
        context: MiddlewareContext[mcp.types.ListToolsRequest],
        call_next: CallNext[mcp.types.ListToolsRequest, Sequence[Tool]],
    ) -> Sequence[Tool]:
        """The tools, each with its price in ``_meta``."""
        return [await self._priced(tool) for tool in await call_next(context)]

    async def _priced(self, tool: Tool) -> Tool:
        price = await self._charges.price(tool.name, tool.meta)
        if price is None:
            return tool
        schema = None if tool.output_schema is None else or_refused(tool.output_schema)
        return tool.model_copy(update={"meta": {**(tool.meta or {}), PRICE: price}, "output_schema": schema})

    async def on_call_tool(
        self,
        context: MiddlewareContext[mcp.types.CallToolRequestParams],
        call_next: CallNext[mcp.types.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Call a tool and charge for it, or refuse before anything was done."""
        name = context.message.name
        call = ToolCall(name, context.message.arguments or {}, _key_of(context))
        result: ToolResult = await self._charges.call(
            call, lambda: self._meta_of(context, name), lambda: call_next(context)
        )
        # A refusal of ours is shown to the user as a page to pay on, where the client can.
        return await offered(context.fastmcp_context, result) if isinstance(result, _Refusal) else result

    async def _meta_of(self, context: MiddlewareContext[Any], name: str) -> Mapping[str, Any] | None:
        """The tool's own meta, from memory for a second: finding a tool costs as much as holding its price."""
        known_at, meta = self._metas.get(name, (-math.inf, None))
        now = time.monotonic()
        if now - known_at < _META_SECONDS:
            return meta
        server = None if context.fastmcp_context is None else context.fastmcp_context.fastmcp
        tool = None if server is None else await server.get_tool(name)
        if tool is None:
            return None
        if len(self._metas) >= _MOST_METAS:
            self._metas.clear()
        self._metas[name] = (now, tool.meta)
        return tool.meta


class _Refusal(ToolResult):
    """What was refused here, and not by a tool."""


class _Results:
    """FastMCP's tool results."""

    def refused(self, error: Mapping[str, Any]) -> ToolResult:
        content = {"error": dict(error)}
        text = mcp.types.TextContent(type="text", text=json.dumps(content, default=str))
        return _Refusal(content=[text], structured_content=content, is_error=True)

    def is_final(self, result: object) -> bool:
        return getattr(result, "input_required", None) is None

    def later(self, result: object) -> Later[ToolResult] | None:
        return None if isinstance(result, ToolResult) else end_of_task(result)

    def is_error(self, result: object) -> bool:
        return bool(getattr(result, "is_error", False))

    def content(self, result: object) -> object:
        if not isinstance(result, ToolResult):
            return None  # a task that nobody can follow
        texts = [block.text for block in result.content if isinstance(block, mcp.types.TextContent)]
        return content_of(result.structured_content, texts)

    def with_meta(self, result: ToolResult, name: str, value: Mapping[str, Any]) -> ToolResult:
        if isinstance(result, ToolResult):
            result.meta = {**(result.meta or {}), name: dict(value)}
        return result


def _key_of(context: MiddlewareContext[Any]) -> str | None:
    """The caller's idempotency key, which a client sends beside the arguments."""
    request = None if context.fastmcp_context is None else context.fastmcp_context.request_context
    meta: Any = None if request is None else request.meta
    if meta is not None and not isinstance(meta, Mapping):
        meta = meta.model_dump()  # a model on FastMCP 3, with what clients add
    return key_in(meta)
