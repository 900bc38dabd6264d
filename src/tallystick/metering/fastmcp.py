"""A price on the tools of any FastMCP server: hold before the call, capture after it, give back what came to nothing."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

import anyio
import mcp.types
import structlog
from fastmcp.server.dependencies import get_access_token
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import Tool, ToolResult

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.metering.billing import Billing, Held, Receipt
from tallystick.metering.rules import Rule, rule_in
from tallystick.plain_json import number, price_line
from tallystick.services.pricing import Usage
from tallystick.tool_results import key_of, refused

RECEIPT: Final = "tallystick/receipt"
PRICE: Final = "tallystick/price"

log = structlog.get_logger(__name__)
# A tool that calls another, and a server that is mounted in another, run the middleware again within one call.
_inside: ContextVar[bool] = ContextVar("tallystick_metered", default=False)


def principal() -> str | None:
    """Whoever the access token of this request is for; None where there is no token, as on stdio."""
    access = get_access_token()
    return None if access is None else access.subject or access.client_id


class TallyMiddleware(Middleware):
    """Charges every call of a tool that has a price.

    The price of a tool is that of its rule in ``rules``, or of ``meta={"tallystick": {"meter": …}}`` at the tool, or of the
    economy's meter with the tool's name; a tool with none of them costs nothing. ``customer`` says who pays, by the id or
    the operator's own id of a customer: whoever the access token is for, if absent; nobody is served without one.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        rules: Mapping[str, Rule] | None = None,
        customer: Callable[[], str | None] = principal,
    ) -> None:
        self._billing = Billing(tally)
        self._rules = dict(rules or {})
        self._customer = customer

    async def on_list_tools(
        self,
        context: MiddlewareContext[mcp.types.ListToolsRequest],
        call_next: CallNext[mcp.types.ListToolsRequest, Sequence[Tool]],
    ) -> Sequence[Tool]:
        """The tools, each with its price in ``_meta``."""
        return [self._priced(tool) for tool in await call_next(context)]

    def _priced(self, tool: Tool) -> Tool:
        try:
            rule = self._rule_of(tool)
        except errors.ConfigurationError:
            return tool
        meter = None if rule is None else self._billing.meters.get(rule.meter)
        if meter is None:
            return tool
        shown = [price_line(each) for each in meter.prices]
        price = {"meter": meter.name, "prices": shown, "hourly_limit": meter.hourly_limit}
        return tool.model_copy(update={"meta": {**(tool.meta or {}), PRICE: price}})

    async def on_call_tool(
        self,
        context: MiddlewareContext[mcp.types.CallToolRequestParams],
        call_next: CallNext[mcp.types.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Call a tool and charge for it, or refuse before anything was done."""
        if _inside.get():
            return await call_next(context)
        arguments = context.message.arguments or {}
        try:
            rule = await self._rule(context)
            held = None if rule is None else await self._hold(context, rule, arguments)
        except errors.Refusal as refusal:
            return refused(refusal)
        if rule is None or held is None:
            return await call_next(context)
        mark = _inside.set(True)
        try:
            return await self._run(held, rule, arguments, lambda: call_next(context))
        finally:
            _inside.reset(mark)

    async def _rule(self, context: MiddlewareContext[mcp.types.CallToolRequestParams]) -> Rule | None:
        server = None if context.fastmcp_context is None else context.fastmcp_context.fastmcp
        tool = None if server is None else await server.get_tool(context.message.name)
        return None if tool is None else self._rule_of(tool)

    def _rule_of(self, tool: Tool) -> Rule | None:
        try:
            rule = self._rules.get(tool.name) or rule_in(tool.meta)
        except errors.ConfigurationError as error:
            log.error("a tool is not served: its price cannot be read", tool=tool.name, detail=error.detail)  # noqa: TRY400
            message = "the price of this tool cannot be read: tell its operator"
            raise errors.ConfigurationError(message) from error
        if rule is None and tool.name in self._billing.meters:
            rule = Rule(meter=tool.name)
        return rule

    async def _hold(
        self,
        context: MiddlewareContext[mcp.types.CallToolRequestParams],
        rule: Rule,
        arguments: Mapping[str, Any],
    ) -> Held | None:
        """What waits for the end of the call; None where it runs for nothing while the billing database is away."""
        customer = self._customer()
        if customer is None:
            raise errors.NotAuthenticated(
                "this tool has a price, and nobody is there to pay: send an access token"
            )
        name = context.message.name
        usage = Usage(
            meter=rule.meter,
            quantity=rule.held_for(arguments),
            customer=customer,
            description=name,
            # So that a key is only ever good for the same call.
            metadata={"arguments": _digest(arguments)},
        )
        # Digested, so that no name of a customer and no key of a client can stand for another's.
        key = f"mcp:{_digest([customer, key_of(context.fastmcp_context) or secrets.token_urlsafe()])}"
        try:
            return await self._billing.hold(usage, key=key)
        except errors.ServiceUnavailable:
            if rule.when_away == "closed":
                raise
            log.warning("a tool runs uncharged: the billing database is away", tool=name)
            return None

    async def _run(
        self, held: Held, rule: Rule, arguments: Mapping[str, Any], call: Callable[[], Any]
    ) -> ToolResult:
        """Whatever ends the call, what was held is captured or given back before anybody hears of it."""
        ended = False
        try:
            result: ToolResult = await call()
            quantity = None
            costs = self._costs(rule, result)
            if costs and rule.used is not None:
                quantity = rule.used(arguments, result)
                costs = quantity > 0
            if costs:
                with anyio.CancelScope(shield=True):
                    receipt = await self._billing.capture(held, quantity=quantity)
                ended = True
                result.meta = {**(result.meta or {}), RECEIPT: _shown(receipt)}
        except errors.Refusal as refusal:
            # The result is not given away: whoever repeats the call with its key gets it, and pays once.
            log.warning("a call could not be charged", hold=held.id, code=refusal.code, detail=refusal.detail)
            return refused(refusal)
        finally:
            if not ended:
                with anyio.CancelScope(shield=True):
                    await self._give_back(held)
        return result

    async def _give_back(self, held: Held) -> None:
        """A hold that cannot be given back now comes back by itself when it expires."""
        try:
            await self._billing.release(held)
        except errors.Refusal as refusal:
            log.warning("a hold could not be given back", hold=held.id, detail=refusal.detail)

    def _costs(self, rule: Rule, result: object) -> bool:
        """Whether this is the end of a call that is charged: no task that has begun, and no question back."""
        if not isinstance(result, ToolResult) or getattr(result, "input_required", None) is not None:
            return False
        return rule.charge_on == "always" or not result.is_error


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _shown(receipt: Receipt) -> dict[str, Any]:
    return {
        "charged": number(receipt.charged),
        "unit": receipt.unit,
        "balance": number(receipt.balance),
        "charge": receipt.charge,
        "meter": receipt.meter,
    }
