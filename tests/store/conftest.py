"""Databases in which much has happened already: the history is lived once, and each test gets a copy."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tallystick.store.engine import Database
from tests.postgres import temporary_database
from tests.store.history import live, open_history


class Lived(NamedTuple):
    """A database after its history, and the moment after it."""

    database: Database
    now: int


def _live(url: str, folder: Path) -> int:
    history = open_history(url, folder)
    live(history)
    history.tally.close()
    return history.clock.now


@pytest.fixture(scope="session")
def lived_sqlite(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A file after its history, and the moment after it."""
    folder = tmp_path_factory.mktemp("lived")
    path = folder / "tally.db"
    now = _live(f"sqlite:///{path}", folder)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the one file holds everything
    return path, now


@pytest.fixture(scope="session")
def lived_postgresql(
    postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, int]]:
    """The name of a database after its history, and the moment after it."""
    with temporary_database(postgres_server) as url:
        now = _live(url, tmp_path_factory.mktemp("lived"))
        yield url.partition("?")[0].rpartition("/")[2], now


@contextmanager
def lived_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[Lived]:
    """A copy on the engine that the fixture's parameter names."""
    if request.param == "sqlite":
        path, now = request.getfixturevalue("lived_sqlite")
        database = Database(f"sqlite:///{shutil.copyfile(path, folder / 'lived.db')}", pool_size=2)
        yield Lived(database, now)
        database.close()
    else:
        template, now = request.getfixturevalue("lived_postgresql")
        with temporary_database(request.getfixturevalue("postgres_server"), template=template) as url:
            database = Database(url, pool_size=2)
            yield Lived(database, now)
            database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def lived(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lived]:
    """A database of the test's own in which much has happened: the test runs once on each engine."""
    with lived_database(request, tmp_path) as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lived_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """As ``lived``, one for all tests of a file: they leave it as it was."""
    with lived_database(request, tmp_path_factory.mktemp("once")) as found:
        yield found
