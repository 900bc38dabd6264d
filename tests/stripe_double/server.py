"""The double's door: HTTP/1.1 on this machine, one thread for each connection."""

import contextlib
import itertools
import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import urlsplit

from tests.stripe_double.execution import Execution, HangUp, Request

POLL_SECONDS = 0.01


class Server(ThreadingTCPServer):
    """Listens from the moment it is made until it is closed."""

    daemon_threads = True
    block_on_close = True
    request_queue_size = 128

    def __init__(self, execution: Execution) -> None:
        super().__init__(("127.0.0.1", 0), _Door)
        self.execution = execution
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._count = itertools.count(1)
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), name="stripe double")
        self._thread.start()

    def next_id(self) -> str:
        """Return the id of a request."""
        return f"req_{next(self._count):014d}"

    def close(self) -> None:
        """Stop listening, and end the connections that callers keep open."""
        self.shutdown()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a connection for as long as it lasts."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ended."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Record what went wrong inside the double: the test that met it fails by it."""
        del request, client_address
        if not isinstance(sys.exception(), OSError):  # callers may hang up
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
