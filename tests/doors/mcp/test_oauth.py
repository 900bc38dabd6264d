"""Connecting apps over OAuth: the whole way through real pages, on both databases, and what is refused on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doors.mcp.connecting import CALLBACK, App, Installation, Person, connected


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    with Installation(database_url, tmp_path) as running:
        yield running


@pytest.fixture
def app(server: Installation) -> App:
    return server.app()


@pytest.fixture
def ada(server: Installation) -> Person:
    return server.person()


def test_an_app_is_connected_and_acts_as_its_user(server: Installation, app: App) -> None:
    """The challenge leads to the metadata, they to the pages, and those to tokens that are the user's at the tools."""
    refused = app.http.post("/mcp", json={})
    assert 401 == refused.status_code
    challenge = refused.headers["www-authenticate"]
    resource = app.http.get(challenge.partition('resource_metadata="')[2].rstrip('"')).json()
    assert f"{server.url}/mcp" == resource["resource"]
    [issuer] = resource["authorization_servers"]
    found = app.http.get("/.well-known/oauth-authorization-server").json()
    assert issuer == found["issuer"]
    assert (["S256"], ["none"]) == (
        found["code_challenge_methods_supported"], found["token_endpoint_auth_methods_supported"]
    )  # fmt: skip

    asked = app.ask()
    person = Person(server.client())
    page = person.see(asked.link)
    assert "/sign-in" == page.url.path
    page = person.sign_in(return_to=page.url.params["return_to"])
    assert "/oauth/consent" == page.url.path
    assert "An app" in page.text
    assert "this computer" in page.text
    told = person.answer(asked)
    assert (CALLBACK, "the state", found["issuer"]) == (told["to"], told["state"], told["iss"])

    tokens = app.exchange(told["code"], asked).json()
    assert ("Bearer", 3600) == (tokens["token_type"], tokens["expires_in"])
    assert 100 == server.agent(tokens["access_token"]).call("check_balance")["credits"]


def test_tokens_are_renewed(server: Installation, app: App, ada: Person) -> None:
    """A refresh token gives a new pair; the old access token ends with it."""
    tokens = connected(app, ada)
    renewed: Any = app.refresh(tokens["refresh_token"]).json()
    assert tokens["access_token"] != renewed["access_token"]
    assert tokens["refresh_token"] != renewed["refresh_token"]
    assert 100 == server.agent(renewed["access_token"]).call("check_balance")["credits"]
    assert not server.lets_in(tokens["access_token"])
