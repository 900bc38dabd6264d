"""``python -m tests.screenshots``: the pictures of the dashboard in the documentation, made anew."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tallystick.core.ids import to_text
from tallystick.core.times import DAY, HOUR, MINUTE
from tallystick.services.context import SYSTEM
from tallystick.services.sandboxes import Wish
from tests.doors.web.dashboard import RUNS_SANDBOXES, Dashboard, dashboard
from tests.services.scripted_sandboxes import ScriptedSandboxes

FOLDER: Final = Path(__file__).parent.parent / "docs" / "images"
ECONOMY: Final = RUNS_SANDBOXES.replace('title = "Door"', 'title = "Example"')
DAYS: Final = 30


def take(folder: Path) -> list[Path]:
    """One picture of each of the main pages, in ``folder``; gives their paths."""
    provider = ScriptedSandboxes()
    with (
        TemporaryDirectory() as name,
        dashboard(f"sqlite:///{name}/pictures.db", Path(name), economy=ECONOMY, sandboxes=provider) as found,
    ):
        _live_through(found)
        _run_sandboxes(found, provider)
        found.sign_in(found.page)
        found.page.set_viewport_size({"width": 1000, "height": 700})
        pages = {
            "dashboard-credits": "/billing",
            "dashboard-usage": "/billing/usage",
            "dashboard-transactions": "/billing/transactions",
            "dashboard-transaction": _explained(found),
            "dashboard-keys": "/billing/keys",
            "dashboard-sandboxes": "/billing/sandboxes",
        }
        return [_picture(found, path, folder / f"{name}.png") for name, path in pages.items()]


def _live_through(found: Dashboard) -> None:
    """A month of somebody who uses, earns and buys."""
    source = random.Random(2)
    found.grant(4000, key="start", category="promotional_grant", reason="Launch offer")
    found.tally.keys.create(found.caller, name="Research agent", budget=(50, None, "day"))
    old = found.tally.keys.create(found.caller, name="Old script")
    for day in range(DAYS):
        for meter, most in (("lookup", 40), ("tiered", 60), ("limited", 2)):
            for number in range(source.randrange(1, 3)):
                quantity = source.randrange(1, most)
                found.charge(meter, quantity, key=f"{meter} {day} {number}", agent="researcher")
        if day % 4 == 1:
            found.grant(source.randrange(20, 60), key=f"earned {day}", category="reward", reason="Challenge")
        found.server.clock.micros += DAY
    found.tally.keys.revoke(found.caller, to_text("key", old.id))
    found.grant(250, key="soon", reason="Thank you", expires_at=found.server.clock() + 12 * DAY + 5 * HOUR)
    found.tally.holds.create_amount(
        SYSTEM, amount=35, customer=found.customer, idempotency_key="held", expires_in=3600
    )


def _run_sandboxes(found: Dashboard, provider: ScriptedSandboxes) -> None:
    """One that has ended, one that was forgotten, and one that is used."""
    sandboxes, made = found.tally.sandboxes, []
    for name, template, timeout in (
        ("try-it", "python", 600),
        ("notebook", "python", 3600),
        ("api", "node", 3600),
    ):
        wish = Wish(template=template, name=name, timeout=timeout)
        made.append(sandboxes.create(found.caller, wish, idempotency_key=name).value)
    for _ in range(11):
        found.server.clock.micros += MINUTE
        provider.advance(60_000)
        found.tally.sandbox_keeper.run_once()
    found.tally.sandbox_runs.execute(
        found.caller, to_text("sbx", made[-1].id), code="node --version", idempotency_key="used"
    )


def _explained(found: Dashboard) -> str:
    found.go("/billing/transactions?type=usage")
    return found.page.get_by_text("Explain").first.get_attribute("href") or ""


def _picture(found: Dashboard, path: str, to: Path) -> Path:
    found.go(path)
    if "usage" in path:
        found.page.locator(".chart .bars path").first.wait_for(state="attached")
    found.page.screenshot(path=to, animations="disabled")
    return to


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for made in take(FOLDER):
        print(made.name)  # noqa: T201 - a program that says what it made
