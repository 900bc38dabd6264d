"""Connecting an app in a real browser: from its link over signing in to its callback, with nothing blocked on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.browser import open_browser
from tests.doors.mcp.connecting import PASSWORD, Installation

pytestmark = pytest.mark.slow


@contextmanager
def callback() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Where an app waits for its user, and what it was told there."""
    told: list[dict[str, str]] = []

    class Waits(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/back"):
                told.append(dict(parse_qsl(urlsplit(self.path).query)))
                # As hosted callbacks do, which lead on to the app itself.
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{self.server.server_port}/end")  # type: ignore[attr-defined]
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"You can close this page.")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Waits)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/back", told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_somebody_connects_an_app_and_disconnects_it(sqlite_url: str, tmp_path: Path) -> None:
    """Register, look, connect, arrive at the app; then end it on the page of apps. The browser complains of nothing."""
    with Installation(sqlite_url, tmp_path) as server, callback() as (address, told), open_browser() as page:
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        app = server.app(callback=address, name="Browser test")
        asked = app.ask()
        page.goto(f"{server.url}{asked.link}")
        page.fill("input[name=email]", "ada@example.test")
        page.fill("input[name=password]", PASSWORD)
        page.click("button[value=register]")
        page.wait_for_url("**/oauth/consent?*")
        assert "Browser test" in page.inner_text("h1")
        assert "this computer" in page.inner_text("main")
        page.click("button[value=approve]")
        page.wait_for_url("http://localhost:*/end")

        [answer] = told
        assert "the state" == answer["state"]
        tokens = app.exchange(answer["code"], asked).json()
        assert server.lets_in(tokens["access_token"])

        page.goto(f"{server.url}/apps")
        assert "Browser test" in page.inner_text("main")
        page.click("button[value=end]")
        page.wait_for_selector("text=No app is connected")
        assert not server.lets_in(tokens["access_token"])
        assert [] == [each for each in complaints if "Content Security Policy" in each or "Refused" in each]


def test_somebody_denies_an_app(sqlite_url: str, tmp_path: Path) -> None:
    """The app is told, and nothing is connected."""
    with Installation(sqlite_url, tmp_path) as server, callback() as (address, told), open_browser() as page:
        app = server.app(callback=address)
        page.goto(f"{server.url}/sign-in")
        page.fill("input[name=email]", "ada@example.test")
        page.fill("input[name=password]", PASSWORD)
        page.click("button[value=register]")
        page.wait_for_url("**/billing")
        page.goto(f"{server.url}{app.ask().link}")
        page.click("button[value=deny]")
        page.wait_for_url("http://localhost:*/end")
        assert ["access_denied"] == [each["error"] for each in told]
