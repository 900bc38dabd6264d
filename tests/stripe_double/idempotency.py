"""Idempotency keys as Stripe treats them.

A key belongs to the first request that is executed with it. The same request gets the first answer again, an error of an
executed request included; another request is refused, and so is one that comes while the first is still executed. What
was refused before it was executed leaves the key free. A key is forgotten after a day.
"""

import hashlib
import json
import threading
from dataclasses import dataclass

from tests.stripe_double.contract import Json
from tests.stripe_double.errors import Refusal

KEPT_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Answer:
    """A status and a body, and whether they were given before."""

    status: int
    body: Json
    replayed: bool = False


@dataclass
class _Kept:
    digest: str
    since: int
    answer: Answer | None = None


class Keys:
    """The keys that are in use or were used within a day."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def begin(self, key: str, call: tuple[str, str], parameters: Json, *, now: int) -> Answer | None:
        """Take a key for a request; return the answer instead if it was executed already."""
        digest = hashlib.sha256(json.dumps([call, parameters], sort_keys=True).encode()).hexdigest()
        with self._lock:
            found = self._kept.get(key)
            if found is None or now - found.since >= KEPT_SECONDS:
                self._kept[key] = _Kept(digest, now)
                return None
            if found.digest != digest:
                raise Refusal(
                    "Keys for idempotent requests can only be used with the same parameters they were first used "
                    f"with. Try using a key other than '{key}' if you meant to execute a different request.",
                    kind="idempotency_error",
                )
            if found.answer is None:
                raise Refusal(
                    f"There is currently another in-progress request using this Idempotent Key: {key}.",
                    status=409,
                    code="idempotency_key_in_use",
                )
            return Answer(found.answer.status, found.answer.body, replayed=True)

    def keep(self, key: str, answer: Answer) -> None:
        """Remember the answer of the request that has the key."""
        with self._lock:
            self._kept[key].answer = answer

    def give_up(self, key: str) -> None:
        """Free the key of a request that was not executed."""
        with self._lock:
            del self._kept[key]
