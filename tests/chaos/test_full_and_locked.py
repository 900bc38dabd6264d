"""SQLite's disk is full, or another program holds its lock: a 503, nothing charged, and later it goes on by itself."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.clients import Client, open_customers
from tests.chaos.hammer import CUSTOMERS, START_CREDITS, Hammer
from tests.chaos.judgement import check_all, journal
from tests.chaos.processes import mistakes, running

pytestmark = pytest.mark.slow


def test_the_disk_is_full(tmp_path: Path, empty_sqlite_url: str) -> None:
    """Under load: reads still work, and with room again the same process goes on; what was answered is stored."""
    database = tmp_path / "chaos.db"
    with running(tmp_path, empty_sqlite_url, "serve") as nodes, Client(nodes[0].port) as reader:
        [server] = nodes
        open_customers(server.port, CUSTOMERS, credits_each=START_CREDITS)
        reader.ask("POST", "/customers", {"external_id": "quiet"})
        hammer = Hammer([server.port])
        with hammer.running():
            for turn in range(3):
                hammer.wait_for_more(80 + 41 * turn)
                # The log of writes grows until it meets the end; the second time, it has no room at all.
                log = database.with_name("chaos.db-wal")
                server.limit_files(log.stat().st_size // (1 + turn % 2))
                hammer.wait_for_more(10, 503)
                # Nothing is due for this one, so nothing has to be written before its figures can be shown.
                reader.ask("GET", "/billing/balance?customer=quiet")
                reader.ask("GET", "/billing/transactions?customer=quiet")
                reader.ask("GET", "/grants?customer=quiet")
                server.limit_files(None)
            hammer.wait_for_more(80)
        assert 0 == hammer.count(None)
        check_all(empty_sqlite_url, server.port, hammer.attempts)
        assert [] == mistakes(nodes)


def test_the_file_is_locked(tmp_path: Path, empty_sqlite_url: str) -> None:
    """Somebody else's lock outlasts the busy timeout: all writes are refused, and work as soon as it is gone."""
    url = f"{empty_sqlite_url}?timeout=0.5"
    with running(tmp_path, url, "serve") as nodes:
        [server] = nodes
        open_customers(server.port, CUSTOMERS, credits_each=START_CREDITS)
        hammer = Hammer([server.port])
        with hammer.running():
            hammer.wait_for_more(50)
            with closing(sqlite3.connect(tmp_path / "chaos.db", isolation_level=None, timeout=30)) as other:
                other.execute("BEGIN IMMEDIATE")
                hammer.wait_for_more(20, 503)
                before = len(journal(empty_sqlite_url))
                hammer.wait_for_more(10, 503)
                assert before == len(journal(empty_sqlite_url))
                other.execute("ROLLBACK")
            hammer.wait_for_more(50)
        assert 0 == hammer.count(None)
        check_all(empty_sqlite_url, server.port, hammer.attempts)
        assert [] == mistakes(nodes)
