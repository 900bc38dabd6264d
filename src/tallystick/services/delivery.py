"""Delivering notifications: by webhook after Standard Webhooks, and by e-mail. At least once, retried over days.

What is due is claimed with a lease, sent by a few threads outside of any transaction, and recorded as it ends. A process
that dies in between leaves deliveries that are sent again when their lease is over, under the same ``webhook-id``. What
fails rests for a while before it is tried again; what has failed for days is disabled, which its owner is told.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, Protocol

import msgspec
import structlog
from sqlalchemy.engine import Connection
from standardwebhooks import Webhook

from tallystick.core import events
from tallystick.core.ids import first_at, to_text
from tallystick.core.sending import LONGEST_REST, Attempt, pause_after
from tallystick.core.times import DAY, HOUR, MINUTE, Micros, format_rfc3339, to_datetime
from tallystick.services.clock import system_time
from tallystick.services.context import Context
from tallystick.services.mail import is_address, mail_of
from tallystick.store import deliveries, endpoints, notifications
from tallystick.store.deliveries import Claimed, Outcome
from tallystick.store.endpoints import EndpointRow
from tallystick.store.notifications import NotificationRow

THREADS: Final = 8
PER_TURN: Final = 2 * THREADS
PER_ENDPOINT: Final = 4
TURNS: Final = 20
LEASE: Final = 3 * MINUTE
NEW_PER_TURN: Final = 500
KEPT_DAYS: Final = 90
PRUNED_AT_ONCE: Final = 5_000

_CHANCE: Final = secrets.SystemRandom()

log = structlog.get_logger(__name__)
_encode: Final = msgspec.json.Encoder().encode


class SendsWebhooks(Protocol):
    """What calls a receiver."""

    def send(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Attempt:
        """POST a body; whatever happens is an outcome."""
        ...


class SendsMail(Protocol):
    """What hands a mail to a mail server."""

    def send(self, *, to: str, subject: str, text: str, html: str, reference: str, now: Micros) -> Attempt:
        """Send one mail; whatever happens is an outcome."""
        ...


class Delivery:
    """Sends what waits. ``mail`` None: there is no e-mail. ``wall`` is the time of the receivers, not the test clock's."""

    def __init__(
        self,
        context: Context,
        *,
        webhooks: SendsWebhooks,
        mail: SendsMail | None,
        disable_after: Micros,
        wall: Callable[[], int] = system_time,
        random: Callable[[], float] = _CHANCE.random,
    ) -> None:
        self._context = context
        self._webhooks = webhooks
        self._mail = mail
        self._disable_after = disable_after
        self._wall = wall
        self._random = random
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(
            THREADS, thread_name_prefix="delivery"
        )  # its threads start when needed
        self._pruned_at = 0

    def run_once(self, now: Micros | None = None) -> dict[str, int]:
        """One bounded turn: gives how many deliveries succeeded and failed, by channel."""
        context = self._context
        moment = context.now if now is None else lambda: now
        counts: Counter[str] = Counter()
        with context.database.glance() as connection:
            new, due = deliveries.waiting(connection, now=moment())
        if new:
            self._fan_out(moment)
        for _ in range(TURNS if new or due else 0):
            claimed = context.database.transact(lambda connection: self._claim(connection, moment()))
            if not claimed or self._stopping.is_set():
                self._give_back(claimed, moment())
                break
            self._send_all(claimed, moment, counts)
        self._prune(moment())
        return dict(counts)

    def stop(self) -> None:
        """For good: begin no attempt any more. Those that run end within their deadline."""
        self._stopping.set()

    def close(self) -> None:
        """End the threads."""
        self.stop()
        self._pool.shutdown()

    # --- who is told -----------------------------------------------------------------------------------------------

    def _fan_out(self, moment: Callable[[], Micros]) -> None:
        context, mails = self._context, self._mail is not None

        def work(connection: Connection) -> int:
            return deliveries.fan_out(
                connection, new_id=context.new_id, now=moment(), mails=mails, limit=NEW_PER_TURN
            )

        while context.database.transact(work) == NEW_PER_TURN and not self._stopping.is_set():
            pass

    def _claim(self, connection: Connection, now: Micros) -> list[Claimed]:
        return deliveries.claim(
            connection, now=now, until=now + LEASE, limit=PER_TURN, per_endpoint=PER_ENDPOINT
        )

    def _give_back(self, claimed: Sequence[Claimed], now: Micros) -> None:
        def work(connection: Connection) -> None:
            for each in claimed:
                deliveries.give_back(connection, each, now=now)

        if claimed:
            self._context.database.transact(work)

    # --- sending ---------------------------------------------------------------------------------------------------

    def _send_all(
        self, claimed: Sequence[Claimed], moment: Callable[[], Micros], counts: Counter[str]
    ) -> None:
        running: dict[Future[Attempt | None], Claimed] = {
            self._pool.submit(self._attempt, each, moment()): each for each in claimed
        }
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            ended = [(running.pop(future), future.result()) for future in done]
            self._record(ended, moment())
            counts.update(
                f"{each.channel}s" if attempt.ok else f"{each.channel}s_failed"
                for each, attempt in ended
                if attempt is not None
            )

    def _attempt(self, claimed: Claimed, now: Micros) -> Attempt | None:
        """One attempt; None when the process is about to end. Runs in a thread, outside of any transaction."""
        if self._stopping.is_set():
            return None
        try:
            if claimed.channel == "email":
                return self._send_mail(claimed)
            if claimed.endpoint is None:
                return Attempt(ok=False, error="the endpoint was deleted", final=True)
            body = payload_of(claimed.notification)
            headers = headers_of(claimed.notification, claimed.endpoint, body, now=now, wall=self._wall())
            return self._webhooks.send(claimed.endpoint.url, headers=headers, body=body)
        except Exception:
            log.exception(
                "a delivery failed in a way that nobody foresaw", delivery=to_text("whd", claimed.id)
            )
            return Attempt(ok=False, error="an internal error; the log tells more")

    def _send_mail(self, claimed: Claimed) -> Attempt:
        if self._mail is None:
            return Attempt(ok=False, error="e-mail is not set up", final=True)
        to = claimed.address or ""
        if not is_address(to):
            return Attempt(ok=False, error="this is not an e-mail address", final=True)
        context = self._context
        link = f"{context.public_url}/billing"
        mail = mail_of(claimed.notification, title=context.economy().title, link=link)
        return self._mail.send(
            to=to,
            subject=mail.subject,
            text=mail.text,
            html=mail.html,
            reference=event_id(claimed.notification),
            now=self._wall(),
        )

    # --- what came of it -------------------------------------------------------------------------------------------

    def _record(self, ended: Sequence[tuple[Claimed, Attempt | None]], now: Micros) -> None:
        def work(connection: Connection) -> None:
            for claimed, attempt in sorted(ended, key=lambda each: each[0].id):
                if attempt is None:
                    deliveries.give_back(connection, claimed, now=now)
                elif attempt.ok:
                    self._succeeded(connection, claimed, attempt, now)
                else:
                    self._failed(connection, claimed, attempt, now)

        self._context.database.transact(work)

    def _succeeded(self, connection: Connection, claimed: Claimed, attempt: Attempt, now: Micros) -> None:
        done = Outcome("delivered", None, attempt.status, None, delivered_at=now)
        if deliveries.record(connection, claimed, done) and claimed.endpoint is not None:
            endpoints.works_again(connection, claimed.endpoint.id)

    def _failed(self, connection: Connection, claimed: Claimed, attempt: Attempt, now: Micros) -> None:
        pause = None if attempt.final else pause_after(claimed.attempt, self._random)
        if pause is None:
            outcome = Outcome("failed", None, attempt.status, attempt.error)
        else:
            outcome = Outcome("pending", now + pause, attempt.status, attempt.error)
        if not deliveries.record(connection, claimed, outcome) or claimed.endpoint is None:
            return
        endpoint = endpoints.by_id(connection, claimed.endpoint.id, lock=True)
        if endpoint is None:
            return
        since = now if endpoint.failing_since is None else endpoint.failing_since
        rest = LONGEST_REST if pause is None else min(pause, LONGEST_REST)
        endpoints.change(connection, endpoint.id, {"failing_since": since, "resume_at": now + rest})
        if attempt.gone:
            self._disable(connection, endpoint, "the receiver answered 410: it wants no more", now)
        elif now - since >= self._disable_after:
            reason = f"every delivery has failed since {format_rfc3339(since)}; the last one: {attempt.error}"
            self._disable(connection, endpoint, reason, now)

    def _disable(self, connection: Connection, endpoint: EndpointRow, reason: str, now: Micros) -> None:
        """Give an endpoint up, and tell its owner: the operator's endpoints, and the customer by e-mail."""
        if not endpoints.disable(connection, endpoint.id, reason=reason):
            return
        deliveries.drop(connection, endpoint.id, reason="the endpoint was disabled")
        notifications.emit(
            connection,
            new_id=self._context.new_id,
            now=now,
            customer_id=endpoint.customer_id,
            type=events.ENDPOINT_DISABLED,
            data={"endpoint": to_text("whe", endpoint.id), "url": endpoint.url, "reason": reason},
        )

    def _prune(self, now: Micros) -> None:
        """Once an hour, delete what was told long ago."""
        if now - self._pruned_at < HOUR:
            return
        self._pruned_at = now
        below = first_at(now - KEPT_DAYS * DAY)

        def work(connection: Connection) -> int:
            return notifications.prune(connection, below=below, limit=PRUNED_AT_ONCE)

        while self._context.database.transact(work) == PRUNED_AT_ONCE and not self._stopping.is_set():
            pass


def event_id(notification: NotificationRow) -> str:
    """What receivers know a notification by, however often it is sent."""
    return to_text("evt", notification.id)


def payload_of(notification: NotificationRow) -> bytes:
    """The body of a webhook: the same bytes each time."""
    customer = notification.customer_id
    return _encode(
        {
            "type": notification.type,
            "timestamp": format_rfc3339(notification.at),
            "data": msgspec.Raw(notification.data.encode()),
            "sequence": notification.sequence,
            "customer": None if customer is None else to_text("cust", customer),
        }
    )


def headers_of(
    notification: NotificationRow, endpoint: EndpointRow, body: bytes, *, now: Micros, wall: Micros
) -> dict[str, str]:
    """The headers of one attempt at ``wall``. While a secret is being replaced (``now``), the old one signs too."""
    secrets = [endpoint.secret]
    if endpoint.previous_secret is not None and (endpoint.previous_until or 0) > now:
        secrets.append(endpoint.previous_secret)
    name, at = event_id(notification), to_datetime(wall)
    signatures = [Webhook(secret).sign(name, at, body.decode()) for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": "Tallystick",
        "webhook-id": name,
        "webhook-timestamp": str(wall // 1_000_000),
        "webhook-signature": " ".join(signatures),
    }
