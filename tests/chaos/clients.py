"""Clients that write down every answer that they got, and every request whose outcome they do not know."""

import http.client
import json
from dataclasses import dataclass, field
from typing import Any, Self

from tests.servers import ADMIN_KEY

TIMEOUT_SECONDS = 60
UNAVAILABLE = 503


@dataclass
class Attempt:
    """One request with a key of its own. ``status`` None: no answer came, so nobody knows what became of it."""

    path: str
    body: dict[str, Any]
    key: str
    customer: str
    amount: int
    kind: str
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether it was acknowledged."""
        return self.status in {200, 201}

    @property
    def is_unknown(self) -> bool:
        """Whether it may be done or not: no answer, or one that says to repeat."""
        return self.status in {None, UNAVAILABLE}


class Client:
    """One connection, kept open; nothing is ever repeated by itself."""

    def __init__(self, port: int, *, key: str = ADMIN_KEY) -> None:
        self.port = port
        self._key = key
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)

    def send(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> tuple[int, dict[str, Any], bool]:
        """The status, the answer, and whether it was a replay. Raises ``OSError`` or ``HTTPException`` without one."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        text = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, f"/api/v1{path}", text, headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        found = json.loads(answer) if answer else {}
        return response.status, found, response.headers.get("Idempotent-Replayed") == "true"

    def ask(self, method: str, path: str, body: object = None, *, key: str | None = None) -> dict[str, Any]:
        """The answer to what must be done."""
        status, answer, _ = self.send(method, path, body, key=key)
        assert status in {200, 201, 204}, (status, answer)
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close at the end of the block."""
        self.close()

    def connect_to(self, port: int) -> None:
        """Go on with another server."""
        self.close()
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)


def open_customers(port: int, names: list[str], *, credits_each: int) -> None:
    """Customers with credits to spend."""
    with Client(port) as client:
        for name in names:
            client.ask("POST", "/customers", {"external_id": name})
            body = {"customer": name, "amount": credits_each, "category": "bonus"}
            client.ask("POST", "/grants", body, key=f"start {name}")
