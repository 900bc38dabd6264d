"""Signing in to the pages: the cookie, and who may send the form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tallystick.api.app import create_app
from tallystick.bootstrap import Tally
from tallystick.services.identity import LOGINS_PER_EMAIL, Identity
from tallystick.services.passwords import Passwords
from tallystick.web import routers
from tests.doors.api.door import WEAK

PUBLIC = "https://credits.example.test"
ADA = {"email": "ada@example.test", "password": "correct horse battery"}
HERE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def client(sqlite_url: str) -> Iterator[TestClient]:
    """A browser, at a server with a public address."""
    with Tally.open(sqlite_url, public_url=PUBLIC) as tally:
        tally.identity = Identity(tally.context, tally.customers, passwords=Passwords(WEAK))
        with TestClient(create_app(tally, extra_routes=routers(tally)), base_url=PUBLIC) as made:
            yield made


def test_the_cookie_stays_where_it_belongs(client: TestClient) -> None:
    """Over HTTPS only, for this host alone, out of the reach of scripts, and gone after signing out."""
    answer = client.post("/sign-in", data=ADA | {"action": "register"}, headers=HERE, follow_redirects=False)
    name, _, terms = answer.headers["set-cookie"].partition("=")
    assert "__Host-tally-session" == name
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(terms.split("; "))
    page = client.get("/apps").text
    assert ADA["email"] in page
    token = page.partition('name="token" value="')[2].partition('"')[0]
    assert 403 == client.post("/sign-out", headers=HERE, data={"token": "guessed"}).status_code
    left = client.post("/sign-out", headers=HERE, data={"token": token})
    assert "/sign-in" == left.url.path
    assert "/sign-in" == client.get("/apps").url.path


def test_nobody_is_signed_in_from_elsewhere(client: TestClient) -> None:
    """Another site could otherwise have somebody connect an app to the account of somebody else."""
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    answer = client.post("/sign-in", data=ADA | {"action": "register"}, headers=elsewhere)
    assert 403 == answer.status_code
    assert "set-cookie" not in answer.headers


def test_guessing_is_throttled(client: TestClient) -> None:
    """As it is over REST, and the page says so."""
    client.post("/sign-in", data=ADA | {"action": "register"}, headers=HERE)
    wrong = ADA | {"password": "a wrong one"}
    for _ in range(LOGINS_PER_EMAIL.limit):
        assert 422 == client.post("/sign-in", data=wrong, headers=HERE).status_code
    answer = client.post("/sign-in", data=wrong, headers=HERE)
    assert 429 == answer.status_code
    assert "At most" in answer.text
