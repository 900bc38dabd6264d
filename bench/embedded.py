"""Durable charges through the services on SQLite: over many wallets, on one, and by one client alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import on_one_core
from bench.results import Figures, Result, alternate, middle
from bench.settings import Settings
from bench.yardstick import bare_commits
from tallystick import bench_charges

KINDS = ("threads", "coroutines")
SPREAD_TARGET = 10_000
HOT_TARGET = 0.8
ALONE_TARGET_MS = 3.0


def charges_on_sqlite(settings: Settings, *, kind: str, clients: int, wallets: int) -> Figures:
    """One run of ``tally bench`` on a new file. What was answered must be what the database holds."""
    with TemporaryDirectory(prefix="tally-bench-", dir=settings.folder) as name:
        path = Path(name) / "bench.db"
        with on_one_core():
            found = bench_charges.run(
                url=f"sqlite:///{path}",
                clients=clients,
                seconds=settings.seconds,
                wallets=wallets,
                kind=kind,
            )
        with closing(sqlite3.connect(path)) as connection:
            [held] = connection.execute("SELECT count(*) FROM transactions WHERE kind = 'charge'").fetchone()
    if held != found["charges"]:
        message = f"{found['charges']} charges were answered, and the database holds {held}"
        raise RuntimeError(message)
    return found


def measure_spread(settings: Settings) -> list[Result]:
    """Charges over many wallets, beside the bare commit."""
    runs = {kind: partial(_run, settings, kind, settings.clients, settings.wallets) for kind in KINDS}
    bare = partial(bare_commits, folder=settings.folder, seconds=settings.seconds, wallets=settings.wallets)
    found = alternate(settings.rounds, {**runs, "bare": bare})
    results = []
    for kind in KINDS:
        figure = middle(found[kind], "charges_per_s")
        results.append(
            Result(
                name=f"sqlite_{kind}",
                what=f"SQLite, {settings.clients} {kind}, {settings.wallets:,} wallets",
                figure=figure,
                unit="charges/s",
                beside="bare SQLite, one by one",
                beside_figure=middle(found["bare"], "charges_per_s"),
                target=f"at least {SPREAD_TARGET:,}/s",
                met=figure >= SPREAD_TARGET,
                details={"rounds": found[kind], "bare": found["bare"]},
            )
        )
    return results


def measure_hot(settings: Settings) -> list[Result]:
    """Everyone on one wallet, beside everyone spread."""
    runs = {
        f"{kind} {wallets}": partial(_run, settings, kind, settings.clients, wallets)
        for kind in KINDS
        for wallets in (1, settings.wallets)
    }
    found = alternate(settings.rounds, runs)
    results = []
    for kind in KINDS:
        hot, spread = found[f"{kind} 1"], found[f"{kind} {settings.wallets}"]
        figure, beside = middle(hot, "charges_per_s"), middle(spread, "charges_per_s")
        results.append(
            Result(
                name=f"hot_{kind}",
                what=f"SQLite, {settings.clients} {kind}, one hot wallet",
                figure=figure,
                unit="charges/s",
                beside=f"{settings.wallets:,} wallets",
                beside_figure=beside,
                target=f"ratio at least {HOT_TARGET}",
                met=figure >= HOT_TARGET * beside,
                details={"rounds": hot, "spread": spread},
            )
        )
    return results


def measure_alone(settings: Settings) -> list[Result]:
    """One client, who pays for every commit alone, beside the bare commit."""
    runs = {kind: partial(_run, settings, kind, 1, settings.wallets) for kind in KINDS}
    bare = partial(bare_commits, folder=settings.folder, seconds=settings.seconds, wallets=settings.wallets)
    found = alternate(settings.rounds, {**runs, "bare": bare})
    results = []
    for kind in KINDS:
        figure = middle(found[kind], "p50_ms")
        results.append(
            Result(
                name=f"alone_{kind}",
                what=f"SQLite, one client alone ({kind}), median",
                figure=figure,
                unit="ms",
                beside="bare SQLite",
                beside_figure=middle(found["bare"], "p50_ms"),
                target=f"below {ALONE_TARGET_MS:g} ms",
                met=figure < ALONE_TARGET_MS,
                details={"rounds": found[kind], "bare": found["bare"]},
            )
        )
    return results


def _run(settings: Settings, kind: str, clients: int, wallets: int) -> Figures:
    return charges_on_sqlite(settings, kind=kind, clients=clients, wallets=wallets)
