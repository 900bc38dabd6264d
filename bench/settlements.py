"""Settlements: 64 clients complete tasks that were held and accepted before, on SQLite and PostgreSQL.

The owners are as many as the requesters, or one whom everybody hires. Beside it, the same clients charge as many wallets.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from bench.machine import on_one_core
from bench.results import Figures, Result, alternate, middle
from bench.settings import Settings
from tallystick import bench_charges
from tallystick.bench_charges import ECONOMY, open_customers
from tallystick.bootstrap import Tally
from tallystick.core.ids import from_text, to_text
from tallystick.services.context import Caller
from tests.postgres import temporary_database, temporary_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
R = TypeVar("R")

TARGETS = {"sqlite": 3000, "postgresql": 1500}
FEE = "\n[task_fee]\nbasis_points = 500\n"
PRICE = "0.5"


def measure_settlements(settings: Settings) -> list[Result]:
    """Over many owners, and with one, on both databases."""
    results: list[Result] = []
    with temporary_postgres() as server:
        for engine in TARGETS:
            database = partial(_database, settings.folder, server if engine == "postgresql" else None)
            found = alternate(
                settings.rounds,
                {
                    "many": partial(_settle, settings, database, owners=settings.wallets),
                    "one": partial(_settle, settings, database, owners=1),
                    "charges": partial(_charges, settings, engine, database),
                },
            )
            results += [_result(settings, engine, found, owners) for owners in ("many", "one")]
    return results


def _result(settings: Settings, engine: str, found: dict[str, list[Figures]], owners: str) -> Result:
    figure = middle(found[owners], "per_s")
    target = TARGETS[engine] if owners == "many" else TARGETS[engine] // 2
    whose = f"{settings.wallets:,} owners" if owners == "many" else "one agent that all hire"
    return Result(
        name=f"settlements_{engine}_{owners}",
        what=f"settlements on {engine}, {settings.clients} threads, {whose}",
        figure=figure,
        unit="settlements/s",
        beside="charges by the same clients",
        beside_figure=middle(found["charges"], "charges_per_s"),
        target=f"at least {target:,}/s",
        met=figure >= target,
        details={"rounds": found[owners], "charges": found["charges"]},
    )


@contextmanager
def _database(folder: str, server: str | None) -> Iterator[tuple[str, Path]]:
    """An empty database's URL, and a folder for the economy."""
    with TemporaryDirectory(prefix="tally-bench-", dir=folder) as name:
        if server is None:
            yield f"sqlite:///{name}/bench.db", Path(name)
        else:
            with temporary_database(server) as url:
                yield url, Path(name)


Database = Callable[[], AbstractContextManager[tuple[str, Path]]]


def _charges(settings: Settings, engine: str, database: Database) -> Figures:
    with database() as (url, _), on_one_core():
        return bench_charges.run(
            engine=engine,
            url=url,
            clients=settings.clients,
            seconds=settings.seconds,
            wallets=settings.wallets,
            kind="threads",
        )


def _settle(settings: Settings, database: Database, *, owners: int) -> Figures:
    with database() as (url, folder):
        economy = folder / "bench.toml"
        economy.write_text(ECONOMY + FEE, encoding="utf-8")
        with Tally.open(url, economy=str(economy), test_mode=False) as tally, on_one_core():
            return _rates(tally, settings, owners)


def _rates(tally: Tally, settings: Settings, owners: int) -> Figures:
    """How many tasks are created, accepted and completed in a second, each step by itself."""
    requesters = [_caller(each) for each in open_customers(tally, settings.wallets)]
    hired = [_caller(each) for each in open_customers(tally, owners)]
    agents = [
        to_text("agent", tally.agents.register(each, name="worker", price_per_task=PRICE).value.id)
        for each in hired
    ]
    service = tally.tasks

    def create(number: int) -> tuple[Caller, str]:
        who, agent = requesters[number % len(requesters)], number % len(agents)
        made = service.create(who, agent=agents[agent], input="do it", idempotency_key=f"create {number}")
        return hired[agent], to_text("task", made.value.id)

    def accept(made: tuple[Caller, str]) -> None:
        service.accept(made[0], made[1], idempotency_key=f"accept {made[1]}")

    def complete(made: tuple[Caller, str]) -> None:
        service.complete(made[0], made[1], idempotency_key=f"complete {made[1]}")

    tasks, creating = _all(settings.clients, create, range(settings.tasks))
    _, accepting = _all(settings.clients, accept, tasks)
    _, completing = _all(settings.clients, complete, tasks)
    _compare(tally, settings.tasks)
    rates = {"created_per_s": creating, "accepted_per_s": accepting, "per_s": completing}
    return {name: round(settings.tasks / seconds) for name, seconds in rates.items()}


def _caller(customer: str) -> Caller:
    return Caller(role="user", scope=customer, name=customer, customer_id=from_text("cust", customer))


def _all(clients: int, work: Callable[[T], R], items: Sequence[T]) -> tuple[list[R], float]:
    """Do the work for each item, shared by all clients; gives what came of it, and the seconds."""
    waiting = iter(items)
    lock = threading.Lock()
    done: list[R] = []

    def client() -> None:
        while True:
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            done.append(work(item))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done, time.perf_counter() - started


def _compare(tally: Tally, tasks: int) -> None:
    """Every task is paid."""
    with tally.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT status, paid, fee FROM tasks")
        found = Counter(tuple(row) for row in rows)
    if found != {("completed", 500_000, 25_000): tasks}:
        message = f"{tasks} tasks were completed, and the database holds {dict(found)}"
        raise RuntimeError(message)
