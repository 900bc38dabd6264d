"""A wallet with ten thousand transactions: all of them are there, and the last page comes as quickly as the first."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tallystick.services.context import SYSTEM
from tallystick.services.pricing import Usage
from tests.doors.web.dashboard import Dashboard, dashboard

pytestmark = pytest.mark.slow

CHARGES = 10_000
AT_ONCE = 1000
SLOW_SECONDS = 1.0  # many times what it takes: the machine may be busy


def charge_often(found: Dashboard) -> None:
    """Thousands of charges, a thousand each two hours."""
    create = found.tally.charges.create_batch
    found.grant(CHARGES, key="enough", expires_at=None)
    for batch in range(CHARGES // AT_ONCE):
        usages = [
            (Usage(meter="lookup", customer=found.customer), f"charge {batch} {number}")
            for number in range(AT_ONCE)
        ]
        with ThreadPoolExecutor(1) as thread:  # this one has the browser's event loop
            work = thread.submit(asyncio.run, create(SYSTEM, usages))
            assert AT_ONCE == len(work.result())
        found.server.clock.advance("PT2H")


def test_paging_stays_quick(sqlite_url: str, tmp_path: Path) -> None:
    """From the newest page on, from the middle by its day, and at the very end."""
    with dashboard(sqlite_url, tmp_path) as found:
        charge_often(found)
        page = found.page
        times = []
        for path in (
            "/billing/transactions",
            "/billing/transactions?to=2027-01-10&type=usage",
            "/billing/transactions?type=initial_grant",
            "/billing/usage",
        ):
            found.go(path)
            began = time.perf_counter()
            page.reload()
            times.append(time.perf_counter() - began)
        assert max(times) < SLOW_SECONDS, times

        found.go("/billing/transactions")
        assert 25 == page.locator("tbody tr").count()
        newest = page.locator("tbody td:nth-child(4)").first.inner_text()
        page.click("text=Older transactions")
        page.wait_for_selector("text=Newest transactions")
        older = page.locator("tbody td:nth-child(4)").first.inner_text()
        assert int(newest) + 25 == int(older)
        page.click("text=Newest transactions")
        page.wait_for_url("**/billing/transactions")
        assert newest == page.locator("tbody td:nth-child(4)").first.inner_text()
        words = found.go("/billing/transactions?type=initial_grant")
        assert "Welcome credits" in words
        assert 1 == page.locator("tbody tr").count()
        assert "you spent 10000 credits" in found.go("/billing/usage?period=7d")
