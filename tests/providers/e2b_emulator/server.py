"""The emulator's door: HTTP/1.1 on this machine, one thread for each connection. It can be shut and opened again."""

import contextlib
import socket
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.providers.e2b_emulator.messages import Answer, HangUp, Request
from tests.standing_in import StandIn


class Server:
    """Listens from the moment it is made until it is closed, on one port."""

    def __init__(self, reply: Callable[[Request], Answer]) -> None:
        self._reply = reply
        self.broken: list[str] = []
        self._listener: _Listener | None = _Listener(0, reply, self.broken)
        self.port, self.url = self._listener.port, self._listener.url

    def shut(self) -> None:
        """Refuse connections, and end those that callers keep open."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def open(self) -> None:
        """Listen again, on the same port."""
        if self._listener is None:
            self._listener = _Listener(self.port, self._reply, self.broken)


class _Listener(StandIn):
    block_on_close = False  # streams may still wait for their commands

    def __init__(self, port: int, reply: Callable[[Request], Answer], broken: list[str]) -> None:
        self.reply = reply
        self._broken = broken
        super().__init__(_Door, name="e2b emulator", port=port)

    def broke(self) -> None:
        """Record it with the emulator."""
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
