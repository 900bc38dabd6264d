"""Durable charges on PostgreSQL beside the peers: one server with its own settings, as many clients each.

The peers are installed from PyPI into a virtual environment of their own, and run as programs of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from bench.machine import ROOT, on_one_core
from bench.results import Figures, Result, alternate, middle
from bench.settings import Settings
from tallystick import bench_charges
from tests.postgres import temporary_database, temporary_postgres

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
ENVIRONMENT = ROOT / ".venv" / "bench-peers"
KINDS = ("threads", "coroutines")
TARGET = 10.0

# A smaller pool than clients can be the faster one, and so can one core, as we have it ourselves: the best of all
# counts. credit-ledger has no asynchronous client, and its threads starve one another on a small pool.
VARIANTS: dict[str, tuple[str, str, int, Callable[[], AbstractContextManager[None]]]] = {
    "credit-ledger, threads": ("credit_ledger_charges", "threads", 1, nullcontext),
    "credit-ledger, threads, one core": ("credit_ledger_charges", "threads", 1, on_one_core),
    "hf-nostro, threads": ("hf_nostro_charges", "threads", 1, nullcontext),
    "hf-nostro, threads, small pool": ("hf_nostro_charges", "threads", 4, nullcontext),
    "hf-nostro, threads, small pool, one core": ("hf_nostro_charges", "threads", 4, on_one_core),
    "hf-nostro, coroutines, small pool": ("hf_nostro_charges", "coroutines", 4, nullcontext),
    "hf-nostro, coroutines, small pool, one core": ("hf_nostro_charges", "coroutines", 4, on_one_core),
}


def measure_postgresql(settings: Settings) -> list[Result]:
    """Tallystick's clients and the peers', in turn on the same server."""
    if settings.with_peers:
        install_peers()
    with temporary_postgres() as server:
        runs = {kind: partial(_tallystick, settings, server, kind) for kind in KINDS}
        if settings.with_peers:
            runs |= {name: partial(_peer, settings, server, *how) for name, how in VARIANTS.items()}
        found = alternate(settings.rounds, runs)
        durability = _durability(server)
    peers = {name: middle(found[name], "charges_per_s") for name in VARIANTS if name in found}
    fastest = max(peers, key=lambda name: peers[name]) if peers else None
    beside = None if fastest is None else peers[fastest]
    results = []
    for kind in KINDS:
        figure = middle(found[kind], "charges_per_s")
        results.append(
            Result(
                name=f"postgresql_{kind}",
                what=f"PostgreSQL, {settings.clients} {kind}, {settings.wallets:,} wallets",
                figure=figure,
                unit="charges/s",
                beside=fastest or "no peer (not asked for)",
                beside_figure=beside,
                target=f"ratio at least {TARGET:g}",
                met=None if beside is None else figure >= TARGET * beside,
                details={
                    "rounds": found[kind],
                    "peers": {name: found[name] for name in peers},
                    "server": durability,
                },
            )
        )
    return results


def install_peers() -> Path:
    """The peers' Python. They are installed once; another requirements.txt installs them anew."""
    python = ENVIRONMENT / "bin" / "python"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    done = ENVIRONMENT / "requirements.txt"
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    install = [
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    subprocess.run([str(python), *install, "--requirement", str(REQUIREMENTS)], check=True)
    done.write_text(wanted, encoding="utf-8")
    return python


def _tallystick(settings: Settings, server: str, kind: str) -> Figures:
    with temporary_database(server) as url, on_one_core():
        found = bench_charges.run(
            engine="postgresql",
            url=url,
            clients=settings.clients,
            seconds=settings.seconds,
            wallets=settings.wallets,
            kind=kind,
        )
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT count(*) FROM transactions WHERE kind = 'charge'").fetchone()
    if row is None or row[0] != found["charges"]:
        message = f"{found['charges']} charges were answered, and the database holds {row}"
        raise RuntimeError(message)
    return found


def _peer(
    settings: Settings,
    server: str,
    program: str,
    kind: str,
    sharing: int,
    cores: Callable[[], AbstractContextManager[None]],
) -> Figures:
    """One run of a peer; ``sharing`` clients share a connection."""
    options = {
        "--clients": settings.clients,
        "--connections": max(1, settings.clients // sharing),
        "--accounts": settings.wallets,
        "--seconds": settings.seconds,
        "--kind": kind,
    }
    with temporary_database(server) as url, cores():
        command = [str(ENVIRONMENT / "bin" / "python"), "-m", f"bench.peers.{program}", "--url", url]
        command += [str(part) for option in options.items() for part in option]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{program} failed: {done.stderr.strip()[-2000:]}"
        raise RuntimeError(message)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _durability(server: str) -> dict[str, str]:
    """What the server says of its own safety: all of it is on, as it comes."""
    settings = (
        "server_version",
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "wal_sync_method",
        "max_connections",
    )
    found = {}
    with psycopg.connect(server) as connection:
        for name in settings:
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            found[name] = "" if row is None else str(row[0])
    return found
