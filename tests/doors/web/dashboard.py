"""Somebody at the dashboard in a real browser, and what every page of it has to be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, ViewportSize

from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.pricing import Usage
from tests.browser import open_browser
from tests.doors.api.door import ECONOMY
from tests.doors.mcp.connecting import PASSWORD, Installation
from tests.services.scripted_sandboxes import ScriptedSandboxes

EMAIL = "ada@example.test"
SELLS = (
    ECONOMY
    + """
[packs.middle]
title = "Middle"
credits = 500
price_usd = 4
[packs.large]
title = "Large"
credits = 2500
price_usd = 15
[auto_refill]
threshold_min = 10
threshold_default = 20
amount_min_usd = 10
amount_default_usd = 10
"""
)
# With these, two vCPUs and half a GiB cost 30.25 millionths of a dollar a second.
RUNS_SANDBOXES = (
    SELLS.replace("[plans.pro]", "session_seconds_max = 7200\nconcurrency_max = 3\n[plans.pro]", 1)
    + """
[meters.vcpu_seconds]
category = "infrastructure"
description = "A running sandbox, per vCPU and second"
[[meters.vcpu_seconds.prices]]
unit = "USD"
kind = "per_unit"
per_unit = 0.000014
[meters.gib_seconds]
category = "infrastructure"
description = "A running sandbox, per GiB of memory and second"
[[meters.gib_seconds.prices]]
unit = "USD"
kind = "per_unit"
per_unit = 0.0000045
[meters.sandbox_create]
category = "sandbox"
description = "Create a sandbox"
price = 1
[meters.sandbox_execute]
category = "sandbox"
description = "Run code in a sandbox"
price = 2
[sandbox]
vcpu_meter = "vcpu_seconds"
gib_meter = "gib_seconds"
default_vcpu = 2
default_memory_mib = 512
default_timeout_seconds = 3600
"""
)
PHONE: ViewportSize = {"width": 390, "height": 844}
PAGES = (
    "/billing",
    "/billing/transactions",
    "/billing/usage",
    "/billing/payments",
    "/billing/agents",
    "/billing/tasks",
    "/billing/sandboxes",
    "/billing/plan",
    "/billing/refills",
    "/billing/budgets",
    "/billing/keys",
    "/billing/webhooks",
    "/apps",
    "/billing/password",
)


class Dashboard:
    """A server, and a browser in which somebody has registered."""

    def __init__(self, server: Installation, page: Page) -> None:
        self.server, self.tally, self.page = server, server.tally, page
        self.complaints: list[str] = []
        self.watch(page)
        self.sign_in(page, action="register")
        session = next(each for each in page.context.cookies() if each.get("name") == "tally-session")
        self.caller: Caller = self.tally.identity.authenticate(session.get("value", ""), server.clock())
        self.customer = to_text("cust", self.caller.customer_id or 0)

    def watch(self, page: Page) -> None:
        """Note what the browser says against a page."""
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def sign_in(self, page: Page, *, action: str = "sign_in", password: str = PASSWORD) -> None:
        """Register or sign in, at the first page."""
        page.goto(f"{self.server.url}/sign-in")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", password)
        page.click(f"button[value={action}]")
        page.wait_for_url("**/billing")

    def go(self, path: str, page: Page | None = None) -> str:
        """Look at a page; gives its words."""
        page = page or self.page
        page.goto(f"{self.server.url}{path}")
        return page.inner_text("main")

    def tab(self) -> Page:
        """A second tab of the same browser."""
        tab = self.page.context.new_page()
        self.watch(tab)
        return tab

    def charge(self, meter: str, quantity: int = 1, *, key: str, agent: str | None = None) -> str:
        """Use something; gives the charge."""
        usage = Usage(meter=meter, quantity=quantity, customer=self.customer, agent=agent)
        made = self.tally.charges.create(SYSTEM, usage, idempotency_key=key)
        return to_text("chg", made.value.id)

    def grant(self, amount: int, *, key: str, **terms: Any) -> None:
        """Give credits."""
        self.tally.grants.create(
            SYSTEM,
            customer=self.customer,
            amount=amount,
            **{"category": "bonus", "idempotency_key": key} | terms,
        )


@contextmanager
def dashboard(
    url: str, folder: Path, *, economy: str = SELLS, sandboxes: ScriptedSandboxes | None = None
) -> Iterator[Dashboard]:
    """Somebody at the dashboard; at the end the browser has complained of nothing that it was told not to load."""
    with (
        Installation(url, folder, economy=economy, sandboxes=sandboxes) as server,
        open_browser() as first,
    ):
        browser = first.context.browser
        assert browser is not None
        # A context of its own may have several tabs.
        found = Dashboard(server, browser.new_context(viewport=PHONE).new_page())
        yield found
        complaints = [each for each in found.complaints if "status of 4" not in each]
        assert not complaints, complaints
