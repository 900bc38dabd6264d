"""One embedded Tallystick in a process of its own, so that its memory is its own: asked in lines of JSON.

``open`` customers, ``warm`` every wallet with one charge, ``fill`` with a number of charges, ``charge`` for
some seconds, ``balances`` of customers taken by chance.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from bench.machine import on_one_core
from tallystick.bench_charges import CALLER, Measured, drive, open_customers, report
from tallystick.bootstrap import Tally
from tallystick.core.ids import to_text
from tallystick.services.pricing import Usage

FILLING_CLIENTS = 256


class Asked:
    """What can be asked of one database."""

    def __init__(self, tally: Tally, batches: list[int]) -> None:
        self._tally = tally
        self._batches = batches
        self._source = random.Random(7)
        with tally.database.read() as connection:
            rows = connection.exec_driver_sql("SELECT id FROM customers ORDER BY id").all()
        self._customers = [to_text("cust", row[0]) for row in rows]

    def open(self, *, customers: int) -> dict[str, Any]:
        """Make customers with two lots each."""
        self._customers += open_customers(self._tally, customers)
        return {"customers": len(self._customers)}

    def warm(self) -> dict[str, Any]:
        """Charge every customer once, so that what may be kept in memory is there."""
        return self._charge_all(list(self._customers))

    def fill(self, *, charges: int) -> dict[str, Any]:
        """Make this many charges as fast as can be, of customers taken by chance."""
        return self._charge_all(self._source.choices(self._customers, k=charges))

    def charge(self, *, clients: int, seconds: float, kind: str) -> dict[str, Any]:
        """Charges a second, by clients who each wait for their own."""
        self._batches.clear()
        measured = Measured(batches=self._batches)
        seed = self._source.randrange(2**30)
        drive(self._tally, self._customers, measured, clients=clients, seconds=seconds, kind=kind, seed=seed)
        figures = report(
            measured, engine="sqlite", clients=clients, wallets=len(self._customers), kind=kind, fsync_ms=0.0
        )
        return {**figures, "rss_mib": rss_mib()}

    def balances(self, *, number: int) -> dict[str, Any]:
        """How long the service takes to give a balance, in milliseconds."""
        times = []
        for customer in self._source.choices(self._customers, k=number):
            began = time.perf_counter()
            self._tally.billing.balance(CALLER, customer=customer)
            times.append(time.perf_counter() - began)
        times.sort()
        return {"p50_ms": times[number // 2] * 1000, "p99_ms": times[number * 99 // 100] * 1000}

    def _charge_all(self, customers: list[str]) -> dict[str, Any]:
        charges, before = len(customers), rss_mib()
        started = time.perf_counter()
        asyncio.run(self._run(customers))
        seconds = time.perf_counter() - started
        return {"charges_per_s": round(charges / seconds), "rss_before_mib": before, "rss_mib": rss_mib()}

    async def _run(self, customers: list[str]) -> None:
        create, source = self._tally.charges.create_async, self._source

        async def client() -> None:
            while customers:
                usage = Usage(meter="lookup", customer=customers.pop())
                await create(CALLER, usage, idempotency_key=f"{source.getrandbits(96):x}")

        await asyncio.gather(*(client() for _ in range(FILLING_CLIENTS)))


def rss_mib() -> float:
    """The memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def main() -> None:
    """Answer until standard input ends."""
    url, economy = sys.argv[1:]
    batches: list[int] = []
    with (
        on_one_core(),
        Tally.open(url, economy=economy, observe=lambda size, _seconds: batches.append(size)) as tally,
    ):
        asked = Asked(tally, batches)
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(getattr(asked, request.pop("do"))(**request)), flush=True)


if __name__ == "__main__":
    main()
