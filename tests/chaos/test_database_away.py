"""PostgreSQL itself fails under load: requests get a 503 that is safe to repeat, and the server recovers by itself."""

import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.chaos.clients import open_customers
from tests.chaos.hammer import CUSTOMERS, START_CREDITS, Hammer
from tests.chaos.judgement import check_all, wait_until
from tests.chaos.processes import mistakes, running
from tests.postgres import temporary_postgres

pytestmark = pytest.mark.slow

TURNS = 5
END_OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def rows(url: str, statement: str) -> list[Any]:
    """What the database answers."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


class Postgres:
    """A PostgreSQL server that can be killed and started again, by its own command line and on its own data."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._data = Path(rows(url, "SELECT current_setting('data_directory')")[0][0])
        self._command = shlex.split((self._data / "postmaster.opts").read_text())
        self._process: subprocess.Popen[bytes] | None = None
        # From now on it is a child of ours: a killed one that nobody buries would count as one that runs.
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
        wait_until(lambda: not (self._data / "postmaster.pid").exists())

    def _answers(self) -> bool:
        # It refuses to start before the last backend of a killed one has gone.
        if self._process is None or self._process.poll() is not None:
            owner: dict[str, Any] = {}
            if os.geteuid() == 0:
                found = self._data.stat()
                owner = {"user": found.st_uid, "group": found.st_gid, "extra_groups": []}
            with (self._data.parent / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, cwd=self._data, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **owner
                )
        try:
            rows(self.url, "SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def start(self) -> None:
        """Start it and wait until it answers."""
        wait_until(self._answers, lambda: (self._data.parent / "log").read_text()[-2000:])

    def end(self, how: signal.Signals) -> None:
        """End it by a signal."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()


@contextmanager
def mortal_postgres() -> Iterator[Postgres]:
    """A server of the test's own."""
    with temporary_postgres() as url:
        server = Postgres(url)
        try:
            server.start()
            yield server
        finally:
            server.end(signal.SIGINT)


def test_connections_are_cut_again_and_again(tmp_path: Path, empty_postgresql_url: str) -> None:
    """Every connection of two servers and a worker is ended under load; nothing is lost, nothing is a 500."""
    with running(tmp_path, empty_postgresql_url, "serve", "serve", "worker") as nodes:
        open_customers(nodes[0].port, CUSTOMERS, credits_each=START_CREDITS)
        hammer = Hammer([node.port for node in nodes[:2]])
        with hammer.running():
            for turn in range(TURNS):
                hammer.wait_for_more(60 + 17 * turn)
                assert rows(empty_postgresql_url, END_OTHERS)[0][0] > 0
            hammer.wait_for_more(60)
        assert hammer.count(503) > 0
        assert 0 == hammer.count(None)
        check_all(empty_postgresql_url, nodes[0].port, hammer.attempts)
        assert [] == mistakes(nodes)
        assert all(node.process.poll() is None for node in nodes)


def test_the_database_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Meanwhile requests get a 503, and afterwards the same server process goes on; nothing answered is lost."""
    with mortal_postgres() as postgres, running(tmp_path, postgres.url, "serve", "worker") as nodes:
        server = nodes[0]
        open_customers(server.port, CUSTOMERS, credits_each=START_CREDITS)
        hammer = Hammer([server.port])
        with hammer.running():
            for _ in range(2):
                hammer.wait_for_more(150)
                postgres.end(signal.SIGKILL)
                hammer.wait_for_more(20, 503)
                postgres.start()
            hammer.wait_for_more(150)
        assert 0 == hammer.count(None)
        check_all(postgres.url, server.port, hammer.attempts)
        assert [] == mistakes(nodes)
        assert all(node.process.poll() is None for node in nodes)
