"""The worker's threads: deliveries beside the ledger's work, and an end in order."""

import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tallystick.services.context import SYSTEM
from tallystick.worker import Worker
from tests.doors.api.door import wait_until
from tests.receivers import Received, Receiver, answering, emit, listen, outgoing
from tests.tallies import USER, World


def test_a_slow_receiver_does_not_hold_up_the_ledger(database_url: str, tmp_path: Path) -> None:
    """While one is being waited for, holds end; and the end waits for what runs, and for no more."""
    release = threading.Event()

    def hold(request: Received, handler: BaseHTTPRequestHandler) -> None:
        release.wait(30)
        answering(200)(request, handler)

    with World(database_url, tmp_path) as world, Receiver(hold) as receiver:
        outgoing(world.tally, deadline_seconds=20)
        listen(world.tally, receiver.url, customer=USER)
        world.grant(5)
        world.hold(2, expires_in=60)
        for _ in range(20):
            emit(world.tally, USER)
        worker = Worker(world.tally, pause_seconds=0.02)
        worker.start()
        wait_until(lambda: len(receiver.received) >= 4)
        world.clock.advance("PT1H")

        def ended() -> bool:
            found = world.tally.notifications.list(SYSTEM, customer=USER, event_type="hold.expired")
            return len(found.items) == 1

        wait_until(ended)
        stopping = threading.Thread(target=worker.stop)
        stopping.start()
        release.set()
        started = time.monotonic()
        stopping.join()
        assert time.monotonic() - started < 5
        rows = world.tally.endpoints.deliveries(SYSTEM, customer=USER, limit=100).items
        states = {(each.delivery.status, each.delivery.attempts) for each in rows}
        assert {("delivered", 1), ("pending", 0)} >= states
        assert len(receiver.received) == sum(each.delivery.status == "delivered" for each in rows)


def test_one_turn_of_everything(database_url: str, tmp_path: Path) -> None:
    """What the ledger notes is delivered in the same turn."""
    with World(database_url, tmp_path) as world, Receiver() as receiver:
        outgoing(world.tally)
        listen(world.tally, receiver.url, customer=USER, types=("hold.*",))
        world.grant(5)
        world.hold(2, expires_in=60)
        world.clock.advance("PT1H")
        done = Worker(world.tally).run_once()
        assert (1, 1) == (done["hold_expiry"], done["webhooks"])
        assert {} == {name: count for name, count in world.tally.run_all().items() if count}
        assert 1 == len(receiver.received)
