"""A server that misbehaves as it is told: one step for each request, on a real socket."""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

Step = Callable[[socket.socket], None]


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str | None:
        """Its idempotency key."""
        return self.headers.get("idempotency-key")


def answer(status: int, body: object, **headers: str) -> Step:
    """An answer: JSON, or, of a text, a page. Underscores in the names of headers stand for hyphens."""
    page = isinstance(body, str)
    content = str(body).encode() if page else json.dumps(body).encode()
    kind = "text/html" if page else "application/problem+json" if status >= 400 else "application/json"
    fields = {"content-type": kind, "content-length": str(len(content)), "connection": "close"}
    fields |= {name.replace("_", "-"): text for name, text in headers.items()}
    head = "".join(f"{name}: {text}\r\n" for name, text in fields.items())
    return raw(f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + content)


def raw(content: bytes) -> Step:
    """Any bytes, after which the connection is closed."""
    return lambda connection: connection.sendall(content)


def drop(_connection: socket.socket) -> None:
    """No answer: the connection breaks."""


def silence(seconds: float) -> Step:
    """No answer for a while."""
    return lambda _connection: time.sleep(seconds)


def trickle(content: bytes, *, pause: float) -> Step:
    """An answer of which every byte takes its time."""

    def send(connection: socket.socket) -> None:
        for place in range(len(content)):
            connection.sendall(content[place : place + 1])
            time.sleep(pause)

    return send


def problem(status: int, code: str, **members: Any) -> dict[str, Any]:
    """A refusal as the server says it."""
    return {
        "type": f"http://x/docs#{code.lower()}",
        "title": code,
        "status": status,
        "detail": "because",
        "code": code,
        "request_id": "req_1",
        **members,
    }


class FaultyServer:
    """Takes one request from each connection and does the next step of the script; at its end it does the last again."""

    def __init__(self, *script: Step) -> None:
        self._script = list(script)
        self.seen: list[Seen] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    self.seen.append(_read(connection))
                    self._script[min(len(self.seen), len(self._script)) - 1](connection)
                except (ConnectionError, IndexError):
                    continue


def _read(connection: socket.socket) -> Seen:
    found = b""
    while b"\r\n\r\n" not in found:
        found += _more(connection)
    head, _, body = found.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += _more(connection)
    method, path, _ = first.split(" ")
    return Seen(method, path, headers, body)


def _more(connection: socket.socket) -> bytes:
    found = connection.recv(65536)
    if not found:
        raise ConnectionError
    return found
