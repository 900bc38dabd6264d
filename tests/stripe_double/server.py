"""The double's door: HTTP/1.1 on this machine, one thread for each connection."""

import itertools
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.standing_in import StandIn
from tests.stripe_double.execution import Execution, HangUp, Request


class Server(StandIn):
    """Answers for Stripe."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self._count = itertools.count(1)
        super().__init__(_Door, name="stripe double")

    def next_id(self) -> str:
        """Return the id of a request."""
        return f"req_{next(self._count):014d}"

    def broke(self) -> None:
        """Record it with the double."""
        self.execution.broke()


class _Door(BaseHTTPRequestHandler):
    """Reads requests and writes answers."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # the head and the body of an answer leave together

    def do_GET(self) -> None:
        """Answer a retrieval or a list: its parameters are in the address."""
        address = urlsplit(self.path)
        self._answer(address.path, address.query)

    def do_DELETE(self) -> None:
        """Answer a deletion, whose parameters are in the address too."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer a creation or a change: its parameters are a form."""
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._answer(urlsplit(self.path).path, form)

    def _answer(self, address: str, form: str) -> None:
        request = Request(
            self.server.next_id(),
            self.command,
            address,
            form,
            {name.lower(): text for name, text in self.headers.items()},
        )
        try:
            answer = self.server.execution.answer(request)
        except HangUp:
            self.close_connection = True
            return
        body = json.dumps(answer.body).encode()
        self.send_response_only(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Request-Id", request.id)
        self.send_header("Stripe-Version", self.headers.get("Stripe-Version", ""))
        if answer.replayed:
            self.send_header("Idempotent-Replayed", "true")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
