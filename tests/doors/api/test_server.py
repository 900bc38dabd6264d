"""The server as a process: how it greets, what it refuses to start with, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tallystick.bootstrap import Tally
from tallystick.services.context import SYSTEM
from tests.doors.api.door import problem, wait_until

pytestmark = pytest.mark.slow  # each starts a process

PROGRAM = """
import sys
from tallystick.api.server import serve
from tallystick.config import Config
from tallystick.core.errors import ConfigurationError
from tallystick.worker import Worker
try:
    serve(Config.from_environment(), port=int(sys.argv[1]), worker=Worker)
except ConfigurationError as error:
    sys.exit(error.detail)
"""


@dataclass
class Process:
    """A running server, and what it printed."""

    process: subprocess.Popen[str]
    url: str
    folder: Path

    @property
    def out(self) -> str:
        """What it said to people."""
        return (self.folder / "out").read_text()

    @property
    def log(self) -> str:
        """What it logged."""
        return (self.folder / "err").read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; gives its exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def started(folder: Path, url: str, **settings: str) -> Iterator[Process]:
    """A server that listens; it is killed at the end if it still runs."""
    port = free_port()
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("TALLY_", "STRIPE_"))
    }
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", PROGRAM, str(port)],
            cwd=folder,
            env=environment | {"TALLY_DATABASE_URL": url} | settings,
            stdout=out,
            stderr=err,
            text=True,
        )
    running = Process(process, f"http://127.0.0.1:{port}", folder)
    try:
        wait_until(lambda: "docs: " in running.out or process.poll() is not None, seconds=60)
        yield running
    finally:
        process.kill()
        process.wait()


def test_the_first_start_shows_an_admin_key_once(database_url: str, tmp_path: Path) -> None:
    """It says where it listens, and the key works; the next start shows none, and it still works."""
    with started(tmp_path, database_url) as server:
        wait_until(lambda: "tly_" in server.out, seconds=60)  # it comes a line later
        lines = server.out.splitlines()
        assert lines[0] == f"Tallystick (starter economy, test mode) listens on {server.url}"
        [key] = [line.strip() for line in lines if line.strip().startswith("tly_")]
        me = {"Authorization": f"Bearer {key}"}
        assert "admin" == httpx.get(f"{server.url}/api/v1/auth/me", headers=me).json()["role"]
        assert key not in server.log
        assert 0 == server.end(signal.SIGINT)
    with started(tmp_path, database_url) as server:
        assert "tly_" not in server.out
        assert "admin" == httpx.get(f"{server.url}/api/v1/auth/me", headers=me).json()["role"]
        for line in server.log.splitlines():
            assert {"event", "level", "timestamp"} <= set(json.loads(line))


def test_a_given_admin_key_is_not_shown(sqlite_url: str, tmp_path: Path) -> None:
    """Whoever set it knows it."""
    with started(
        tmp_path, sqlite_url, TALLY_ADMIN_KEY="my-own-admin-key", TALLY_PUBLIC_URL="https://t.example"
    ) as server:
        assert "my-own-admin-key" not in server.out + server.log
        assert "https://t.example/api/v1" in server.out
        me = {"Authorization": "Bearer my-own-admin-key"}
        assert "admin" == httpx.get(f"{server.url}/api/v1/auth/me", headers=me).json()["role"]
        assert "https://t.example/docs#not_found" == httpx.get(f"{server.url}/x").json()["type"]


def test_a_server_that_is_told_to_end_finishes_what_runs(database_url: str, tmp_path: Path) -> None:
    """Every request that it took is answered, what it answered is committed, and its status is 0."""
    key = "my-own-admin-key"
    with started(tmp_path, database_url, TALLY_ADMIN_KEY=key) as server:
        with httpx.Client(
            base_url=f"{server.url}/api/v1", headers={"Authorization": f"Bearer {key}"}
        ) as client:
            assert 201 == client.post("/customers", json={"external_id": "ann"}).status_code
        made: list[str] = []
        refused: list[Exception] = []
        threads = [
            threading.Thread(target=_charge, args=(server.url, key, name, made, refused)) for name in "abcd"
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(made) > 20)
        assert 0 == server.end()
        for thread in threads:
            thread.join()
        assert "closed" in server.log
    assert 4 == len(refused)  # each of them was turned away once, after the end
    with Tally.open(database_url) as tally:
        spent = tally.billing.balance(SYSTEM, customer="ann").spent
        assert len(made) * 1_000_000 == spent, refused


def _charge(url: str, key: str, name: str, made: list[str], refused: list[Exception]) -> None:
    """Charge until the server has gone."""
    with httpx.Client(
        base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30
    ) as client:
        for number in range(100_000):
            try:
                answer = client.post(
                    "/charges",
                    json={"customer": "ann", "meter": "lookup"},
                    headers={"Idempotency-Key": f"{name}{number}"},
                )
            except httpx.TransportError as error:
                refused.append(error)
                return
            if answer.status_code == 402:
                continue
            assert 201 == answer.status_code, answer.text
            made.append(answer.json()["id"])


def test_two_servers_do_not_share_a_port(sqlite_url: str, tmp_path: Path) -> None:
    """The second says so and ends with status 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(port)],
            cwd=tmp_path,
            env=os.environ | {"TALLY_DATABASE_URL": sqlite_url, "TALLY_ADMIN_KEY": "my-own-admin-key"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert 1 == done.returncode
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in done.stderr
    assert "" == done.stdout


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"TALLY_MODE": "live"}, "STRIPE_SECRET_KEY: expected"),
        ({"TALLY_MODE": "live", "STRIPE_SECRET_KEY": "sk_live_x"}, "STRIPE_WEBHOOK_SECRET: expected"),
        ({"TALLY_MODE": "lively"}, "TALLY_MODE: expected test or live"),
        ({"TALLY_DATABASE_URL": "oracle://x"}, "TALLY_DATABASE_URL: expected"),
        ({"TALLY_ECONOMY": "nowhere"}, "cannot read the economy nowhere"),
        ({"TALLY_ADMIN_KEY": "tls_not-a-session"}, "TALLY_ADMIN_KEY: expected"),
    ],
)
def test_a_server_does_not_start_with_wrong_settings(
    sqlite_url: str, tmp_path: Path, settings: dict[str, str], expected: str
) -> None:
    """It names the variable and what was expected of it."""
    with started(tmp_path, settings.get("TALLY_DATABASE_URL", sqlite_url), **settings) as server:
        assert 1 == server.process.wait(60)
        assert expected in server.log
        assert "" == server.out


def test_a_refused_request_reaches_nobody_else(sqlite_url: str, tmp_path: Path) -> None:
    """Bytes that are no HTTP end their own connection only."""
    with started(tmp_path, sqlite_url, TALLY_ADMIN_KEY="my-own-admin-key") as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            assert b"400" in connection.recv(1000)
        problem(httpx.get(f"{server.url}/api/v1/auth/me"), 401, "NOT_AUTHENTICATED")
