"""An MCP server whose one tool costs a credit, billed by a server elsewhere: ``PORT BILLING_URL KEY FILE closed|lend``."""

from __future__ import annotations

import random
import sys
import time

import anyio.to_thread
import uvicorn
from fastmcp import FastMCP
from fastmcp.server.dependencies import get_http_headers
from starlette.requests import Request
from starlette.responses import JSONResponse

from tallystick.client import TallyClient
from tallystick.metering import Lease, Metering, Rule, TallyMiddleware


class Announcing(uvicorn.Server):
    """Says when it is ready."""

    async def startup(self, sockets: object = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)  # type: ignore[arg-type]
        print("the tools' server listens on its port", flush=True)  # noqa: T201 - whoever started it waits


def main(port: str, url: str, key: str, file: str, policy: str) -> None:
    """Serve until killed."""
    metering = Metering(TallyClient(base_url=url, api_key=key), unsettled_file=file)
    rule = Rule(meter="work", when_away=Lease(quantity=100_000) if policy == "lend" else "closed")
    server: FastMCP[object] = FastMCP("tools")
    payer = lambda: get_http_headers().get("x-customer")  # noqa: E731 - one line says it
    server.add_middleware(TallyMiddleware(metering, rules={"work": rule}, customer=payer))

    @server.tool
    def work(number: int) -> int:
        """Take a moment."""
        time.sleep(random.random() / 50)
        return number

    @server.custom_route("/unsettled", ["GET"])
    async def unsettled(_: Request) -> JSONResponse:
        return JSONResponse(await anyio.to_thread.run_sync(metering.settle))

    app = server.http_app(path="/mcp", stateless_http=True, json_response=True)
    Announcing(uvicorn.Config(app, port=int(port), log_level="error", access_log=False)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
