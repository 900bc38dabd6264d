"""Agents that call a tool again and again, and write down what they began and what they got: ``PORT FILE MOST``.

Whatever was begun and not answered, in this process or in one that was killed, is repeated with its key before anything new.
With ``MOST`` 0 nothing new is begun, and the process ends when everything is answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx

AGENTS = 8
PATIENCE_SECONDS = 20


class Book:
    """What was begun and what was answered, in a file that survives."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.begun: dict[str, str] = {}
        self.done: dict[str, list[Any]] = {}
        for line in path.read_text().splitlines():
            said, key, text = line.split(" ", 2)
            if said == "begun":
                self.begun[key] = text
            else:
                self.done.setdefault(key, []).append(json.loads(text))
        self._path = path

    @property
    def open(self) -> list[str]:
        """What nobody has an answer to."""
        return [key for key in self.begun if key not in self.done]

    def note(self, said: str, key: str, text: str) -> None:
        """One line."""
        with self._path.open("a") as file:
            file.write(f"{said} {key} {text}\n")


async def agent(number: int, book: Book, port: int, keys: Iterator[str]) -> None:
    """Call, and repeat until there is an answer that stands."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS) as http:
        for key in keys:
            customer = book.begun.get(key, f"agent-{number}")
            if key not in book.begun:
                book.note("begun", key, customer)
            while (answer := await call(http, customer, key)) is None:  # noqa: ASYNC110 - nobody tells when it is back
                await asyncio.sleep(0.05)
            book.note("done", key, json.dumps(answer))


async def call(http: httpx.AsyncClient, customer: str, key: str) -> Any:
    """The receipt; None where there is no answer, or one that says to try again."""
    asked = {"name": "work", "arguments": {"number": 1}, "_meta": {"tallystick/idempotency-key": key}}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
        "X-Customer": customer,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": asked}
    try:
        result = (await http.post("/mcp", json=body, headers=headers)).json()["result"]
    except (httpx.HTTPError, ValueError):
        return None
    if not result.get("isError"):
        return result["_meta"]["tallystick/receipt"]
    if result["structuredContent"]["error"]["code"] == "service_unavailable":
        return None
    raise AssertionError(result)


async def main(port: str, file: str, most: str) -> None:
    """Every agent takes its keys from one list: first those that are open, then new ones."""
    book = Book(Path(file))
    fresh = (f"call-{len(book.begun) + number}" for number in count())
    new = (next(fresh) for _ in range(int(most)))

    def keys() -> Iterator[str]:
        yield from book.open
        yield from new

    shared = keys()
    print("the client runs", flush=True)  # noqa: T201 - whoever started it waits for this
    await asyncio.gather(*(agent(number, book, int(port), shared) for number in range(AGENTS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
