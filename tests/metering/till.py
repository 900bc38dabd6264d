"""A wallet to pay from, on both databases and by a billing server, and requests to ASGI apps, also by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tallystick.bootstrap import Tally
from tallystick.metering import Metering
from tallystick.services.context import SYSTEM
from tests.metering.test_fastmcp import ECONOMY, elsewhere

T = TypeVar("T")
WAYS = ["sqlite", "postgresql", "elsewhere"]


@dataclass
class Till:
    """Ann has 100 credits; a search costs 2, a row 0.5. All of a test runs in one event loop."""

    tally: Tally
    metering: Metering
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the event loop."""
        return self.runner.run(work)

    def ask(self, app: Any, method: str, url: str, **more: Any) -> httpx.Response:
        """One request, and its whole answer."""

        async def work() -> httpx.Response:
            async with client_of(app) as client:
                return await client.request(method, url, **more)

        return self.run(work())

    def figures(self, customer: str = "ann") -> tuple[int, int]:
        """The balance, and what is held of it; all prices here are whole."""
        found = self.tally.billing.balance(SYSTEM, customer=customer)
        assert 0 == found.balance % 10**6 == found.held % 10**6
        return found.balance // 10**6, found.held // 10**6

    def add(self, customer: str) -> None:
        """Another customer with 100 credits."""
        self.tally.customers.create(SYSTEM, external_id=customer)
        self.tally.grants.create(
            SYSTEM, customer=customer, amount=100, category="bonus", idempotency_key=f"start of {customer}"
        )

    def test_clock(self, advance: str) -> None:
        """Move the clock."""
        self.tally.test_clock.move(SYSTEM, advance=advance)

    def freeze(self) -> None:
        """Freeze the wallet, when no hold keeps anything any more."""
        self.tally.wallets.freeze(SYSTEM, customer="ann", reason="a test")
        self.test_clock("PT2H")

    async def comes_to(self, expected: tuple[int, int]) -> None:
        """Wait a moment for these figures."""
        for _ in range(300):
            if self.figures() == expected:
                return
            await asyncio.sleep(0.01)
        assert expected == self.figures()


@contextmanager
def opened(way: str, url: str, folder: Path) -> Iterator[Till]:
    economy = folder / "tools.toml"
    economy.write_text(ECONOMY)
    with Tally.open(url, economy=str(economy)) as tally, ExitStack() as stack:
        metering = Metering(stack.enter_context(elsewhere(tally)) if way == "elsewhere" else tally)
        till = Till(tally, metering)
        till.add("ann")
        yield till
        till.runner.close()
        metering.close()


def client_of(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://app.test")


@dataclass
class Wire:
    """One request by hand, whose client may hang up."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: list[bytes] = field(default_factory=lambda: [b""])
    hang_up_after: int | None = None  # bodies
    on_message: Callable[[int], None] = lambda _: None
    root_path: str = ""
    send: Callable[[dict[str, Any]], Awaitable[None]] = field(init=False)
    sent: list[dict[str, Any]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Deliver what is sent."""
        self.send = self._deliver

    async def run(self, app: Any) -> None:
        """Call the app."""
        path, _, query = self.url.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": self.root_path,
            "query_string": query.encode(),
            "headers": [(name.encode(), text.encode()) for name, text in self.headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("app.test", 80),
        }
        await app(scope, self._receive, self.send)

    async def _receive(self) -> dict[str, Any]:
        if self.body:
            chunk = self.body.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self.body)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _deliver(self, message: dict[str, Any]) -> None:
        if self.gone.is_set():
            return
        self.sent.append(message)
        bodies = len(self.bodies)
        self.on_message(bodies)
        if self.hang_up_after is not None and bodies >= self.hang_up_after:
            self.gone.set()

    @property
    def bodies(self) -> list[bytes]:
        """The parts of the body that arrived."""
        found = [each.get("body", b"") for each in self.sent if each["type"] == "http.response.body"]
        return [each for each in found if each]

    @property
    def status(self) -> int:
        """The status that arrived."""
        return int(self.sent[0]["status"])
