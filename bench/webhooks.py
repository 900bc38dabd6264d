"""Events of a payment provider: how many one process handles in a second, and what charges notice of them.

Each event is about a purchase of its own that was paid with the simulated provider, so that handling it asks the provider,
credits the purchase and marks the event in one commit.
"""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog

from bench.machine import on_one_core
from bench.results import Figures, Result, alternate, middle
from bench.settings import Settings
from tallystick.bench_charges import CALLER, ECONOMY, Measured, drive, open_customers
from tallystick.bench_http import HOST, server
from tallystick.bootstrap import Tally
from tallystick.core.times import HOUR
from tallystick.providers.simulated.events import sign
from tallystick.providers.simulated.provider import SECRET
from tallystick.services.clock import system_time
from tallystick.store import settings as stored

TARGET = 300
NO_EFFECT = 0.9  # what is within the noise of two runs
SENDERS = 8
WEBHOOK: Final = "/api/v1/billing/webhook"
_SELLS: Final = "\n[purchase]\nmin_usd = 10\nmax_usd = 10000\ncredits_per_usd = 100\n"
_AGO: Final = 2 * HOUR  # so long ago that a worker does not ask for them by itself

Send = Callable[[bytes, str], None]


def measure_webhooks(settings: Settings) -> list[Result]:
    """Events through the service and through HTTP, each beside its repeats; and charges while they arrive."""
    found = alternate(
        settings.rounds,
        {"service": partial(_through_service, settings), "http": partial(_through_http, settings)},
    )
    return [
        *(_handled(settings, name, found[name]) for name in ("service", "http")),
        _charges(settings),
    ]


def _handled(settings: Settings, name: str, rounds: list[Figures]) -> Result:
    figure = middle(rounds, "per_s")
    where = "POST /billing/webhook" if name == "http" else "the service"
    return Result(
        name=f"webhooks_{name}",
        what=f"{settings.events:,} events of payments through {where}",
        figure=figure,
        unit="events/s",
        beside="the same events again",
        beside_figure=middle(rounds, "again_per_s"),
        target=f"at least {TARGET}/s",
        met=figure >= TARGET,
        details={"rounds": rounds},
    )


def _charges(settings: Settings) -> Result:
    """Charges of one process while events arrive evenly over the run, beside charges of one to which nobody sends them."""
    found = alternate(
        settings.rounds,
        {
            "with": partial(_charging, settings, arrive=True),
            "without": partial(_charging, settings, arrive=False),
        },
    )
    figure, beside = middle(found["with"], "per_s"), middle(found["without"], "per_s")
    return Result(
        name="webhooks_charges",
        what=f"charges while {settings.events:,} events arrive in {settings.seconds * 2:g} s, {settings.clients} threads",
        figure=figure,
        unit="charges/s",
        beside="without events",
        beside_figure=beside,
        target=f"ratio at least {NO_EFFECT}",
        met=figure >= NO_EFFECT * beside,
        details={"rounds": found},
    )


# --- runs ------------------------------------------------------------------------------------------------------------


def _through_service(settings: Settings) -> Figures:
    with (
        _paid(settings, settings.events) as (url, economy, bodies),
        on_one_core(),
        _open(url, economy) as tally,
    ):
        send = partial(_receive, tally)
        figures = _both(bodies, send, _secret(tally))
        _check(tally, settings.events)
    return figures


def _through_http(settings: Settings) -> Figures:
    with _paid(settings, settings.events) as (url, economy, bodies):
        with _open(url, economy) as tally:
            secret = _secret(tally)
        with on_one_core(), server(folder=str(Path(economy).parent), url=url, economy=economy) as (port, _):
            figures = _both(bodies, _Poster(port), secret)
        with _open(url, economy) as tally:
            _check(tally, settings.events)
    return figures


def _both(bodies: Sequence[bytes], send: Send, secret: str) -> Figures:
    return {
        "events": len(bodies),
        "per_s": round(len(bodies) / _send_all(bodies, send, secret)),
        "again_per_s": round(len(bodies) / _send_all(bodies, send, secret)),
    }


