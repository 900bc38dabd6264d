"""The server that the official suite asks, with our middleware in front: all its tools have a price."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import mcp.types
from fastmcp import FastMCP
from fastmcp.server.event_store import EventStore
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import ToolResult
from starlette.applications import Starlette

from tallystick.bootstrap import Tally
from tallystick.metering import Rule, TallyMiddleware
from tests.conformance.fixture_questions import add_questions
from tests.conformance.fixture_reading import add_reading
from tests.conformance.fixture_tools import add_tools

CUSTOMER: Final = "the-suite"
ECONOMY: Final = """
[economy]
title = "Conformance"
default_plan = "free"
primary_unit = "credits"

[units.credits]
description = "What tools cost"

[plans.free]
title = "Free"

[meters.call]
category = "tools"
description = "One call"
price = 1

[meters.test_simple_text]
category = "tools"
description = "Found by the name of the tool"
price = 2

[meters.characters]
category = "tools"
description = "By what comes of it"
[[meters.characters.prices]]
kind = "per_unit"
per_unit = "0.25"
"""
RULES: Final = {
    "test_embedded_resource": Rule(
        meter="characters", quantity=1000, used=lambda _, result: len(result.content[0].resource.text)
    )
}


@dataclass(frozen=True)
class Seen:
    """How a call ended as a client saw it: `done`, `error`, `asked` for something, or `raised`; and its receipt."""

    tool: str
    end: str
    receipt: dict[str, Any] | None = None


@dataclass
class Witness(Middleware):
    """Stands in front of the middleware and keeps what becomes of each call."""

    seen: list[Seen] = field(default_factory=list)

    async def on_call_tool(
        self,
        context: MiddlewareContext[mcp.types.CallToolRequestParams],
        call_next: CallNext[mcp.types.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Call the tool and write down what came of it."""
        name = context.message.name
        try:
            result = await call_next(context)
        except BaseException:
            self.seen.append(Seen(name, "raised"))
            raise
        receipt = (result.meta or {}).get("tallystick/receipt")
        asked = getattr(result, "input_required", None) is not None
        end = "asked" if asked else "error" if result.is_error else "done"
        self.seen.append(Seen(name, end, receipt))
        return result


def application(tally: Tally, witness: Witness) -> Starlette:
    """The server as an ASGI application, at `/mcp`, for both versions of the specification."""
    server: FastMCP[Any] = FastMCP(
        "conformance",
        version="1",
        middleware=[witness, TallyMiddleware(tally, rules=RULES, customer=lambda: CUSTOMER)],
        dereference_schemas=False,
    )
    add_tools(server)
    add_questions(server)
    add_reading(server)
    return server.http_app(
        path="/mcp", event_store=EventStore(), retry_interval=50, host_origin_protection=True
    )
