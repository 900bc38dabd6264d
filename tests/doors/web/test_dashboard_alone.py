"""Forms of the dashboard that need somebody to themselves: one without a card, and one whose password changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.mcp.connecting import PASSWORD, Person, connected
from tests.doors.web.dashboard import EMAIL, Dashboard, dashboard

pytestmark = pytest.mark.slow

NEW = "a wholly new password"


@pytest.fixture
def fresh(sqlite_url: str, tmp_path: Path) -> Iterator[Dashboard]:
    """Somebody at a dashboard that no other test has changed."""
    with dashboard(sqlite_url, tmp_path) as made:
        yield made


def test_refills_are_set_up_with_a_card_and_turned_off(fresh: Dashboard) -> None:
    """Turning them on without a card leads to saving one; what is out of bounds is refused with the bounds."""
    page = fresh.page
    assert "Refills are off" in fresh.go("/billing/refills")
    page.fill("input[name=threshold]", "30")
    page.fill("input[name=amount]", "25")
    page.click("text=Turn refills on")
    page.wait_for_url("**/simulated/checkout/*")
    page.locator("input[name=card]").first.check()
    page.click("button[value=pay]")
    page.wait_for_url("**/billing/success*")
    fresh.tally.run_all()
    words = fresh.go("/billing/refills")
    assert "below 30 credits, your card is charged $25.00 for 250 credits" in words
    assert "visa •••• 4242" in words
    assert "charged for refills is visa •••• 4242" in fresh.go("/billing/success")
    fresh.go("/billing/refills")
    page.fill("input[name=amount]", "3")
    page.click("button[value=on]")
    assert "expected an amount from $10 to" in page.inner_text("[role=alert]")
    page.click("text=Turn refills off")
    page.wait_for_selector("text=Refills are off")


def test_a_new_password_ends_everything_else(fresh: Dashboard) -> None:
    """Other browsers are signed out and apps are disconnected; wrong entries are told."""
    page = fresh.page
    app = fresh.server.app()
    person = Person(fresh.server.client(), EMAIL)
    person.sign_in("sign_in")
    tokens = connected(app, person)
    assert fresh.server.lets_in(tokens["access_token"])
    for old, new, again, problem in (
        ("wrong password", NEW, NEW, "Password now: expected the password that you have now."),
        (PASSWORD, NEW, "another password", "New password again: expected the new password once more."),
        (PASSWORD, NEW, NEW, None),
    ):
        fresh.go("/billing/password")
        for name, value in (("old", old), ("new", new), ("again", again)):
            page.fill(f"input[name={name}]", value)
        page.click("text=Change the password")
        if problem is not None:
            assert problem == page.inner_text("[role=alert]")
    assert "Your password is changed" in page.inner_text("[role=status]")
    assert "Your credits" in fresh.go("/billing")
    assert "/sign-in" in str(person.see("/billing").url)
    assert not fresh.server.lets_in(tokens["access_token"])
    person.http.close()
