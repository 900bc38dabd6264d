"""A price on the tools of a server on the bare ``mcp`` library, 2.x or 1.x: what passes through it is read as plain JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import mcp.types
from mcp.server.auth.middleware.auth_context import get_access_token

from tallystick.metering.metering import Metering
from tallystick.metering.tool_calls import (
    FIRST_MODERN,
    Customer,
    Later,
    Rules,
    ToolCall,
    ToolCharges,
    content_of,
)
from tallystick.plain_json import PRICE, key_in, or_refused

if TYPE_CHECKING:
    from tallystick.bootstrap import Tally
    from tallystick.client import AsyncTallyClient, TallyClient

_LIST_SECONDS: Final = 60.0

JSON = dict[str, Any]
Ask = Callable[[str, JSON], Awaitable[Any]]  # a method and its parameters, answered by the server itself


def token_owner() -> str | None:
    """Whoever the access token of this request is for; None where there is no token, as on stdio."""
    access = get_access_token()
    return None if access is None else access.subject or access.client_id


def meter_server(
    server: Any,  # noqa: ANN401 - of either version
    source: Metering | Tally | TallyClient | AsyncTallyClient,
    *,
    rules: Rules | None = None,
    customer: Customer = token_owner,
) -> Metering:
    """Charge for the tools of a ``Server`` or ``MCPServer``; the options are those of ``TallyMiddleware``.

    On mcp 1.x it takes a ``Server`` whose handlers of tools are registered already.
    """
    metering = Metering.of(source)
    priced = _Priced(ToolCharges(metering, _Results(), rules=rules, customer=customer))
    if hasattr(server, "middleware"):
        server.middleware.append(priced.middleware)
    else:
        _wrap_handlers(server, priced)
    return metering


class _Priced:
    """The tools of one server, whichever version serves them."""

    def __init__(self, charges: ToolCharges[JSON]) -> None:
        self._charges = charges
        self._metas: dict[str, Mapping[str, Any] | None] = {}
        self._metas_until = 0.0

    async def middleware(self, context: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:  # noqa: ANN401
        """As mcp 2.x wants it: around every message, of which those about tools are ours."""
        if context.method not in {"tools/list", "tools/call"}:
            return await call_next(context)

        async def ask(method: str, params: JSON) -> Any:  # noqa: ANN401 - any result
            return await call_next(dataclasses.replace(context, method=method, params=params))

        answer = await self.answer(context.method, dict(context.params or {}), ask)
        # A refusal of ours says, where the protocol has it, that it is the end of the call.
        return {"resultType": "complete", **answer} if context.protocol_version >= FIRST_MODERN else answer

    async def answer(self, method: str, params: JSON, ask: Ask) -> JSON:
        """The answer to ``tools/list`` or ``tools/call``, as JSON."""
        if method == "tools/list":
            result = _plain(await ask(method, params))
            return {**result, "tools": [await self._shown(tool) for tool in result.get("tools", [])]}
        name = str(params.get("name"))
        call = ToolCall(name, params.get("arguments") or {}, key_in(params.get("_meta")))

        async def work() -> JSON:
            return _plain(await ask(method, params))

        meta = {"_meta": params["_meta"]} if "_meta" in params else {}
        return await self._charges.call(call, lambda: self._meta_of(name, ask, meta), work)

    async def _shown(self, tool: JSON) -> JSON:
        meta = tool.get("_meta")
        price = await self._charges.price(tool["name"], meta)
        if price is None:
            return tool
        schema = {"outputSchema": or_refused(tool["outputSchema"])} if tool.get("outputSchema") else {}
        return {**tool, **schema, "_meta": {**(meta or {}), PRICE: price}}

    async def _meta_of(self, name: str, ask: Ask, same: JSON) -> Mapping[str, Any] | None:
        """A tool's own meta, which only the list tells; from memory for a minute. ``same`` is what each request says."""
        if time.monotonic() >= self._metas_until or name not in self._metas:
            metas: dict[str, Mapping[str, Any] | None] = {}
            params = same
            while True:
                page = _plain(await ask("tools/list", params))
                metas.update({tool["name"]: tool.get("_meta") for tool in page.get("tools", [])})
                if page.get("nextCursor") is None:
                    break
                params = {**same, "cursor": page["nextCursor"]}
            self._metas, self._metas_until = metas, time.monotonic() + _LIST_SECONDS
        return self._metas.get(name)


class _Results:
    """Tool results as JSON."""

    def refused(self, error: Mapping[str, Any]) -> JSON:
        content = {"error": dict(error)}
        text = {"type": "text", "text": json.dumps(content, default=str)}
        return {"content": [text], "structuredContent": json.loads(text["text"]), "isError": True}

    def is_final(self, result: JSON) -> bool:
        return result.get("resultType") != "input_required"

    def later(self, result: JSON) -> Later[JSON] | None:
        del result  # the library has no tasks that could be followed here
        return None

    def is_error(self, result: JSON) -> bool:
        return bool(result.get("isError"))

    def content(self, result: JSON) -> object:
        texts = [block["text"] for block in result.get("content", ()) if block.get("type") == "text"]
        return content_of(result.get("structuredContent"), texts)

    def with_meta(self, result: JSON, name: str, value: Mapping[str, Any]) -> JSON:
        if "content" not in result:
            return result  # a task that has begun, which has no place for a receipt
        return {**result, "_meta": {**(result.get("_meta") or {}), name: dict(value)}}


def _plain(result: Any) -> JSON:  # noqa: ANN401 - a model, or JSON already
    if result is None or isinstance(result, Mapping):
        return dict(result or {})
    found: JSON = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return found


def _wrap_handlers(server: Any, priced: _Priced) -> None:  # noqa: ANN401 - mcp 1.x, whose types are not here
    """Put the prices around the handlers of mcp 1.x, which has no middleware."""
    types: Any = mcp.types
    given = dict(server.request_handlers)
    kinds = {
        "tools/list": (types.ListToolsRequest, types.ListToolsResult),
        "tools/call": (types.CallToolRequest, types.CallToolResult),
    }

    async def ask(method: str, params: JSON) -> Any:  # noqa: ANN401 - any result
        kind = kinds[method][0]
        answered = await given[kind](kind.model_validate({"method": method, "params": params}))
        return answered.root

    def priced_handler(method: str) -> Callable[[Any], Awaitable[Any]]:
        async def handle(request: Any) -> Any:  # noqa: ANN401 - of mcp 1.x
            answer = await priced.answer(method, _plain(request).get("params") or {}, ask)
            final = "content" in answer or "tools" in answer
            kind = kinds[method][1] if final else types.CreateTaskResult
            return types.ServerResult(kind.model_validate(answer))

        return handle

    for method, (kind, _) in kinds.items():
        if kind in given:
            server.request_handlers[kind] = priced_handler(method)
