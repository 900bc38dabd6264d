"""Checkpoints of SQLite's write-ahead log, made beside the writer instead of by it.

By default the commit that finds the log long copies it into the database file, while everyone waits. Here a thread with a
connection of its own copies most of it without stopping the writer; the writer copies the little that came meanwhile,
between two transactions, and the log starts again from its beginning. SQLite's own checkpoint stays as a safety net.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Final

# A longer log saves writes of pages that change often, and costs disk: this is some 128 MiB.
PAGES_BETWEEN: Final = 32_000
# SQLite does not tell how many pages a commit wrote. A small one takes about ten; in a large one, several
# rows of neighbours share a page.
PAGES_OF_A_COMMIT: Final = 10
ROWS_OF_A_PAGE: Final = 3


class Checkpointer:
    """Keeps the log of one database file short. ``committed`` and ``before_write`` are called by the one writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = 0
        self._pages = 0
        self._wanted = threading.Event()
        self._stopping = False
        self._finish = False
        self._thread: threading.Thread | None = None

    def committed(self, raw: sqlite3.Connection) -> None:
        """After a commit: have the log copied when it may have grown long."""
        rows = raw.total_changes
        self._pages += PAGES_OF_A_COMMIT + abs(rows - self._rows) // ROWS_OF_A_PAGE
        self._rows = rows
        if self._pages < PAGES_BETWEEN or self._wanted.is_set():
            return
        self._pages = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
            self._thread.start()
        self._wanted.set()

    def before_write(self, raw: sqlite3.Connection) -> None:
        """Between two transactions: copy what came while the thread was copying, so that the log can start again."""
        if self._finish:
            self._finish = False
            raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def close(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
        try:
            while True:
                self._wanted.wait()
                # Before the copy: what is wanted meanwhile, such as the end, must not be forgotten after it.
                self._wanted.clear()
                if self._stopping:
                    return
                self._copy(connection)
        finally:
            connection.close()

    def _copy(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error:
            return  # A full disk or a lock: the log only stays long for now, and the writer will say what is wrong.
        self._finish = True
