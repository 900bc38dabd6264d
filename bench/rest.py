"""``POST /charges`` through a server process, beside a route of it that only authenticates and validates.

The server runs as ``tally serve`` runs it; the load comes from this process, over kept connections.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.results import Figures, Result, alternate, middle
from bench.serve import NOTHING
from bench.settings import Settings
from tallystick.bench_charges import CHARGES, ECONOMY, charge_through, open_customers
from tallystick.bench_http import server
from tallystick.bootstrap import Tally

TARGET = 0.6

_SEEDS = count(1)  # each run's idempotency keys are its own


def measure_rest(settings: Settings) -> list[Result]:
    """Charges through the REST door of one server on SQLite."""
    with TemporaryDirectory(prefix="tally-bench-", dir=settings.folder) as name:
        folder = Path(name).resolve()
        economy, path = folder / "bench.toml", folder / "bench.db"
        economy.write_text(ECONOMY, encoding="utf-8")
        url = f"sqlite:///{path}"
        with Tally.open(url, economy=str(economy)) as tally:
            customers = open_customers(tally, settings.wallets)
        with server(folder=name, url=url, economy=str(economy), command=serve_command) as (port, token):
            requests = partial(_requests, settings, port, token, customers)
            requests(CHARGES)  # the first requests of a process are slower than all others
            before = _charges_in(path)
            found = alternate(
                settings.rounds,
                {"charges": partial(requests, CHARGES), "nothing": partial(requests, NOTHING)},
            )
            held = _charges_in(path) - before
    answered = sum(each["requests"] for each in found["charges"])
    if held != answered:
        message = f"{answered} charges were answered, and the database holds {held}"
        raise RuntimeError(message)
    figure, beside = middle(found["charges"], "per_s"), middle(found["nothing"], "per_s")
    return [
        Result(
            name="http_charges",
            what=f"POST /charges, {settings.clients} connections, {settings.wallets:,} wallets",
            figure=figure,
            unit="requests/s",
            beside="a route that only authenticates and validates",
            beside_figure=beside,
            target=f"ratio at least {TARGET}",
            met=figure >= TARGET * beside,
            details={"rounds": found},
        )
    ]


def serve_command(port: int) -> list[str]:
    """``tally serve`` with the route that does nothing."""
    return [sys.executable, "-m", "bench.serve", str(port)]


def _requests(settings: Settings, port: int, token: str, customers: list[str], path: str) -> Figures:
    loaded = charge_through(
        port,
        token,
        customers,
        clients=settings.clients,
        seconds=settings.seconds,
        path=path,
        seed=next(_SEEDS),
    )
    return loaded.report()


def _charges_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM transactions WHERE kind = 'charge'").fetchone()[
            0
        ]
        return count
