"""Databases: the only module that knows dialects. SQLite by default, PostgreSQL in production.

SQLite has one writer. So one write connection serves the whole process behind a lock that is first come, first served;
readers have connections of their own and never wait. PostgreSQL has a pool, and rows are locked in one sorted order.
"""

import collections
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.url import URL, make_url
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError  # noqa: A004 - the pool's own

from tallystick.core.errors import ConfigurationError, ServiceUnavailable
from tallystick.store import migrations
from tallystick.store.checkpoints import Checkpointer
from tallystick.store.driver import Driver, PostgresDriver, SqliteDriver

T = TypeVar("T")

BUSY_TIMEOUT_SECONDS: Final = 30
RETRIES: Final = 8

# Commits wait for the disk (synchronous=FULL); checkpoints are made by `Checkpointer`, and by
# SQLite itself only when the log grows far beyond that.
_SQLITE_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-65536",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA wal_autocheckpoint=100000",
)
_SQLITE_HEAD: Final = b"SQLite format 3\x00"  # https://www.sqlite.org/fileformat.html, 1.3


class FairLock:
    """A lock that is granted in the order of asking, so that a busy writer cannot starve another."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._waiting: collections.deque[threading.Lock] = collections.deque()

    def acquire(self, *, timeout_seconds: float = -1) -> bool:
        """Wait for everyone who asked before; False when that took too long."""
        with self._guard:
            if not self._held:
                self._held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=timeout_seconds):
            return True
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        return True  # It was handed over in the very moment of giving up.

    @property
    def waiting(self) -> int:
        """How many wait for the lock."""
        return len(self._waiting)

    def release(self) -> None:
        """Hand the lock to whoever has waited longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False


def parse_url(text: str) -> URL:
    """The database's address, with the driver that we use; ``sqlite:///file`` and ``postgresql://…`` are known."""
    try:
        url = make_url(text)
    except sa.exc.ArgumentError:
        url = None
    if url is not None and url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        return url
    if url is not None and url.get_backend_name() in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    message = (
        "TALLY_DATABASE_URL: expected sqlite:///path/to/file.db or postgresql://user@host/database, "
        f"found {text if url is None else url.render_as_string(hide_password=True)}"
    )
    raise ConfigurationError(message)


class Database:
    """One database: read transactions, write transactions, and the driver for bulk statements."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.driver: Driver = SqliteDriver() if self.is_sqlite else PostgresDriver()
        self._busy_timeout = float(str(self.url.query.get("timeout", BUSY_TIMEOUT_SECONDS)))
        self.engine = self._sqlite_engine(pool_size) if self.is_sqlite else self._postgres_engine(pool_size)
        self._moments = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._alone = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._write_lock = FairLock()
        self._checkpointer = Checkpointer(Path(str(self.url.database))) if self.is_sqlite else None
        self._writer: Connection | None = None
        self._hot: Connection | None = None

    def _sqlite_engine(self, pool_size: int) -> Engine:
        path = Path(str(self.url.database))
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_sqlite_file(path)
        engine = sa.create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=20,
            connect_args={
                "check_same_thread": False,
                "timeout": self._busy_timeout,
                "isolation_level": None,
                "cached_statements": 512,
            },
        )
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgres_engine(self, pool_size: int) -> Engine:
        engine = sa.create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=20,
            pool_pre_ping=True,
            connect_args={"prepare_threshold": 2},
        )
        event.listen(engine, "connect", _configure_postgres)
        # What made a pipeline fail is raised; psycopg would say it to the log once more.
        logging.getLogger("psycopg").setLevel(logging.ERROR)
        return engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment's state and changes nothing."""
        with (
            unavailable_when_away(),
            self._moments.connect() as connection,
            connection.begin() as transaction,
        ):
            yield connection
            transaction.rollback()

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """For reads that need no common moment: no transaction around them, so the fewest round trips."""
        if self.is_sqlite:
            with self.read() as connection:
                yield connection
        else:
            with unavailable_when_away(), self._alone.connect() as connection:
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block, or changes nothing when the block raises."""
        if self.is_sqlite:
            if not self._write_lock.acquire(timeout_seconds=self._busy_timeout):
                raise ServiceUnavailable(
                    "the database is busy; repeat the request with the same Idempotency-Key"
                )
            try:
                with self._sqlite_write() as connection:
                    yield connection
            finally:
                self._write_lock.release()
        else:
            with self.engine.connect() as connection, connection.begin():
                yield connection

    @contextmanager
    def _sqlite_write(self) -> Iterator[Connection]:
        connection = self._writer
        if connection is None or connection.closed or connection.invalidated:
            connection = self._writer = self.engine.connect().execution_options(begins="BEGIN IMMEDIATE")
        if self._checkpointer is not None:
            self._checkpointer.before_write(raw_connection(connection))
        with connection.begin():
            yield connection
        if self._checkpointer is not None:
            self._checkpointer.committed(raw_connection(connection))

    def transact_hot(self, work: Callable[[Connection], T]) -> T:
        """As ``transact``, for the one thread of the group commit; ``work`` uses raw statements only.

        PostgreSQL gives it a connection of its own, on which the whole transaction is one pipeline: only what is read costs
        a round trip.
        """
        if self.is_sqlite:
            return self.transact(work)
        return self._with_retries(self._in_pipeline, work)

    def _in_pipeline(self, work: Callable[[Connection], T]) -> T:
        connection = self._hot
        if connection is None:
            connection = self._hot = self.engine.connect()
            _plan_for_keys(raw_connection(connection))
        raw = raw_connection(connection)
        try:
            with raw.pipeline():
                result = work(connection)
                raw.commit()
        except BaseException:
            self._forget_hot(raw)
            raise
        return result

    def _forget_hot(self, raw: Any) -> None:  # noqa: ANN401 - psycopg's connection
        """After a failure: undo, and start on a new connection when this one is broken."""
        try:
            raw.rollback()
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not used again
            connection, self._hot = self._hot, None
            if connection is not None:
                connection.invalidate()
                connection.close()

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a write transaction; tries again when another process got in the way.

        Raises ``ServiceUnavailable`` when the database is away, full or locked: then nothing was changed, or a repeat with
        the same idempotency key gives the answer.
        """
        return self._with_retries(self._in_transaction, work)

    def twice(self, work: Callable[[], T]) -> T:
        """Do it again where another request with the same key was first: the second look finds what that wrote."""
        try:
            return work()
        except Exception as error:
            if not self.driver.is_conflict(getattr(error, "orig", error)):
                raise
            return work()

    def _in_transaction(self, work: Callable[[Connection], T]) -> T:
        with self.write() as connection:
            return work(connection)

    def _with_retries(
        self, run: Callable[[Callable[[Connection], T]], T], work: Callable[[Connection], T]
    ) -> T:
        for attempt in range(RETRIES):
            try:
                return run(work)
            except Exception as error:
                if attempt < RETRIES - 1 and self.driver.may_retry(getattr(error, "orig", error)):
                    time.sleep(0.005 * 2**attempt)
                    continue
                raise_if_away(error)
                raise
        raise AssertionError

    def ping(self) -> None:
        """Raise ``ServiceUnavailable`` unless the database answers."""
        with self.read() as connection:
            connection.exec_driver_sql("SELECT 1 FROM settings LIMIT 1").first()

    def close(self) -> None:
        """Close every connection; nothing is lost."""
        if self._checkpointer is not None:
            self._checkpointer.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._hot is not None:
            self._hot.close()
            self._hot = None
        self.engine.dispose()


