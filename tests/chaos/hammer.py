"""Many clients at once, whose requests stop for nothing that happens to the servers."""

import http.client
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.chaos.clients import Attempt, Client

CUSTOMERS = [f"customer {number}" for number in range(12)]
START_CREDITS = 10_000_000
PAUSE_SECONDS = 0.05
PROGRESS_TIMEOUT_SECONDS = 90

# A hold that nobody captures and that ends by itself, so that workers have something to do.
BRIEF = "brief hold"


class Hammer:
    """``clients`` threads over some servers; a client that loses its server goes on with the next."""

    def __init__(
        self, ports: Sequence[int], *, clients: int = 6, seed: int = 1, name: str = "hammer"
    ) -> None:
        self.attempts: list[Attempt] = []
        self._ports = list(ports)
        self._name = name
        self._stopping = threading.Event()
        self._answered = threading.Condition()
        self._counts: dict[int | None, int] = {}
        self._broken: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._work, args=(number, random.Random(seed * 1000 + number)))
            for number in range(clients)
        ]

    @contextmanager
    def running(self) -> Iterator["Hammer"]:
        """Hammer until the end of the block; then every attempt has its outcome."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop()
        if self._broken:
            raise self._broken[0]

    def stop(self) -> None:
        """Start nothing new, and wait for what was begun."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def count(self, *statuses: int | None) -> int:
        """How many answers had one of these statuses so far."""
        with self._answered:
            return sum(self._counts.get(status, 0) for status in statuses)

    def wait_for_more(self, number: int, *statuses: int | None) -> None:
        """Wait until so many further answers have one of these statuses (200 or 201, unless others are named)."""
        wanted = statuses or (200, 201)
        aim = self.count(*wanted) + number
        with self._answered:
            came = self._answered.wait_for(
                lambda: self._broken or sum(self._counts.get(each, 0) for each in wanted) >= aim,
                PROGRESS_TIMEOUT_SECONDS,
            )
            assert came, f"{wanted} did not come {number} times: {self._counts}"

    def _work(self, number: int, chance: random.Random) -> None:
        try:
            with Client(self._ports[number % len(self._ports)]) as client:
                self._go_on(client, number, chance)
        except BaseException as error:  # noqa: BLE001 - the test has to hear of it
            self._broken.append(error)

    def _go_on(self, client: Client, number: int, chance: random.Random) -> None:
        holds: list[Attempt] = []
        count = 0
        while not self._stopping.is_set():
            count += 1
            attempt = self._choose(chance, holds, f"{self._name} {number} {count}")
            self.attempts.append(attempt)
            self._try(client, attempt)
            if attempt.kind == "hold" and attempt.is_done:
                holds.append(attempt)
            if attempt.is_unknown:
                place = self._ports.index(client.port)
                client.connect_to(self._ports[(place + 1) % len(self._ports)])
                self._stopping.wait(PAUSE_SECONDS)  # not to spin while every server is away

    def _try(self, client: Client, attempt: Attempt) -> None:
        try:
            attempt.status, attempt.answer, replayed = client.send(
                "POST", attempt.path, attempt.body, key=attempt.key
            )
            assert not replayed, attempt
        except (OSError, http.client.HTTPException):
            attempt.status = None
        with self._answered:
            self._counts[attempt.status] = self._counts.get(attempt.status, 0) + 1
            self._answered.notify_all()

    def _choose(self, chance: random.Random, holds: list[Attempt], key: str) -> Attempt:
        customer = chance.choice(CUSTOMERS)
        amount = chance.randint(1, 9)
        what = chance.random()
        if what < 0.15 and holds:
            hold = holds.pop(chance.randrange(len(holds)))
            taken = chance.randint(0, hold.amount)
            path = f"/holds/{hold.answer['id']}/capture"
            return Attempt(path, {"amount": taken}, key, hold.customer, taken, "capture")
        usage = {"customer": customer, "meter": "work", "quantity": amount}
        if what < 0.35:
            return Attempt("/holds", usage, key, customer, amount, "hold")
        if what < 0.4:
            return Attempt("/holds", usage | {"expires_in": 1}, key, customer, amount, BRIEF)
        if what < 0.5:
            body = {"customer": customer, "amount": amount, "category": "bonus", "reason": "chaos"}
            return Attempt("/grants", body, key, customer, amount, "grant")
        return Attempt("/charges", usage, key, customer, amount, "charge")
