"""Databases without anything in them: the processes under test migrate them, all at the same time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import temporary_database


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """A file that is not there yet."""
    return f"sqlite:///{tmp_path / 'chaos.db'}"


@pytest.fixture
def empty_postgresql_url(postgres_server: str) -> Iterator[str]:
    """A database that was never migrated."""
    with temporary_database(postgres_server) as url:
        yield url
