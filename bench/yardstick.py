"""The least that a durable charge on SQLite can be: one client, one transaction, an update and an insert.

No lots, no double entry, no price, no limit: what this disk and SQLite give to whoever commits one by one.
"""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

SCHEMA = """
CREATE TABLE balances (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL CHECK (amount >= 0));
CREATE TABLE charges (
  key TEXT PRIMARY KEY, balance_id INTEGER NOT NULL, amount INTEGER NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID;
"""


def bare_commits(*, folder: str, seconds: float, wallets: int) -> dict[str, float]:
    """Charges per second, latencies in milliseconds; WAL and ``synchronous=FULL`` as Tallystick has them."""
    with TemporaryDirectory(prefix="tally-bench-", dir=folder) as name:
        path = Path(name) / "bare.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(SCHEMA)
            connection.executemany(
                "INSERT INTO balances VALUES (?, ?)", [(n, 10**15) for n in range(wallets)]
            )
            return _charge(connection, seconds, wallets)


def _charge(connection: sqlite3.Connection, seconds: float, wallets: int) -> dict[str, float]:
    source = random.Random(1)
    latencies: list[float] = []
    clock = time.perf_counter
    started = clock()
    stop = started + seconds
    while (began := clock()) < stop:
        number = int(source.random() * wallets)
        connection.execute("BEGIN IMMEDIATE")
        drawn = connection.execute(
            "UPDATE balances SET amount = amount - 250000 WHERE id = ? AND amount >= 250000", (number,)
        )
        assert drawn.rowcount == 1
        row = (f"{source.getrandbits(96):x}", number, 250000, time.time_ns())
        connection.execute("INSERT INTO charges VALUES (?, ?, ?, ?)", row)
        connection.execute("COMMIT")
        latencies.append(clock() - began)
    spent = clock() - started
    latencies.sort()
    return {
        "charges_per_s": round(len(latencies) / spent),
        "p50_ms": round(latencies[len(latencies) // 2] * 1000, 3),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 3),
    }
