"""The emulator's door: HTTP/1.1 on this machine, one thread for each connection. It can be shut and opened again."""

import contextlib
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import urlsplit

from tests.providers.e2b_emulator.messages import Answer, HangUp, Request

POLL_SECONDS = 0.01


class Server:
    """Listens from the moment it is made until it is closed, on one port."""

    def __init__(self, reply: Callable[[Request], Answer]) -> None:
        self._reply = reply
        self.broken: list[str] = []
        self._listener: _Listener | None = _Listener(0, reply, self.broken)
        self.port: int = self._listener.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def shut(self) -> None:
        """Refuse connections, and end those that callers keep open."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def open(self) -> None:
        """Listen again, on the same port."""
        if self._listener is None:
            self._listener = _Listener(self.port, self._reply, self.broken)


class _Listener(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False  # streams may still wait for their commands
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, reply: Callable[[Request], Answer], broken: list[str]) -> None:
        super().__init__(("127.0.0.1", port), _Door)
        self.reply = reply
        self._broken = broken
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), name="e2b emulator")
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
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
        """Record what went wrong inside the emulator: the test that met it fails by it."""
        del request, client_address
        if not isinstance(sys.exception(), OSError):  # callers may hang up
            self._broken.append(traceback.format_exc())


class _Door(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer."""
        self._serve()

    def do_POST(self) -> None:
        """Answer."""
        self._serve()

    def do_DELETE(self) -> None:
        """Answer."""
        self._serve()

    def _serve(self) -> None:
        address = urlsplit(self.path)
        headers = {name.lower(): text for name, text in self.headers.items()}
        request = Request(self.command, address.path, address.query, headers, self._body(headers))
        try:
            answer = self.server.reply(request)
        except HangUp:
            self._hang_up()
            return
        self.send_response_only(answer.status)
        for name, text in answer.headers.items():
            self.send_header(name, text)
        if isinstance(answer.body, bytes):
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._stream(answer.body)

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(headers.get("content-length", 0)))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def _stream(self, parts: Iterator[bytes]) -> None:
        try:
            for part in parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
        except HangUp:
            self._hang_up()
            return
        self.wfile.write(b"0\r\n\r\n")

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