def _charging(settings: Settings, *, arrive: bool) -> Figures:
    """Twice as long as other runs, so that the events are a stream and not a flood; the purchases are there either way."""
    seconds, events = settings.seconds * 2, settings.events if arrive else 0
    with (
        _paid(settings, settings.events) as (url, economy, bodies),
        on_one_core(),
        _open(url, economy) as tally,
    ):
        customers = open_customers(tally, settings.wallets)
        secret, measured, late = _secret(tally), Measured(), 0.0

        def send() -> None:
            nonlocal late
            started = time.perf_counter()
            for number, body in enumerate(bodies[:events]):
                wait = started + seconds * number / events - time.perf_counter()
                late = max(late, -wait)
                time.sleep(max(wait, 0))
                _receive(tally, body, sign(body, secret=secret, now=system_time()))

        thread = threading.Thread(target=send)
        thread.start()
        drive(tally, customers, measured, clients=settings.clients, seconds=seconds, kind="threads", seed=1)
        ended = time.perf_counter()
        thread.join()
        _check(tally, events)
    return {
        "charges": len(measured.latencies),
        "per_s": round(len(measured.latencies) / measured.seconds),
        "events": events,
        "events_late_s": round(late, 2),
        "events_after_the_charges_s": round(time.perf_counter() - ended, 2),
    }


# --- events ----------------------------------------------------------------------------------------------------------


@contextmanager
def _paid(settings: Settings, count: int) -> Iterator[tuple[str, str, list[bytes]]]:
    """A database with so many paid purchases that we have not heard of; gives its URL, the economy, and the events."""
    with TemporaryDirectory(prefix="tally-bench-", dir=settings.folder) as name:
        economy = Path(name).resolve() / "bench.toml"
        economy.write_text(ECONOMY + _SELLS, encoding="utf-8")
        url = f"sqlite:///{economy.with_name('bench.db')}"
        with Tally.open(
            url, economy=str(economy), test_mode=False, source=lambda: system_time() - _AGO
        ) as tally:
            provider = tally.simulated_payments
            assert provider is not None
            buyers = open_customers(tally, min(count, 100)) or [""]
            for number in range(count):
                view = tally.checkouts.create(CALLER, customer=buyers[number % len(buyers)], amount=10).value
                provider.pay(view.session_id, "4242 4242 4242 4242")
            bodies: list[bytes] = []
            while provider.deliver(lambda body, _signature: bodies.append(body))["simulated_event"]:
                pass
            tally.database.transact(
                lambda connection: stored.put(
                    connection, f"provider_events_seen_at:{provider.name}", str(system_time())
                )
            )
        yield url, str(economy), [each for each in bodies if json.loads(each)["subject"] == "checkout"]


def _open(url: str, economy: str) -> Tally:
    """As a server has it, whose lines about each event nobody reads on a terminal."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    return Tally.open(url, economy=economy, test_mode=False)


def _secret(tally: Tally) -> str:
    with tally.database.read() as connection:
        found = stored.get(connection, SECRET)
    return found or ""


def _send_all(bodies: Sequence[bytes], send: Send, secret: str) -> float:
    """Send each from one of some senders; gives the seconds that it took."""

    def some(part: Sequence[bytes]) -> None:
        for body in part:
            send(body, sign(body, secret=secret, now=system_time()))

    started = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(some, [bodies[number::SENDERS] for number in range(SENDERS)]))
    return time.perf_counter() - started


def _receive(tally: Tally, body: bytes, signature: str) -> None:
    tally.provider_events.receive(body, signature)


class _Poster:
    """Sends by HTTP; each thread keeps its connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._mine = threading.local()

    def __call__(self, body: bytes, signature: str) -> None:
        line = getattr(self._mine, "line", None)
        if line is None:
            line = self._mine.line = http.client.HTTPConnection(HOST, self._port, timeout=60)
        headers = {"Content-Type": "application/json", "Stripe-Signature": signature}
        line.request("POST", WEBHOOK, body=body, headers=headers)
        answer = line.getresponse()
        text = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"an event was answered {answer.status}: {text[:200]!r}")


def _check(tally: Tally, count: int) -> None:
    """Every purchase was credited."""
    with tally.database.read() as connection:
        paid = connection.exec_driver_sql("SELECT count(*) FROM payments WHERE status = 'paid'").scalar_one()
    if paid != count:
        message = f"{count} purchases were paid, and the database holds {paid}"
        raise RuntimeError(message)
