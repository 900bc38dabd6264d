"""An MCP server over HTTP with one tool that does nothing: as it is, or with a price on it.

``python -m bench.metered_tools PORT plain``, ``PORT embedded`` with the database and the economy of the environment, or
``PORT remote BILLING_PORT KEY CUSTOMER``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import cycle
from typing import Any

import uvicorn
from fastmcp import FastMCP
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from bench.machine import on_one_core
from tallystick.bench_charges import open_customers
from tallystick.bench_http import HOST
from tallystick.bootstrap import Tally
from tallystick.client import TallyClient
from tallystick.config import Config
from tallystick.metering import TallyMiddleware

WALLETS = 1000


def application(kind: str, *terms: str) -> Any:
    """The server's ASGI application."""
    server: FastMCP[Any] = FastMCP("bench")

    @server.tool
    def lookup(number: int) -> int:
        """Give the number back."""
        return number

    @server.custom_route("/readyz", ["GET"])
    async def ready(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ready")

    if kind == "embedded":
        config = Config.from_environment(dotenv=None)
        tally = Tally.open(config.database_url, economy=config.economy, test_mode=False)
        server.add_middleware(TallyMiddleware(tally, customer=_someone(tally)))
    if kind == "remote":
        port, key, customer = terms
        client = TallyClient(base_url=f"http://{HOST}:{port}", api_key=key)
        server.add_middleware(TallyMiddleware(client, customer=customer))
    return server.http_app(path="/mcp", stateless_http=True, json_response=True)


def _someone(tally: Tally) -> Callable[[], str]:
    """Another customer each time."""
    customers = cycle(open_customers(tally, WALLETS))
    return lambda: next(customers)


if __name__ == "__main__":
    with on_one_core():
        uvicorn.run(
            application(*sys.argv[2:]), host=HOST, port=int(sys.argv[1]), log_level="error", access_log=False
        )
