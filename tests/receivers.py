"""Receivers for tests: a web server that takes webhooks as it is told to, and notifies of customers to receive."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from standardwebhooks import Webhook

from tallystick.bootstrap import Tally
from tallystick.config import Outgoing
from tallystick.core.ids import to_text
from tallystick.core.times import DAY, Micros
from tallystick.providers.webhooks import WebhookSender
from tallystick.services.clock import system_time
from tallystick.services.context import SYSTEM
from tallystick.services.delivery import Delivery, SendsMail
from tallystick.services.endpoints import Endpoints, WithSecret
from tallystick.store import notifications

ALLOWED = Outgoing(allow_private=True)


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Received, BaseHTTPRequestHandler], None]


def answering(status: int, headers: dict[str, str] | None = None) -> Answer:
    """Answers each request with this status."""

    def answer(_request: Received, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@dataclass
class Receiver:
    """A web server on a port of its own; ``answer`` decides what it says."""

    answer: Answer = field(default_factory=lambda: answering(204))
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.path, headers, self.rfile.read(length))
                receiver.received.append(request)
                receiver.answer(request, self)

            def log_message(self, *_arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_arguments: object) -> None:
                pass  # the other side hung up, which is what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/hook"

    def events(self, secret: str) -> list[Any]:
        """What was received, each with a signature that the library accepts."""
        return [Webhook(secret).verify(each.body, each.headers) for each in self.received]

    def ids(self) -> list[str]:
        """The ids of what was received, in order."""
        return [each.headers["webhook-id"] for each in self.received]


def outgoing(
    tally: Tally,
    *,
    allow_private: bool = True,
    resolve: Callable[[str, int], list[str]] | None = None,
    deadline_seconds: float = 5.0,
    mail: SendsMail | None = None,
    https_only: bool = False,
    random: Callable[[], float] = lambda: 0.5,
    wall: Callable[[], Micros] = system_time,
) -> None:
    """Give a Tally its endpoints and deliveries anew, with what the test decides."""
    more = {} if resolve is None else {"resolve": resolve}
    sender = WebhookSender(allow_private=allow_private, deadline_seconds=deadline_seconds, **more)
    tally.endpoints = Endpoints(
        tally.context, tally.customers, check_host=sender.check_host, https_only=https_only
    )
    before = tally.delivery
    tally.delivery = Delivery(
        tally.context, webhooks=sender, mail=mail, disable_after=5 * DAY, wall=wall, random=random
    )
    tally.works[tally.works.index(before)] = tally.delivery
    before.close()


def listen(tally: Tally, url: str, *, customer: str | None = None, types: tuple[str, ...] = ()) -> WithSecret:
    """An endpoint, made by an admin: a customer's, or the operator's own."""
    return tally.endpoints.create(SYSTEM, url=url, customer=customer, types=types)


def name_of(made: WithSecret) -> str:
    """An endpoint's id as text."""
    return to_text("whe", made.endpoint.id)


def emit(
    tally: Tally,
    customer: str | None,
    event_type: str = "balance.low",
    data: dict[str, object] | None = None,
    *,
    once: str | None = None,
) -> int:
    """Write a notification in a transaction of its own; gives its number."""
    number = None if customer is None else tally.customers.resolve(SYSTEM, customer)
    context = tally.context
    return context.database.transact(
        lambda connection: notifications.emit(
            connection,
            new_id=context.new_id,
            now=context.now(),
            customer_id=number,
            type=event_type,
            data={"unit": "credits"} if data is None else data,
            once=once,
        )
    )
