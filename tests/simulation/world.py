"""What the simulation runs on: a clock that is told the time, statements that fail when told, processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.book import Book
from tallystick.core.catalog import Economy
from tallystick.core.ids import MAX_NODES, IdSource
from tallystick.core.operations import Operation
from tallystick.store import economies
from tallystick.store.audit import AuditReport, audit
from tallystick.store.driver import Change, Driver, Insert, Row
from tallystick.store.engine import Database
from tallystick.store.kept import StampedWallets
from tallystick.store.ledger import Ledger
from tallystick.store.results import Outcome
from tests.economy_of_tests import TEXT

T = TypeVar("T")


class Crash(Exception):  # noqa: N818 - nobody's error: it is what is simulated
    """The process or its connection died at this statement."""


class Clock:
    """The time, in microseconds since the epoch, for everyone."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        """Read the clock."""
        return self.now


class FaultyDriver:
    """A driver that can be told to fail at its n-th statement from now, half-way through its rows."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._left: int | None = None
        self.for_update = driver.for_update

    def arm(self, statements: int | None) -> None:
        """Fail when ``statements`` more have been done; None for never."""
        self._left = statements

    def _count(self) -> bool:
        """Whether this is the statement that fails."""
        if self._left is None:
            return False
        self._left -= 1
        return self._left < 0

    def fetch(self, raw: Any, statements: Sequence[tuple[str, Row]]) -> list[list[Row]]:
        """Every statement's rows; one by one while a failure is due."""
        if self._left is None:
            return self._driver.fetch(raw, statements)
        rows: list[list[Row]] = []
        for statement in statements:
            if self._count():
                raise Crash
            rows += self._driver.fetch(raw, [statement])
        return rows

    def insert(self, raw: Any, what: Insert, rows: Sequence[Row]) -> None:
        """Insert all rows, or half of them and fail."""
        if self._count():
            self._driver.insert(raw, what, rows[: len(rows) // 2] or rows)
            raise Crash
        self._driver.insert(raw, what, rows)

    def change(self, raw: Any, what: Change, rows: Sequence[Row]) -> Any:
        """Update all rows, or half of them and fail."""
        if self._count():
            self._driver.change(raw, what, rows[: len(rows) // 2] or rows)
            raise Crash
        return self._driver.change(raw, what, rows)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the driver's."""
        return getattr(self._driver, name)


class Process:
    """One server process: its own connections, its own kept wallets, its own ids."""

    def __init__(self, url: str, *, node: int, clock: Clock, economy: Economy) -> None:
        self.database = open_database(url)
        self.driver = FaultyDriver(self.database.driver)
        ids = IdSource(now=clock, node=node)
        self.ledger = Ledger(driver=self.driver, new_id=ids.next, economy=lambda: economy)
        if self.driver.stamp is not None:  # Beside this many others, a longer caution would never end.
            vars(self.ledger)["_loader"].stamped = StampedWallets(caution=1)
        self.new_id = ids.next
        self.database.transact(lambda connection: self.ledger.open_units(connection, economy.units))

    def post(self, operations: Sequence[Operation], now: int) -> tuple[list[Outcome], Book]:
        """Post and commit a batch, as the group commit does; what it kept is not kept yet."""

        def work(connection: Connection) -> tuple[list[Outcome], Book]:
            return self.ledger.post_hot(connection, operations, now=now)

        try:
            return self.database.transact(work)
        except Exception as error:
            if not (self.driver.is_stale(error) or self.driver.is_conflict(error)):
                raise
            self.ledger.beware()
            return self.database.transact(work)

    def close(self) -> None:
        """The process ends; what it kept in memory is gone."""
        self.database.close()


def open_database(url: str) -> Database:
    """A database whose commits do not wait for the disk: here processes crash, and machines do not."""
    database = Database(url, pool_size=2)
    if database.is_sqlite:
        sa.event.listen(database.engine, "connect", _do_not_wait)
    return database


def _do_not_wait(raw: Any, _record: object) -> None:
    raw.execute("PRAGMA synchronous=OFF")


class World:
    """Several processes on one database; each of them may die and come back."""

    def __init__(self, url: str, *, clock: Clock, economy: Economy, processes: int) -> None:
        self._url = url
        self.clock = clock
        self.economy = economy
        self._started = 0
        self.processes = [self._start() for _ in range(processes)]
        self._reader = open_database(url)
        self._reader.transact(self._save_economy)

    def _save_economy(self, connection: Connection) -> None:
        version, name = self.economy.version, self.economy.name
        economies.add(connection, version=version, name=name, text=TEXT, loaded_at=self.clock.now)

    def audit(self) -> AuditReport:
        """What an operator's audit says, at the simulated moment."""
        return audit(self._reader, now=self.clock.now)

    def _start(self) -> Process:
        self._started += 1
        return Process(self._url, node=self._started % MAX_NODES, clock=self.clock, economy=self.economy)

    def restart(self, process: Process) -> None:
        """The process is killed and started again."""
        process.close()
        self.processes[self.processes.index(process)] = self._start()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Look at what is stored, past every process."""
        with self._reader.read() as connection:
            yield connection

    def close(self) -> None:
        """Everyone ends."""
        for process in self.processes:
            process.close()
        self._reader.close()
