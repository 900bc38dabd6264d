"""The MCP server on the running REST server: streamable HTTP at ``/mcp``, without sessions, for any number of processes."""

from __future__ import annotations

from typing import Final

from starlette.applications import Starlette

from tallystick.bootstrap import Tally
from tallystick.mcp.callers import Bearer, BearerCallers
from tallystick.mcp.server import build

PATH: Final = "/mcp"


def applications(tally: Tally) -> dict[str, Starlette]:
    """An ASGI application for each path of this door; its lifespan has to run around it."""
    server = build(tally, BearerCallers(), auth=Bearer(tally))
    return {PATH: server.http_app(path=PATH, stateless_http=True, json_response=True)}
