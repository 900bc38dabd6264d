"""How many durable charges a second the services do: `tally bench`.

Every client waits for its own charge to be committed before it makes the next. Clients are coroutines that await
``charges.create_async`` as the REST door does, or threads that call ``charges.create``. The price and the idempotency
key are real and nothing is switched off; as in live mode, there is no test clock to look for. SQLite commits with
``synchronous=FULL``. With ``http`` as many connections then charge through the REST door of a server process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Final

from tallystick.bench_http import Loaded, load, post, server
from tallystick.bootstrap import Tally
from tallystick.core.errors import ConfigurationError
from tallystick.core.ids import to_text
from tallystick.services.context import Caller
from tallystick.services.pricing import Usage

ECONOMY: Final = """
[economy]
title = "Bench"
primary_unit = "credits"
default_plan = "free"

[units.credits]
description = "Credits of the benchmark"

[plans.free]
title = "Free"
price_usd = 0

[[sign_up]]
unit = "credits"
amount = 500000000
category = "initial_grant"
description = "First lot"

[[sign_up]]
unit = "credits"
amount = 500000000
category = "bonus"
description = "Second lot"

[low_balance]
credits = [20, 100]

[meters.lookup]
category = "api"
description = "One look-up"
[[meters.lookup.prices]]
kind = "per_unit"
per_unit = 0.25
"""

CHARGES: Final = "/api/v1/charges"
MADE: Final = 201
CALLER: Final = Caller(role="service", scope="service:bench", name="service:bench")


@dataclass(slots=True)
class Measured:
    """What was seen while the clients ran."""

    latencies: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def run(
    *,
    engine: str = "sqlite",
    url: str | None = None,
    clients: int = 64,
    seconds: float = 5.0,
    wallets: int = 1000,
    kind: str = "coroutines",
    http: bool = False,
    seed: int = 1,
) -> dict[str, object]:
    """Run the benchmark; ``kind`` is ``threads`` or ``coroutines``; ``http`` adds figures under that name.

    Rates are per second, times in milliseconds.
    """
    with _database(engine, url) as (address, folder):
        path = Path(folder) / "bench.toml"
        path.write_text(ECONOMY, encoding="utf-8")
        measured = Measured()
        tally = Tally.open(
            address,
            economy=str(path),
            test_mode=False,
            observe=lambda size, _seconds: measured.batches.append(size),
        )
        with tally:
            customers = open_customers(tally, wallets)
            measured.batches.clear()
            drive(tally, customers, measured, clients=clients, seconds=seconds, kind=kind, seed=seed)
        figures = report(
            measured, engine=engine, clients=clients, wallets=wallets, kind=kind, fsync_ms=fsync_ms(folder)
        )
        if http:
            with server(folder=folder, url=address, economy=str(path)) as (port, token):
                loaded = charge_through(port, token, customers, clients=clients, seconds=seconds, seed=seed)
            figures["http"] = _http_report(loaded, clients)
        return figures


@contextmanager
def _database(engine: str, url: str | None) -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory(
        prefix="tally-bench-", dir=os.environ.get("TALLY_BENCH_DIR", ".")
    ) as folder:
        if engine == "sqlite":
            yield url or f"sqlite:///{folder}/bench.db", folder
        elif engine == "postgresql" and url is not None:
            yield url, folder
        else:
            message = (
                "bench: expected the engine sqlite, or postgresql with a database URL to an empty database"
            )
            raise ConfigurationError(message)


def open_customers(tally: Tally, count: int) -> list[str]:
    """Customers with two lots each, by their ids."""
    customers: list[str] = []
    for start in range(0, count, 100):

        def work(connection: object, start: int = start) -> list[int]:
            return [
                tally.customers.open(connection, external_id=None, email=None)  # type: ignore[arg-type]
                for _ in range(min(100, count - start))
            ]

        customers += [to_text("cust", number) for number in tally.database.transact(work)]
    return customers


def drive(
    tally: Tally,
    customers: list[str],
    measured: Measured,
    *,
    clients: int,
    seconds: float,
    kind: str,
    seed: int,
) -> None:
    """Let all clients charge until the time is up."""
    stop = time.perf_counter() + seconds
    cpu = time.process_time()
    started = time.perf_counter()
    if kind == "coroutines":
        asyncio.run(_drive_coroutines(tally, customers, measured, clients=clients, stop=stop, seed=seed))
    else:
        threads = [
            threading.Thread(target=_thread, args=(tally, customers, measured, stop, source))
            for source in _sources(seed, clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    measured.seconds = time.perf_counter() - started
    measured.cpu_seconds = time.process_time() - cpu


def _thread(
    tally: Tally, customers: list[str], measured: Measured, stop: float, source: random.Random
) -> None:
    clock, create = time.perf_counter, tally.charges.create
    while (began := clock()) < stop:
        usage = Usage(meter="lookup", customer=customers[int(source.random() * len(customers))])
        create(CALLER, usage, idempotency_key=f"{source.getrandbits(96):x}")
        measured.latencies.append(clock() - began)


def _sources(seed: int, clients: int) -> list[random.Random]:
    """Each client's own chance: for choosing customers, and for keys that are not used twice."""
    return [random.Random(seed * 10_007 + number) for number in range(clients)]  # noqa: S311 - no secrets


