"""The pages of the dashboard for somebody with a long history: how long each takes to answer, one after the other."""

from __future__ import annotations

import asyncio
import http.client
import random
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.machine import on_one_core
from bench.results import Figures, Result, alternate, middle
from bench.settings import Settings
from tallystick.bench_charges import ECONOMY
from tallystick.bench_http import HOST, server
from tallystick.bootstrap import Tally
from tallystick.core.ids import to_text
from tallystick.core.times import DAY
from tallystick.services.clock import system_time
from tallystick.services.context import SYSTEM
from tallystick.services.pricing import Usage

TARGET_MS: Final = 100.0
AT_ONCE: Final = 1000
DAYS: Final = 89  # the longest chart sums all of it
_SELLS: Final = """
[packs.small]
title = "Small"
credits = 100
price_usd = 1
[purchase]
min_usd = 10
max_usd = 10000
credits_per_usd = 100
[auto_refill]
threshold_min = 1
threshold_default = 10
amount_min_usd = 10
amount_default_usd = 10
"""
PAGES: Final = (
    "/billing",
    "/billing/balance",
    "/billing/transactions",
    "/billing/transactions?type=bonus",
    "/billing/transactions?to={old}",
    "/billing/transactions/{transaction}",
    "/billing/usage?period=7d",
    "/billing/usage?period=30d",
    "/billing/usage?period=90d",
    "/billing/payments",
    "/billing/sandboxes",
    "/billing/plan",
    "/billing/refills",
    "/billing/budgets",
    "/billing/keys",
    "/billing/webhooks",
    "/billing/password",
)


def measure_dashboard(settings: Settings) -> list[Result]:
    """The slowest page of a wallet with a long history, beside the slowest of one that is almost empty."""
    found = alternate(
        1, {"full": lambda: _pages(settings, settings.history), "empty": lambda: _pages(settings, 1)}
    )
    figure, beside = middle(found["full"], "slowest_ms"), middle(found["empty"], "slowest_ms")
    return [
        Result(
            name="dashboard_pages",
            what=f"The slowest page of the dashboard after {settings.history:,} charges of one wallet, median",
            figure=round(figure, 1),
            unit="ms",
            beside="the slowest of an almost empty wallet",
            beside_figure=round(beside, 1),
            target=f"below {TARGET_MS:g} ms",
            met=figure < TARGET_MS,
            details={"rounds": found},
        )
    ]


def _pages(settings: Settings, charges: int) -> Figures:
    with TemporaryDirectory(prefix="tally-bench-", dir=settings.folder) as name:
        folder = Path(name).resolve()
        economy, url = folder / "bench.toml", f"sqlite:///{folder / 'bench.db'}"
        economy.write_text(ECONOMY + _SELLS, encoding="utf-8")
        token, transaction, old = _fill(url, str(economy), charges)
        paths = [each.format(transaction=transaction, old=old) for each in PAGES]
        with on_one_core(), server(folder=name, url=url, economy=str(economy)) as (port, _):
            medians = {path: _median(port, path, token, times=settings.looks) for path in paths}
    return {"slowest_ms": max(medians.values()), "medians_ms": medians}


def _fill(url: str, economy: str, charges: int) -> tuple[str, str, str]:
    """A user whose charges lie evenly in the last days; gives a session, a transaction and a day in the middle."""
    ends, made = system_time(), 0

    def clock() -> int:
        return ends - DAYS * DAY + DAYS * DAY * made // charges

    with Tally.open(url, economy=economy, source=clock) as tally:
        user = tally.identity.register("ada@example.test", "correct horse battery")
        customer, meters = to_text("cust", user.customer_id), list(tally.context.economy().meters)
        tally.grants.create(
            SYSTEM, customer=customer, amount=10**9, category="bonus", idempotency_key="enough"
        )
        source = random.Random(5)
        while made < charges:
            batch = [
                (Usage(meter=source.choice(meters), customer=customer), f"charge {made + number}")
                for number in range(min(AT_ONCE, charges - made))
            ]
            asyncio.run(tally.charges.create_batch(SYSTEM, batch))
            made += len(batch)
        session = tally.identity.login("ada@example.test", "correct horse battery")
        caller = tally.identity.authenticate(session.token, clock())
        [newest] = tally.billing.transactions(caller, limit=1).items
        middle_at = ends - DAYS * DAY // 2
    return (
        session.token,
        to_text("txn", newest.id),
        time.strftime("%Y-%m-%d", time.gmtime(middle_at // 1_000_000)),
    )


def _median(port: int, path: str, token: str, *, times: int) -> float:
    """Milliseconds for one page over one connection. Raises ``RuntimeError`` for anything but the page."""
    line = http.client.HTTPConnection(HOST, port, timeout=60)
    took: list[float] = []
    for _ in range(times + 1):  # the first one opens what stays open
        began = time.perf_counter()
        line.request("GET", path, headers={"Cookie": f"tally-session={token}"})
        answer = line.getresponse()
        body = answer.read()
        took.append((time.perf_counter() - began) * 1000)
        if answer.status != http.client.OK:
            message = f"{path} was answered {answer.status}: {body[:200]!r}"
            raise RuntimeError(message)
    line.close()
    return _middle_of(took[1:])


def _middle_of(figures: Sequence[float]) -> float:
    return sorted(figures)[len(figures) // 2]
