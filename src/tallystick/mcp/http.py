"""The MCP server on the running REST server: streamable HTTP at ``/mcp``, without sessions, for any number of processes."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from fastmcp.server.auth import AuthProvider
from starlette.applications import Starlette

from tallystick.bootstrap import Tally
from tallystick.mcp.around import Explaining, Refused, known
from tallystick.mcp.authorization import AuthorizationServer, may_authorize
from tallystick.mcp.callers import PATH, Bearer, BearerCallers
from tallystick.mcp.server import build

log = structlog.get_logger(__name__)


def applications(tally: Tally, *, hosts: Sequence[str] = ()) -> dict[str, Starlette]:
    """An ASGI application by the path of this door; its lifespan has to run around it, and all its routes belong to it.

    ``hosts`` are those that it answers for besides its public address and this machine.
    """
    public_url = tally.context.public_url
    server = build(tally, BearerCallers(), auth=_auth(tally))
    answered = known(public_url, hosts)
    app = server.http_app(
        path=PATH,
        stateless_http=True,
        json_response=True,
        host_origin_protection=True,
        allowed_hosts=answered.hosts,
        allowed_origins=answered.origins,
    )
    app.add_middleware(Refused)
    app.add_middleware(Explaining, public_url=public_url)
    return {PATH: app}


def _auth(tally: Tally) -> AuthProvider:
    """API keys and sessions always; apps where their tokens could not be read on the way."""
    if may_authorize(tally.context.public_url):
        return AuthorizationServer(tally)
    log.warning(
        "apps cannot be connected by OAuth: TALLY_PUBLIC_URL is not https", url=tally.context.public_url
    )
    return Bearer(tally)
