"""A worker that is killed while a receiver has its webhook and nothing is recorded yet."""

import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.services.context import SYSTEM
from tests.doors.api.door import wait_until
from tests.receivers import ALLOWED, Received, Receiver, answering, emit, listen
from tests.servers import PROGRAMS, clean_environ


@pytest.mark.slow
def test_a_kill_between_sending_and_recording_sends_again_under_the_same_id(
    database_url: str, tmp_path: Path
) -> None:
    """Not before the lease is over; and the receiver can tell that it is the same."""
    release = threading.Event()

    def hold(request: Received, handler: BaseHTTPRequestHandler) -> None:
        release.wait(30)
        answering(200)(request, handler)

    environ = clean_environ() | {
        "TALLY_DATABASE_URL": database_url,
        "TALLY_WEBHOOKS_ALLOW_PRIVATE": "1",
    }
    with Receiver(hold) as receiver, Tally.open(database_url, outgoing=ALLOWED) as tally:
        tally.customers.create(SYSTEM, external_id="ann")
        made = listen(tally, receiver.url, customer="ann")
        emit(tally, "ann")
        command: list[str | Path] = [PROGRAMS / "tally", "worker"]
        with (
            (tmp_path / "worker.log").open("wb") as log,
            subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=log, stdout=log) as process,
        ):
            try:
                wait_until(lambda: bool(receiver.received), seconds=60)
            finally:
                process.send_signal(signal.SIGKILL)
        release.set()
        [row] = tally.endpoints.deliveries(SYSTEM, customer="ann").items
        assert ("pending", 1) == (row.delivery.status, row.delivery.attempts)
        assert {} == tally.delivery.run_once()
        ran = dict(tally.test_clock.move(SYSTEM, advance="PT5M")[1])
        assert 1 == ran["webhooks"]
        [row] = tally.endpoints.deliveries(SYSTEM, customer="ann").items
        assert ("delivered", 2) == (row.delivery.status, row.delivery.attempts)
        assert (2, 1) == (len(receiver.ids()), len(set(receiver.ids())))
        assert 1 == len({each.body for each in receiver.received})
        assert 2 == len(receiver.events(made.secret))
