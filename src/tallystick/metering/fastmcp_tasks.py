"""The end of a task: what a tool does in the background passes no middleware, so whoever charges for it asks how it goes.

With FastMCP 4 it is told by what answers the client's own ``tasks/get``. FastMCP 3 has no such way: there a task
is charged when it has begun.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any, Final

import mcp.types
from fastmcp.server.dependencies import get_context
from fastmcp.tools import ToolResult

from tallystick.metering.tool_calls import Later

_EXTENSION: Final = "io.modelcontextprotocol/tasks"
_POLL_SECONDS: Final = 1.0
_CAME_TO_NOTHING: Final = frozenset({"failed", "cancelled"})


def end_of_task(begun: object) -> Later[ToolResult] | None:
    """What waits for the task that ``begun`` tells of; None where nobody can. Called within the request."""
    task_id = getattr(begun, "task_id", None)
    extension: Any = getattr(get_context().fastmcp, "_extensions", {}).get(_EXTENSION)
    if task_id is None or extension is None:
        return None
    handlers = import_module("fastmcp_tasks.handlers")  # installed, or no task had begun
    server = extension.server
    seconds = min(_POLL_SECONDS, (getattr(begun, "poll_interval_ms", None) or 1000) / 1000)

    async def wait() -> ToolResult | None:
        while True:
            await asyncio.sleep(seconds)
            found = await handlers.tasks_get(server, task_id)
            if found.status == "completed":
                return _result(found.result or {})
            if found.status in _CAME_TO_NOTHING:
                return None

    return wait


def _result(found: dict[str, Any]) -> ToolResult:
    result = mcp.types.CallToolResult.model_validate(found)
    return ToolResult(
        content=result.content, structured_content=result.structured_content, is_error=result.is_error
    )
