"""What a price on a tool costs: calls of an MCP server over HTTP, beside the same server without a price.

Both run as processes of their own at the same time, and take turns. A metered call is held before it runs and captured
after it, each in a commit of SQLite that is on the disk.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.results import Figures, Result, alternate, middle
from bench.settings import Settings
from tallystick.bench_charges import ECONOMY
from tallystick.bench_http import HOST, load, server
from tallystick.client import TallyClient

MANY = 32
MOST_ADDED_MS = 3.0
LEAST_RATIO = 0.7
OK = 200


def measure_metering(settings: Settings) -> list[Result]:
    """One client's median, and the throughput of 32."""
    with TemporaryDirectory(prefix="tally-bench-", dir=settings.folder) as name:
        folder = Path(name).resolve()
        economy, path = folder / "bench.toml", folder / "bench.db"
        economy.write_text(ECONOMY, encoding="utf-8")
        run = partial(server, folder=name, economy=str(economy), url=f"sqlite:///{path}")
        with run(command=_command("embedded")) as (metered, _), run(command=_command("plain")) as (plain, _):
            ports = {"metered": metered, "plain": plain}
            found = {
                clients: alternate(
                    settings.rounds,
                    {kind: partial(_calls, settings, port, clients) for kind, port in ports.items()},
                )
                for clients in (1, MANY)
            }
            with (
                run(url=f"sqlite:///{folder}/elsewhere.db") as (billing, key),
                run(command=_command("remote", str(billing), key, _customer(billing, key))) as (remote, _),
            ):
                _calls(settings, remote, 1)  # the first calls of a process are slower than all others
                ports = {"remote": remote, "plain": plain}
                elsewhere = alternate(
                    settings.rounds,
                    {kind: partial(_calls, settings, port, 1) for kind, port in ports.items()},
                )
        _compare(path, sum(each["requests"] for runs in found.values() for each in runs["metered"]))
    return [_alone(found[1]), _together(found[MANY]), _elsewhere(elsewhere)]


def _customer(port: int, key: str) -> str:
    """Somebody with more credits than a run can spend: the economy gives them."""
    with TallyClient(base_url=f"http://{HOST}:{port}", api_key=key) as client:
        return client.customers.create(external_id="bench").id


def _alone(found: dict[str, list[Figures]]) -> Result:
    figure, beside = middle(found["metered"], "p50_ms"), middle(found["plain"], "p50_ms")
    return Result(
        name="metering_alone",
        what="a metered tool call over HTTP, one client, median",
        figure=figure,
        unit="ms",
        beside="the same call without a price",
        beside_figure=beside,
        target=f"at most {MOST_ADDED_MS:g} ms more",
        met=figure - beside <= MOST_ADDED_MS,
        details={"rounds": found},
    )


def _elsewhere(found: dict[str, list[Figures]]) -> Result:
    return Result(
        name="metering_remote",
        what="the same, billed by a server in another process",
        figure=middle(found["remote"], "p50_ms"),
        unit="ms",
        beside="the same call without a price",
        beside_figure=middle(found["plain"], "p50_ms"),
        details={"rounds": found},
    )


def _together(found: dict[str, list[Figures]]) -> Result:
    figure, beside = middle(found["metered"], "per_s"), middle(found["plain"], "per_s")
    return Result(
        name="metering_32",
        what=f"metered tool calls over HTTP, {MANY} clients",
        figure=figure,
        unit="calls/s",
        beside="the same calls without a price",
        beside_figure=beside,
        target=f"ratio at least {LEAST_RATIO}",
        met=figure >= LEAST_RATIO * beside,
        details={"rounds": found},
    )


def _command(*terms: str) -> Callable[[int], list[str]]:
    return lambda port: [sys.executable, "-m", "bench.metered_tools", str(port), *terms]


def _calls(settings: Settings, port: int, clients: int) -> Figures:
    numbers = count()
    loaded = asyncio.run(
        load(port, lambda: _call(next(numbers)), connections=clients, seconds=settings.seconds)
    )
    if set(loaded.statuses) != {OK} or b'"isError":true' in loaded.last_body:
        message = f"the tool answered {dict(loaded.statuses)}: {loaded.last_body!r}"
        raise RuntimeError(message)
    return loaded.report()


def _call(number: int) -> bytes:
    """The bytes of one call."""
    asked = {"name": "lookup", "arguments": {"number": number}}
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": asked}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _compare(path: Path, answered: int) -> None:
    """Every call that was answered is charged, and no hold is left."""
    with closing(sqlite3.connect(path)) as connection:
        (captured,) = connection.execute("SELECT count(*) FROM holds WHERE status = 'captured'").fetchone()
        (left,) = connection.execute("SELECT count(*) FROM holds WHERE status <> 'captured'").fetchone()
    if (captured, left) != (answered, 0):
        message = f"{answered} calls were answered, {captured} are charged, and {left} holds are left"
        raise RuntimeError(message)
