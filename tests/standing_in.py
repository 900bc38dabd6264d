"""What stands in for somebody's service over HTTP/1.1 on this machine: one thread for each connection."""

import contextlib
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

POLL_SECONDS = 0.01


class StandIn(ThreadingTCPServer):
    """Listens from the moment it is made until it is closed, which ends the connections that callers keep open."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler], *, name: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.port: int = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), name=name)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and end what is open."""
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
        """Record what went wrong inside: the test that met it fails by it. Callers may hang up."""
        del request, client_address
        if not isinstance(sys.exception(), OSError):
            self.broke()

    def broke(self) -> None:
        """Record the exception that is being handled."""
        raise NotImplementedError
