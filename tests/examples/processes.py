"""An example as its reader runs it: a process of its own, on a free port, with a database of the test's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doors.api.door import wait_until
from tests.servers import clean_environ, free_port

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def running(example: str, database_url: str, folder: Path, **settings: str) -> Iterator[str]:
    """Run an example until the end of the block; gives its address."""
    port = free_port()
    environ = clean_environ() | {"TALLY_DATABASE_URL": database_url, "PORT": str(port)} | settings
    said = folder / "out"
    with said.open("wb") as out:
        command = [sys.executable, str(ROOT / "examples" / f"{example}.py")]
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=out, stderr=out)
    try:
        wait_until(lambda: b"running on" in said.read_bytes(), seconds=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
