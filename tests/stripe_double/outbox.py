"""Events on their way to the product's webhook: signed as Stripe signs them, and delivered as a test wants.

An event stays undelivered until a receiver has answered it with a 2xx. What is dropped is out of the queue and stays
undelivered: `events.list(delivery_success=false)` finds it.
"""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import httpx

from tests.stripe_double.contract import Json

Receiver: TypeAlias = Callable[[bytes, str], int] | str
"""Takes the body and the signature and returns the status; or the address to send them to."""


@dataclass(frozen=True)
class Message:
    """A delivery: what is in the body, and the header ``Stripe-Signature``."""

    event: str
    body: bytes
    signature: str


class Outbox:
    """The queue of deliveries. ``subscribed`` names the types that are delivered at all; None means all."""

    def __init__(self, *, secret: str, clock: Callable[[], float] = time.time) -> None:
        self.secret = secret
        self.subscribed: frozenset[str] | None = None
        self.signing_time = clock
        self._lock = threading.Lock()
        self._queue: list[Json] = []

    def add(self, event: Json) -> None:
        """Queue an event that just happened, if anybody wants its type."""
        if self.subscribed is not None and event["type"] not in self.subscribed:
            event["pending_webhooks"] = 0
            return
        with self._lock:
            self._queue.append(event)

    def pending(self, *types: str) -> list[Json]:
        """Return the queued events, of some types if any are named, in the order of delivery."""
        with self._lock:
            return [event for event in self._queue if not types or event["type"] in types]

    def message(self, event: Json) -> Message:
        """Return a signed delivery of an event."""
        body = json.dumps(event, indent=2).encode()
        return Message(event["id"], body, self.signature(body))

    def signature(self, body: bytes, *, secret: str | None = None, at: int | None = None) -> str:
        """Return what ``Stripe-Signature`` says about a body."""
        moment = int(self.signing_time()) if at is None else at
        key = (secret or self.secret).encode()
        code = hmac.new(key, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        return f"t={moment},v1={code}"

    def deliver(self, event: Json, to: Receiver) -> int:
        """Deliver one event, once, wherever it is in the queue or out of it; return the status."""
        status = self.send(self.message(event), to)
        if 200 <= status < 300:
            with self._lock:
                event["pending_webhooks"] = 0
                self._queue = [each for each in self._queue if each["id"] != event["id"]]
        return status

    def deliver_all(self, to: Receiver) -> list[int]:
        """Deliver what is queued now, each once and in order; what is not accepted stays queued."""
        return [self.deliver(event, to) for event in self.pending()]

    def deliver_concurrently(self, to: Receiver, *, copies: int = 1, threads: int = 8) -> list[int]:
        """Deliver what is queued now from several threads at once, each event as many times as asked."""
        events = [event for event in self.pending() for _ in range(copies)]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda event: self.deliver(event, to), events))

    def duplicate(self, event: Json, *, copies: int = 1) -> None:
        """Queue an event again, at the end, delivered already or not."""
        with self._lock:
            self._queue += [event] * copies

    def reorder(self, permutation: Sequence[int]) -> None:
        """Put the queue into another order: the first delivered is the one now at ``permutation[0]``, and so on."""
        with self._lock:
            if sorted(permutation) != list(range(len(self._queue))):
                raise ValueError(f"{len(self._queue)} events are queued")
            self._queue = [self._queue[place] for place in permutation]

    def drop(self, *events: Json) -> None:
        """Lose events, or all that are queued."""
        lost = {event["id"] for event in events or self.pending()}
        with self._lock:
            self._queue = [event for event in self._queue if event["id"] not in lost]

    def with_other_body(self, event: Json) -> Message:
        """Return a delivery whose body was changed after it was signed."""
        message = self.message(event)
        return Message(
            message.event,
            message.body.replace(b'"object": "event"', b'"object":  "event"'),
            message.signature,
        )

    def with_other_secret(self, event: Json) -> Message:
        """Return a delivery that somebody signed who does not know the secret."""
        message = self.message(event)
        return Message(
            message.event, message.body, self.signature(message.body, secret="whsec_of_somebody_else")
        )

    @staticmethod
    def send(message: Message, to: Receiver) -> int:
        """Send a delivery as it is, and return the status."""
        if not isinstance(to, str):
            return to(message.body, message.signature)
        headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": message.signature}
        return httpx.post(to, content=message.body, headers=headers, timeout=30).status_code
