"""What the peers' programs share: clients who each wait for their own commit, as threads or as tasks.

Only the standard library: this runs in the peers' own virtual environment.
"""

import argparse
import asyncio
import json
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
Charge = Callable[[int, str], None]
AsyncCharge = Callable[[int, str], Awaitable[None]]
PREPARING = 16


def arguments() -> argparse.Namespace:
    """What the bench asks of a peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="an empty PostgreSQL database")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--kind", choices=["threads", "coroutines"], required=True)
    return parser.parse_args()


def prepare(work: Callable[[S], T], items: Iterable[S], asked: argparse.Namespace) -> list[T]:
    """Do ``work`` with every item, several at a time, before anything is measured."""
    with ThreadPoolExecutor(min(asked.connections, PREPARING)) as executor:
        return list(executor.map(work, items))


def drive_threads(charge: Charge, asked: argparse.Namespace) -> tuple[list[float], float]:
    """Latencies and seconds of threads that call ``charge`` with an account's number and a new key."""
    latencies: list[float] = []
    failures: list[BaseException] = []
    clock = time.perf_counter
    started = clock()
    stop = started + asked.seconds

    def client(source: random.Random) -> None:
        try:
            while (began := clock()) < stop:
                charge(int(source.random() * asked.accounts), f"{source.getrandbits(96):x}")
                latencies.append(clock() - began)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the figures are void
            failures.append(error)

    threads = [
        threading.Thread(target=client, args=(random.Random(10_007 + n),)) for n in range(asked.clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return latencies, clock() - started


async def drive_tasks(charge: AsyncCharge, asked: argparse.Namespace) -> tuple[list[float], float]:
    """As ``drive_threads``, for tasks of one event loop."""
    latencies: list[float] = []
    clock = time.perf_counter
    started = clock()
    stop = started + asked.seconds

    async def client(source: random.Random) -> None:
        while (began := clock()) < stop:
            await charge(int(source.random() * asked.accounts), f"{source.getrandbits(96):x}")
            latencies.append(clock() - began)

    await asyncio.gather(*(client(random.Random(10_007 + n)) for n in range(asked.clients)))
    return latencies, clock() - started


def report(latencies: list[float], seconds: float, *, rows: int, asked: argparse.Namespace) -> None:
    """Print the figures as one line of JSON; ``rows`` are the charges that the database holds."""
    if rows != len(latencies):
        message = f"{len(latencies)} charges were answered, and the database holds {rows}"
        raise SystemExit(message)
    latencies.sort()
    figures = {
        "kind": asked.kind,
        "charges": rows,
        "charges_per_s": round(rows / seconds),
        "p50_ms": round(latencies[rows // 2] * 1000, 2),
        "p99_ms": round(latencies[rows * 99 // 100] * 1000, 2),
        "cpu_s": round(time.process_time(), 2),
    }
    print(json.dumps(figures))
