"""What a tool costs, in the list of tools, and what a call has cost, in its result."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import mcp.types
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import Tool, ToolResult

from tallystick.bootstrap import Tally
from tallystick.plain_json import PRICE, RECEIPT, number, or_refused, price_of
from tallystick.services.context import Caller

# Of the call that is being answered: at most one.
_receipts: ContextVar[list[dict[str, Any]] | None] = ContextVar("receipts", default=None)


class Priced(Middleware):
    """Shows the price of each tool that is charged by a meter of its own name, and the receipt of each charged call."""

    def __init__(self, tally: Tally, *, charged: frozenset[str]) -> None:
        self._tally = tally
        self._charged = charged

    async def on_list_tools(
        self,
        context: MiddlewareContext[mcp.types.ListToolsRequest],
        call_next: CallNext[mcp.types.ListToolsRequest, Sequence[Tool]],
    ) -> Sequence[Tool]:
        """The tools with what they cost now."""
        return [self._priced(tool) for tool in await call_next(context)]

    def _priced(self, tool: Tool) -> Tool:
        meter = self._tally.context.economy().meters.get(tool.name)
        if meter is None or tool.name not in self._charged:
            return tool
        schema = None if tool.output_schema is None else or_refused(tool.output_schema)
        meta = {**(tool.meta or {}), PRICE: price_of(meter)}
        return tool.model_copy(update={"meta": meta, "output_schema": schema})

    async def on_call_tool(
        self,
        context: MiddlewareContext[mcp.types.CallToolRequestParams],
        call_next: CallNext[mcp.types.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """The result with what was noted of its charge."""
        noted: list[dict[str, Any]] = []
        mark = _receipts.set(noted)
        try:
            result = await call_next(context)
        finally:
            _receipts.reset(mark)
        if noted and isinstance(result, ToolResult):
            result.meta = {**(result.meta or {}), RECEIPT: noted[0]}
        return result


def note(tally: Tally, caller: Caller, charge: str, meter: str) -> None:
    """Note that the call is answered by this charge, as far as this meter goes; what costs nothing has no receipt."""
    noted = _receipts.get()
    if noted is None:
        return
    found = tally.explain.charge(caller, charge)
    part = next((each for each in found.explain.prices if each.meter == meter), None)
    if part is None or not part.amount:
        return
    balance = next(each.after for each in found.explain.balances if each.unit == part.unit)
    noted.append(
        {
            "charged": number(part.amount),
            "unit": part.unit,
            "balance": number(balance),
            "charge": charge,
            "meter": meter,
        }
    )
