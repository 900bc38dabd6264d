"""Metering of APIs and functions stands alone: with nothing but httpx installed."""

import subprocess
import sys

PROGRAM = """
import asyncio, importlib.abc, sys

ALLOWED = {"anyio", "certifi", "h11", "httpcore", "httpx", "idna", "sniffio", "tallystick", "typing_extensions"}
ALLOWED |= sys.stdlib_module_names


class OnlyHttpx(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, OnlyHttpx())
import httpx
from tallystick.client import TallyClient
from tallystick.metering import Metering, Rule, TallyASGIMiddleware, meter

metering = Metering(TallyClient(base_url="http://127.0.0.1:9", api_key="tly_x"))


@meter(Rule(meter="search", when_away="open"), client=metering)
def search():
    return "found"


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": search().encode()})


async def ask():
    metered = TallyASGIMiddleware(app, client=metering, rules={"GET /open": Rule(meter="m", when_away="open"),
                                                               "GET /": Rule(meter="m")}, customer="ann")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(metered), base_url="http://app") as client:
        opened, closed = await client.get("/open"), await client.get("/")
        print(opened.text, closed.status_code, closed.json()["code"])


asyncio.run(ask())
metering.close()
"""


def test_it_needs_httpx_and_nothing_else() -> None:
    """Whatever else is installed is hidden from it; the server that it would ask is away."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ("found 503 SERVICE_UNAVAILABLE\n", 0) == (done.stdout, done.returncode), done.stderr
