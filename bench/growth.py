"""A database with a million charges beside an empty one: charges a second, memory, and reads of balances."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.machine import ROOT
from bench.results import Figures, Result, alternate, middle
from bench.settings import Settings
from tallystick.bench_charges import ECONOMY
from tallystick.bench_http import get, load, server
from tallystick.core.ids import to_text

STEPS = 10
SLOWER_TARGET = 0.8
MEMORY_TARGET = 1.1
BALANCE_TARGET_MS = 5.0


class Library:
    """A process with one embedded Tallystick."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Have it do one thing. Raises ``RuntimeError`` when it died of it; its own words are on stderr."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            message = f"the process ended while it was asked to {do}"
            raise RuntimeError(message)
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def library(path: Path, economy: Path) -> Iterator[Library]:
    """An embedded Tallystick on the file ``path`` in a process of its own."""
    command = [sys.executable, "-m", "bench.library_process", f"sqlite:///{path}", str(economy)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Library(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def measure_growth(settings: Settings) -> list[Result]:
    """Fill one copy of a database, then measure it in turn with an empty copy of the same."""
    with TemporaryDirectory(prefix="tally-bench-", dir=settings.folder) as name:
        folder = Path(name).resolve()
        economy = folder / "bench.toml"
        economy.write_text(ECONOMY, encoding="utf-8")
        empty, full = folder / "empty.db", folder / "full.db"
        with library(empty, economy) as made:
            made.ask("open", customers=settings.many_wallets)
        _checkpoint(empty)
        shutil.copyfile(empty, full)
        with library(full, economy) as filled, library(empty, economy) as fresh:
            filling = [filled.ask("warm")]
            fresh.ask("warm")
            filling += [filled.ask("fill", charges=settings.many_charges // STEPS) for _ in range(STEPS)]
            asked: dict[str, Any] = {
                "clients": settings.clients,
                "seconds": settings.seconds,
                "kind": "coroutines",
            }
            found = alternate(
                settings.rounds,
                {
                    "full": lambda: filled.ask("charge", **asked),
                    "empty": lambda: fresh.ask("charge", **asked),
                },
            )
            balances = alternate(
                settings.rounds,
                {
                    "full": lambda: filled.ask("balances", number=settings.balances),
                    "empty": lambda: fresh.ask("balances", number=settings.balances),
                },
            )
        size = _rows_and_size(full)
        through_http = {
            which.stem: _balances_through_http(settings, folder, which, economy) for which in (empty, full)
        }
    return [
        _speed(settings, found, size),
        _memory(settings, filling),
        _balance("service", "through the service", balances),
        _balance("http", "through HTTP", {which: [each] for which, each in through_http.items()}),
    ]


def _checkpoint(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _rows_and_size(path: Path) -> Figures:
    with closing(sqlite3.connect(path)) as connection:
        [charges] = connection.execute("SELECT count(*) FROM transactions WHERE kind = 'charge'").fetchone()
    return {"charges": charges, "mib": round(path.stat().st_size / 2**20)}


def _balances_through_http(settings: Settings, folder: Path, path: Path, economy: Path) -> Figures:
    """``GET /billing/balance`` of customers taken by chance, over one connection."""
    with closing(sqlite3.connect(path)) as connection:
        customers = [to_text("cust", number) for [number] in connection.execute("SELECT id FROM customers")]
    source = random.Random(3)
    with server(folder=str(folder), url=f"sqlite:///{path}", economy=str(economy)) as (port, token):

        def ask() -> bytes:
            return get(f"/api/v1/billing/balance?customer={source.choice(customers)}", token=token)

        loaded = asyncio.run(load(port, ask, connections=1, seconds=settings.seconds))
    if set(loaded.statuses) != {200}:
        message = f"expected balances, got the statuses {dict(loaded.statuses)}: {loaded.last_body.decode()}"
        raise RuntimeError(message)
    return loaded.report()


def _speed(settings: Settings, found: dict[str, list[Figures]], size: Figures) -> Result:
    figure, beside = middle(found["full"], "charges_per_s"), middle(found["empty"], "charges_per_s")
    return Result(
        name="growth_speed",
        what=f"SQLite after {size['charges']:,} charges, {settings.many_wallets:,} wallets, coroutines",
        figure=figure,
        unit="charges/s",
        beside="almost empty database, same wallets",
        beside_figure=beside,
        target=f"ratio at least {SLOWER_TARGET}",
        met=figure >= SLOWER_TARGET * beside,
        details={"rounds": found, "size": size},
    )


def _memory(settings: Settings, filling: Sequence[Figures]) -> Result:
    """Measured from the first tenth on: by then every wallet was touched and SQLite's page cache is full."""
    first, last = filling[1]["rss_mib"], filling[-1]["rss_mib"]
    return Result(
        name="growth_memory",
        what=f"Memory after {settings.many_charges:,} charges",
        figure=last,
        unit="MiB",
        beside="after the first tenth",
        beside_figure=first,
        target=f"ratio at most {MEMORY_TARGET}",
        met=last <= MEMORY_TARGET * first,
        details={"before": filling[0]["rss_before_mib"], "steps": filling},
    )


def _balance(name: str, how: str, found: dict[str, list[Figures]]) -> Result:
    figure = middle(found["full"], "p50_ms")
    return Result(
        name=f"growth_balance_{name}",
        what=f"A balance {how}, median",
        figure=round(figure, 3),
        unit="ms",
        beside="almost empty database, same wallets",
        beside_figure=round(middle(found["empty"], "p50_ms"), 3),
        target=f"below {BALANCE_TARGET_MS:g} ms",
        met=figure < BALANCE_TARGET_MS,
        details={"rounds": found},
    )
