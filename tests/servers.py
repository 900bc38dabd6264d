"""A real server for tests from outside: the program itself, in a process of its own, on a free port."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

PROGRAMS = Path(sys.executable).parent
ADMIN_KEY = "an-admin-key-for-tests"
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 60


@dataclass
class Server:
    """A server that runs. ``said`` is what it told people on standard output, ``log`` its log."""

    url: str
    port: int
    output: Path
    log: Path

    @property
    def said(self) -> str:
        """What the server printed so far."""
        return self.output.read_text()


def clean_environ() -> dict[str, str]:
    """The environment without settings of ours."""
    return {
        name: text for name, text in os.environ.items() if not name.startswith(("TALLY_", "STRIPE_", "E2B_"))
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@contextmanager
def running_server(
    folder: Path,
    *,
    economy: str,
    database_url: str,
    admin_key: str | None = ADMIN_KEY,
    port: int | None = None,
    settings: dict[str, str] | None = None,
) -> Iterator[Server]:
    """Run `tally serve` until the end of the block, with `folder` as its working folder."""
    number = port or free_port()
    environ = clean_environ() | {"TALLY_DATABASE_URL": database_url, "TALLY_ECONOMY": economy}
    environ |= settings or {}
    if admin_key is not None:
        environ["TALLY_ADMIN_KEY"] = admin_key
    server = Server(f"http://127.0.0.1:{number}", number, folder / "server.out", folder / "server.log")
    with server.output.open("wb") as output, server.log.open("wb") as log:
        process = subprocess.Popen(
            [PROGRAMS / "tally", "serve", "--port", str(number)],
            cwd=folder,
            env=environ,
            stdout=output,
            stderr=log,
        )
    with process:
        try:
            _wait_until_ready(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_SECONDS)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{server.url}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{server.said}\n{server.log.read_text()}")
