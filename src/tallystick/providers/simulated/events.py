"""Events on their way to us: signed like a webhook's, handed over in order, and again after a failure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import msgspec
import structlog

from tallystick.core.times import DAY, MINUTE, SECOND
from tallystick.ports.payments import Event, SignatureInvalid
from tallystick.providers.simulated.books import event_of
from tallystick.store import simulated
from tallystick.store.engine import Database
from tallystick.store.simulated import StoredEvent

Handler: TypeAlias = Callable[[bytes, str], object]

TOLERANCE_SECONDS: Final = 300
# How long whoever delivers an event has for it before another process may.
CLAIM_MICROS: Final = MINUTE
FIRST_BACKOFF_MICROS: Final = 10 * SECOND
LONGEST_BACKOFF_MICROS: Final = 6 * 60 * MINUTE
# Both must have passed: the test clock moves months at once.
GIVEN_UP_AFTER_MICROS: Final = 3 * DAY
GIVEN_UP_AFTER_ATTEMPTS: Final = 8
PAGE: Final = 200
LONGEST_TEXT: Final = 255

log = structlog.get_logger(__name__)


def body_of(event: StoredEvent) -> bytes:
    """An event as it is sent. It names what it is about; what became of that is asked for."""
    return json.dumps(
        {
            "id": event.id,
            "type": event.type,
            "created_at": event.created_at,
            "subject": event.subject,
            "subject_id": event.subject_id,
            "live": False,
            "facts": json.loads(event.facts),
        }
    ).encode()


def sign(body: bytes, *, secret: str, now: int) -> str:
    """The signature header of a body that is sent now."""
    seconds = now // SECOND
    return f"t={seconds},v1={_digest(body, secret=secret, seconds=seconds)}"


def _digest(body: bytes, *, secret: str, seconds: int) -> str:
    return hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()


def verified(body: bytes, signature: str | None, *, secret: str, now: int) -> Event:
    """The event in a body. Raises ``SignatureInvalid`` when it was not signed so, or too long ago."""
    parts = dict(part.partition("=")[::2] for part in (signature or "").split(","))
    text, given = parts.get("t", ""), parts.get("v1", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(now)) and given.isascii()):
        raise SignatureInvalid("expected a signature of the form t=…,v1=…")
    seconds = int(text)
    if not hmac.compare_digest(given, _digest(body, secret=secret, seconds=seconds)):
        raise SignatureInvalid("the signature is not ours")
    if abs(now // SECOND - seconds) > TOLERANCE_SECONDS:
        raise SignatureInvalid("it was signed too long ago, or in the future")
    try:
        event = msgspec.json.decode(body, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SignatureInvalid("the event cannot be read") from error
    # Whoever has the secret may write anything: what no database takes would be sent again for ever.
    if (
        not 0 <= event.created_at <= now + DAY
        or max(map(len, (event.id, event.type, event.subject_id))) > LONGEST_TEXT
    ):
        raise SignatureInvalid("the event is not one of ours")
    return event


def deliver(
    database: Database, handler: Handler, *, secret: str, now: Callable[[], int], limit: int
) -> dict[str, int]:
    """Hand over what waits, oldest first, each in no transaction of ours; gives how many were taken and how many not.

    ``handler`` takes a body and a signature, and raises when it could not take them: then they come again later.
    """
    counts = {"simulated_event": 0, "simulated_event_failed": 0}
    for _ in range(limit):
        event = _claim(database, now())
        if event is None:
            break
        body = body_of(event)
        try:
            handler(body, sign(body, secret=secret, now=now()))
        except Exception:
            log.warning("an event was not taken; it comes again", id=event.id, type=event.type, exc_info=True)
            _put_off(database, event, now())
            counts["simulated_event_failed"] += 1
        else:
            _mark(database, event, now())
            counts["simulated_event"] += 1
    return counts


def _claim(database: Database, now: int) -> StoredEvent | None:
    with database.read() as connection:
        if not simulated.is_waiting(connection, now=now):
            return None  # without a write, as most turns
    return database.transact(
        lambda connection: simulated.claim_event(connection, now=now, until=now + CLAIM_MICROS)
    )


def _mark(database: Database, event: StoredEvent, now: int) -> None:
    database.transact(lambda connection: simulated.mark_delivered(connection, event.id, now=now))


def _put_off(database: Database, event: StoredEvent, now: int) -> None:
    wait = min(FIRST_BACKOFF_MICROS * 4**event.attempts, LONGEST_BACKOFF_MICROS)
    late = now - event.created_at > GIVEN_UP_AFTER_MICROS and event.attempts >= GIVEN_UP_AFTER_ATTEMPTS
    database.transact(
        lambda connection: simulated.mark_failed(
            connection,
            event.id,
            attempts=event.attempts + 1,
            next_attempt_at=None if late else now + wait,
        )
    )


def all_since(database: Database, since: int) -> Iterator[Event]:
    """Every event made since then, newest first, whether or not it was delivered; a page for each read."""
    below: tuple[int, int] | None = None
    while True:
        with database.read() as connection:
            page = simulated.events(connection, since=since, below=below, limit=PAGE)
        yield from (event_of(each) for each in page)
        if len(page) < PAGE:
            return
        below = (page[-1].created_at, page[-1].number)
