"""Load through a door: a server process, and clients on raw sockets that cost less than what they measure.

Each connection is kept alive and sends its next request when the answer to the last one is complete. Only the
standard library is used, and nothing else of the package.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 60
STOP_SECONDS: Final = 60
_COMMAND: Final = "import sys; from tallystick.cli.main import main; sys.exit(main())"
_END_OF_HEADERS: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


@dataclass(slots=True)
class Loaded:
    """What the connections saw: latencies in seconds, how often each status came, and the last answer."""

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    last_body: bytes = b""
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def report(self) -> dict[str, float]:
        """The figures, rounded for reading: rates per second, times in milliseconds."""
        times = sorted(self.latencies)
        return {
            "requests": len(times),
            "per_s": round(len(times) / self.seconds),
            "p50_ms": round(times[len(times) // 2] * 1000, 2),
            "p99_ms": round(times[len(times) * 99 // 100] * 1000, 2),
            "load_cpu_s": round(self.cpu_seconds, 2),
        }


class Connection(asyncio.Protocol):
    """One connection, busy until the time is up."""

    def __init__(self, make_request: Callable[[], bytes], loaded: Loaded, stop: float) -> None:
        self._make_request = make_request
        self._loaded = loaded
        self._stop = stop
        self._buffer = b""
        self._began = 0.0
        self._transport: asyncio.Transport | None = None
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Collect the answer; once it is whole, send the next request."""
        buffer = self._buffer = self._buffer + data if self._buffer else data
        end = buffer.find(_END_OF_HEADERS)
        if end < 0:
            return
        start = buffer.lower().find(_LENGTH, 0, end)
        if start < 0:
            self.connection_lost(ConnectionError("an answer did not say how long it is"))
            return
        length = int(buffer[start + len(_LENGTH) : buffer.find(b"\r\n", start)])
        if len(buffer) < end + len(_END_OF_HEADERS) + length:
            return
        loaded = self._loaded
        loaded.latencies.append(time.perf_counter() - self._began)
        loaded.statuses[int(buffer[9:12])] += 1
        loaded.last_body = buffer[end + len(_END_OF_HEADERS) :]
        self._buffer = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """The server went away before the time was up."""
        if not self.finished.done():
            self.finished.set_exception(error or ConnectionError("the server closed a connection"))

    def _send(self) -> None:
        assert self._transport is not None
        self._began = time.perf_counter()
        if self._began < self._stop:
            self._transport.write(self._make_request())
        else:
            self.finished.set_result(None)
            self._transport.close()


async def load(port: int, make_request: Callable[[], bytes], *, connections: int, seconds: float) -> Loaded:
    """Keep ``connections`` busy for ``seconds``. Raises ``ConnectionError`` when one of them ends early."""
    loaded = Loaded()
    loop = asyncio.get_running_loop()
    cpu, started = time.process_time(), time.perf_counter()
    made = [
        await loop.create_connection(lambda: Connection(make_request, loaded, started + seconds), HOST, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.finished for _, connection in made))
    loaded.seconds = time.perf_counter() - started
    loaded.cpu_seconds = time.process_time() - cpu
    return loaded


def post(path: str, *, token: str, key: str, body: bytes) -> bytes:
    """The bytes of one POST with a key that is sent once."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, *, token: str) -> bytes:
    """The bytes of one GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def serve_command(port: int) -> list[str]:
    """``tally serve`` of this installation."""
    return [sys.executable, "-c", _COMMAND, "serve", "--host", HOST, "--port", str(port)]


@contextmanager
def server(
    *, folder: str, url: str, economy: str, command: Callable[[int], Sequence[str]] = serve_command
) -> Iterator[tuple[int, str]]:
    """Run a server process on a free port until the end of the block; gives the port and an admin key.

    What it prints goes into ``folder``. Raises ``RuntimeError`` with that when it does not start.
    """
    port, key = _free_port(), f"bench-{secrets.token_urlsafe(24)}"
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TALLY_", "STRIPE_", "E2B_"))
        },
        "TALLY_DATABASE_URL": url,
        "TALLY_ECONOMY": economy,
        "TALLY_ADMIN_KEY": key,
        "TALLY_MODE": "test",
    }
    log_path = Path(folder) / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*command(port)], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_until_ready(process, port, log_path)
        yield port, key
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                printed = log_path.read_text(encoding="utf-8", errors="replace")[-2000:]
                message = f"the server did not start ({error}): {printed}"
                raise RuntimeError(message) from error
            time.sleep(0.05)
