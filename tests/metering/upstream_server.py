"""A server that knows nothing of prices, for the gateway's tests: `python upstream_server.py [PORT]`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import mcp.types
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.dependencies import get_http_headers

server: FastMCP[Any] = FastMCP("upstream", version="7", instructions="Look things up.")
FOLDER = Path(os.environ.get("NOTES", "."))


@server.tool(meta={"tallystick": {"amount": 1000}, "example/note": "mine"})
def look_up(word: str) -> str:
    """Look a word up."""
    if word == "bad":
        raise ToolError("no such word")
    return f"found {word}"


@server.tool
def rows(most: int) -> dict[str, list[int]]:
    """Give rows."""
    return {"items": list(range(most // 2))}


@server.tool
def unlisted() -> str:
    """Have no price."""
    return "never"


@server.tool
def surroundings() -> dict[str, Any]:
    """Tell the environment and the headers."""
    return {"environ": dict(os.environ), "headers": get_http_headers(include_all=True), "pid": os.getpid()}


@server.tool
async def slow(context: Context) -> str:
    """Take a while, and tell how it goes."""
    await context.report_progress(1, 4, "begun")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        (FOLDER / "cancelled").touch()
        raise
    return "slow"


@server.tool
def crash() -> str:
    """End this process."""
    os._exit(1)


@server.tool
async def ask(context: Context) -> str:
    """Ask the user."""
    answer = await context.elicit("sure?", response_type=bool)
    return str(answer.action)


@server.tool
async def note(context: Context) -> dict[str, Any]:
    """Write to the log, change the list of tools, and give the meta of the request."""
    await context.info("noted")
    await context.send_notification(mcp.types.ToolListChangedNotification())
    request = context.request_context
    assert request is not None
    return dict(request.meta or {})


@server.resource("note://today")
def today() -> str:
    """Give a note."""
    return "a note"


@server.prompt
def greet(name: str) -> str:
    """Greet."""
    return f"Greet {name}."


@server.completion
def complete(_reference: object, argument: mcp.types.CompletionArgument, _context: object) -> list[str]:
    """Complete a name."""
    return [name for name in ("ada", "ann", "bob") if name.startswith(argument.value)]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run(transport="http", port=int(sys.argv[1]), show_banner=False)
    else:
        server.run(show_banner=False)