async def _drive_coroutines(
    tally: Tally, customers: list[str], measured: Measured, *, clients: int, stop: float, seed: int
) -> None:
    clock, create = time.perf_counter, tally.charges.create_async

    async def client(source: random.Random) -> None:
        while (began := clock()) < stop:
            usage = Usage(meter="lookup", customer=customers[int(source.random() * len(customers))])
            await create(CALLER, usage, idempotency_key=f"{source.getrandbits(96):x}")
            measured.latencies.append(clock() - began)

    await asyncio.gather(*(client(source) for source in _sources(seed, clients)))


def charge_through(
    port: int,
    token: str,
    customers: list[str],
    *,
    clients: int,
    seconds: float,
    path: str = CHARGES,
    seed: int = 1,
) -> Loaded:
    """Let connections charge through the REST door until the time is up.

    Raises ``RuntimeError`` unless every charge is made.
    """
    source = random.Random(seed)  # noqa: S311 - no secrets
    bodies = [json.dumps({"customer": customer, "meter": "lookup"}).encode() for customer in customers]

    def request() -> bytes:
        body = bodies[int(source.random() * len(bodies))]
        return post(path, token=token, key=f"{source.getrandbits(96):x}", body=body)

    loaded = asyncio.run(load(port, request, connections=clients, seconds=seconds))
    if set(loaded.statuses) != {MADE}:
        answer = loaded.last_body.decode(errors="replace")
        message = f"expected charges, got the statuses {dict(loaded.statuses)}, at last {answer}"
        raise RuntimeError(message)
    return loaded


def _http_report(loaded: Loaded, clients: int) -> dict[str, object]:
    figures = loaded.report()
    return {
        "clients": clients,
        "charges": figures.pop("requests"),
        "charges_per_s": figures.pop("per_s"),
        **figures,
    }


def report(
    measured: Measured, *, engine: str, clients: int, wallets: int, kind: str, fsync_ms: float
) -> dict[str, object]:
    """The figures, rounded for reading."""
    latencies = sorted(measured.latencies)
    return {
        "engine": engine,
        "clients": clients,
        "wallets": wallets,
        "kind": kind,
        "charges": len(latencies),
        "batch_mean": round(mean(measured.batches), 1),
        "charges_per_s": round(len(latencies) / measured.seconds),
        "p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 2),
        "cpu_s": round(measured.cpu_seconds, 2),
        "fsync_ms": round(fsync_ms, 3),
    }


def fsync_ms(folder: str, *, rounds: int = 50) -> float:
    """The median time in which this disk makes 64 KiB durable."""
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(rounds):
            file.write(os.urandom(65536))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return median(times) * 1000
