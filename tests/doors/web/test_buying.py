"""The page that a refusal's link leads to, in a real browser: from too few credits to more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import open_browser
from tests.doors.mcp.connecting import PASSWORD, Installation

pytestmark = pytest.mark.slow


def test_from_a_refusal_to_more_credits(sqlite_url: str, tmp_path: Path) -> None:
    """Sign in where the link leads, choose a pack, pay, and have it; a click twice is one page to pay on."""
    with Installation(sqlite_url, tmp_path) as server, open_browser() as page:
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"{server.url}/billing")
        page.fill("input[name=email]", "ada@example.test")
        page.fill("input[name=password]", PASSWORD)
        page.click("button[value=register]")
        page.wait_for_url("**/billing")
        assert "100 credits" in page.inner_text(".amount")
        page.dblclick("button[value=small]")
        page.wait_for_url("**/simulated/checkout/*")
        assert "Small" in page.inner_text("main")
        page.click("button[value=pay]")
        page.wait_for_url("**/billing/success?*")
        page.goto(f"{server.url}/billing")
        assert "200 credits" in page.inner_text(".amount")
        page.fill("input[name=amount]", "3")
        page.click("text=Buy for this amount")
        assert "from $10 to" in page.inner_text("[role=alert]")
        page.goto(f"{server.url}/apps")
        assert [] == [each for each in complaints if "Content Security Policy" in each]


def test_only_a_form_of_this_session_buys(sqlite_url: str, tmp_path: Path) -> None:
    """Nobody is sent to pay by another site: without a session one signs in first, with one the form's token decides."""
    with Installation(sqlite_url, tmp_path) as server, open_browser() as page:
        form: dict[str, str | float | bool] = {"pack": "small", "token": "guessed"}
        assert 401 == page.request.post(f"{server.url}/billing", form=form).status
        page.goto(f"{server.url}/sign-in")
        page.fill("input[name=email]", "ada@example.test")
        page.fill("input[name=password]", PASSWORD)
        page.click("button[value=register]")
        page.wait_for_url("**/billing")
        assert 403 == page.request.post(f"{server.url}/billing", form=form).status