def raw_connection(connection: Connection) -> Any:  # noqa: ANN401 - sqlite3's or psycopg's
    """The driver's own connection, for bulk statements."""
    return connection.connection.driver_connection


def _check_sqlite_file(path: Path) -> None:
    """Raises ``ConfigurationError`` for a file that is something else; an empty one is fine."""
    with suppress(OSError):  # There is none yet, or opening it will say what is wrong.
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_HEAD))
        if head not in {b"", _SQLITE_HEAD}:
            message = f"TALLY_DATABASE_URL: {path} is not a SQLite database"
            raise ConfigurationError(message)


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begins", "BEGIN"))


def _configure_sqlite(raw: sqlite3.Connection, _record: object) -> None:
    cursor = raw.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _configure_postgres(raw: Any, _record: object) -> None:  # noqa: ANN401 - psycopg's connection
    with raw.cursor() as cursor:
        cursor.execute("SET timezone TO 'UTC'")
        cursor.execute("SET lock_timeout TO '20s'")
    raw.commit()


def _plan_for_keys(raw: Any) -> None:  # noqa: ANN401 - psycopg's connection
    """On the hot path every row is found by its key, on an empty table and on a huge one: plan once, and use the index.

    Planned anew for each batch, an update of 64 rows of a small table reads all of it, three times as long.
    """
    with raw.cursor() as cursor:
        cursor.execute("SET plan_cache_mode TO force_generic_plan")
        for way in ("seqscan", "hashjoin", "mergejoin"):
            cursor.execute(f"SET enable_{way} TO off")
    raw.commit()


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """A database that is full, locked or away is a refusal that may be repeated, not an internal error."""
    try:
        yield
    except Exception as error:
        raise_if_away(error)
        raise


def raise_if_away(error: Exception) -> None:
    """Raise ``ServiceUnavailable`` when ``error`` says that the database is away, full or locked."""
    origin = getattr(error, "orig", None) or error
    away = isinstance(error, (OperationalError, InterfaceError, TimeoutError, sqlite3.OperationalError))
    if away or any(each.__name__ in _AWAY for each in type(origin).__mro__):
        cause = str(origin).splitlines()[0]
        message = f"the database did not take the request ({cause}); repeat it with the same Idempotency-Key"
        raise ServiceUnavailable(message) from error


_AWAY: Final = {"OperationalError", "InterfaceError"}


def migrate(url: str) -> None:
    """Bring the database at ``url`` to the newest schema; several processes may do so at once."""
    database = Database(url, pool_size=2)
    try:
        if database.is_sqlite:
            with database.write() as connection:
                migrations.upgrade(connection)
        else:
            with unavailable_when_away(), database.engine.begin() as connection:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7411051)")
                migrations.upgrade(connection)
    finally:
        database.close()
