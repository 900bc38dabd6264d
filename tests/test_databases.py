"""What the databases of the tests promise to the tests."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tallystick.store.engine import parse_url

ROOT = Path(__file__).parent.parent

KILL_ITSELF = """
import os, signal
from tests.postgres import temporary_postgres
with temporary_postgres() as url:
    print(url, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("time_round", [1, 2])
def test_each_test_has_a_migrated_database_without_rows(database_url: str, time_round: int) -> None:
    """What one test writes is not there for the next: the first round writes, whichever comes first."""
    engine = sa.create_engine(parse_url(database_url))
    with engine.begin() as connection:
        assert "transactions" in sa.inspect(connection).get_table_names()
        connection.execute(sa.text("CREATE TABLE left_over (round INTEGER)"))
        connection.execute(sa.text("INSERT INTO left_over VALUES (:round)"), {"round": time_round})
    engine.dispose()


def test_a_blank_database_has_no_tables(blank_database_url: str) -> None:
    """Tests of migrations start from nothing."""
    engine = sa.create_engine(parse_url(blank_database_url))
    with engine.connect() as connection:
        assert [] == sa.inspect(connection).get_table_names()
    engine.dispose()


def test_commits_reach_the_disk(postgres_server: str) -> None:
    """The server is as careful as one in production, so that tests of crashes mean something."""
    with psycopg.connect(postgres_server) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert ("on",) == connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()


def test_a_server_ends_with_a_process_that_is_killed() -> None:
    """A run that is killed leaves no server behind."""
    command = [sys.executable, "-c", KILL_ITSELF]
    killed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert -signal.SIGKILL == killed.returncode
    data = Path(killed.stdout.strip().partition("?host=")[2])
    assert data.is_dir()
    deadline = time.monotonic() + 30
    while (data / "postmaster.pid").exists():  # the last file that a server removes as it ends
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.02)
    shutil.rmtree(data.parent)  # what a killed process cannot tidy up itself
