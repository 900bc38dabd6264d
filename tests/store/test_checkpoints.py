"""Checkpoints of SQLite's log, made by a thread beside the writer."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tallystick.store.checkpoints import PAGES_BETWEEN, PAGES_OF_A_COMMIT, Checkpointer

PATIENCE_SECONDS = 10


def test_closing_while_the_log_is_copied_ends_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is stopped in the middle of a checkpoint ends, instead of waiting for ever."""
    copying, may_end = threading.Event(), threading.Event()

    def copy(_self: Checkpointer, _connection: sqlite3.Connection) -> None:
        copying.set()
        may_end.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(Checkpointer, "_copy", copy)
    checkpointer = Checkpointer(tmp_path / "tally.db")
    with closing(sqlite3.connect(":memory:")) as connection:
        for _ in range(PAGES_BETWEEN // PAGES_OF_A_COMMIT):
            checkpointer.committed(connection)
    assert copying.wait(PATIENCE_SECONDS)

    closer = threading.Thread(target=checkpointer.close, daemon=True)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive(), "the copy was not waited for"
    may_end.set()
    closer.join(PATIENCE_SECONDS)
    assert not closer.is_alive()
