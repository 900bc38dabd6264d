"""Connecting apps over OAuth: the whole way through real pages, on both databases, and what is refused on it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tallystick.services.oauth import REGISTRATIONS_PER_IP
from tests.doors.mcp.connecting import (
    CALLBACK,
    PASSWORD,
    App,
    Installation,
    Person,
    connected,
    hidden,
    onward,
    refused,
)


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


def test_a_code_is_good_once(server: Installation, app: App, ada: Person) -> None:
    """Whoever shows it again gets nothing, and ends what the first one got."""
    asked = app.ask()
    code = ada.answer(asked)["code"]
    tokens = app.exchange(code, asked).json()
    refused(app.exchange(code, asked), "invalid_grant")
    assert not server.lets_in(tokens["access_token"])
    refused(app.refresh(tokens["refresh_token"]), "invalid_grant")


def test_a_refresh_token_is_good_once(server: Installation, app: App, ada: Person) -> None:
    """Shown again, it has been in two hands: all tokens of the app end, and those of other apps do not."""
    other = connected(server.app(), ada)
    tokens = connected(app, ada)
    renewed = app.refresh(tokens["refresh_token"]).json()
    refused(app.refresh(tokens["refresh_token"]), "invalid_grant")
    refused(app.refresh(renewed["refresh_token"]), "invalid_grant")
    assert not server.lets_in(renewed["access_token"])
    assert server.lets_in(other["access_token"])


def test_a_code_is_worth_nothing_to_others(server: Installation, app: App, ada: Person) -> None:
    """Not without its key, not with another redirect, and not to another client; then it is still its client's."""
    asked = app.ask()
    code = ada.answer(asked)["code"]
    refused(app.exchange(code, app.ask()), "invalid_grant")
    refused(app.exchange(code, asked, redirect_uri="http://127.0.0.1:53682/other"), "invalid_request")
    refused(server.app().exchange(code, asked), "invalid_grant")
    refused(app.exchange(code, asked, client_id="nobody"), "invalid_client")
    refused(app.exchange(code, asked, resource="https://elsewhere.example/mcp"), "invalid_target")
    assert 200 == app.exchange(code, asked, resource=f"{app.resource}/").status_code


def test_redirects_are_the_registered_ones(server: Installation, app: App, ada: Person) -> None:
    """Anything else is told to the user and not to the address; an app on its own machine may use any port."""
    for wrong in (
        "http://127.0.0.1:53682/other",
        "https://evil.example/callback",
        "http://localhost:53682/callback",
    ):
        answer = ada.see(app.ask(redirect_uri=wrong).link)
        assert (400, "invalid_request") == (answer.status_code, answer.json()["error"])
    elsewhere = "http://127.0.0.1:40000/callback"
    asked = app.ask(redirect_uri=elsewhere)
    told = ada.answer(asked)
    assert elsewhere == told["to"]
    assert 200 == app.exchange(told["code"], asked, redirect_uri=elsewhere).status_code
    remote = server.app(callback="https://app.example/back?kept=1")
    told = ada.answer(remote.ask())
    assert ("https://app.example/back", "1") == (told["to"], told["kept"])


def test_who_may_register(app: App) -> None:
    """No redirect that leaves the machine unencrypted, or runs as a script; and nobody gets a secret."""
    for wrong in (
        "http://app.example/back",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://app.example/#x",
        "custom:/x",
    ):
        answer = app.register(redirect_uris=[wrong])
        assert (400, "invalid_redirect_uri") == (answer.status_code, answer.json()["error"]), wrong
    assert 400 == app.register(redirect_uris=[]).status_code
    long = app.register(redirect_uris=[CALLBACK], policy_uri=f"https://app.example/{'x' * 9000}")
    assert (400, "invalid_client_metadata") == (long.status_code, long.json()["error"])
    made = app.register(
        redirect_uris=["com.example.app:/back"], token_endpoint_auth_method="client_secret_post"
    ).json()
    assert ("none", None) == (made["token_endpoint_auth_method"], made.get("client_secret"))


def test_registrations_are_throttled(server: Installation, app: App) -> None:
    """So many from one address in an hour; the answer says when to come back."""
    for _ in range(REGISTRATIONS_PER_IP.limit - 1):
        assert 201 == app.register(redirect_uris=[CALLBACK]).status_code
    answer = app.register(redirect_uris=[CALLBACK])
    assert (429, "temporarily_unavailable") == (answer.status_code, answer.json()["error"])
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    server.clock.advance("PT1H")
    assert 201 == app.register(redirect_uris=[CALLBACK]).status_code


def test_there_is_room_for_one_more(
    server: Installation, app: App, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where too many have registered, the oldest that nobody has connected makes room; connected ones stay."""
    tokens = connected(app, ada)
    oldest = server.app()
    monkeypatch.setattr("tallystick.services.oauth.MAX_CLIENTS", 3)
    server.clock.advance("PT1S")
    others = [server.app() for _ in range(2)]
    refused(oldest.refresh("unknown"), "invalid_client")
    for each in others:
        refused(each.refresh("unknown"), "invalid_grant")
    assert 200 == app.refresh(tokens["refresh_token"]).status_code


def test_two_at_once_get_one(server: Installation, app: App, ada: Person) -> None:
    """Of four that show the same refresh token at the same moment one is answered, and the app has ended afterwards."""
    tokens = connected(app, ada)
    clients = [app.at(server) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda each: each.refresh(tokens["refresh_token"]), clients))
    assert [200, 401, 401, 401] == sorted(each.status_code for each in answers)
    [renewed] = [each.json() for each in answers if each.status_code == 200]
    assert not server.lets_in(renewed["access_token"])


def test_what_an_app_may_not_ask(app: App, ada: Person) -> None:
    """No key, a key in the clear, another kind of answer, another server: the app is told, with who says so."""
    for wrong, error in (
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
    ):
        answer = ada.http.get(app.ask(**wrong).link)
        told = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        assert (302, error, "the state") == (answer.status_code, told["error"], told["state"]), wrong
        assert told["iss"] == app.http.get("/.well-known/oauth-authorization-server").json()["issuer"]


def test_an_app_is_denied(app: App, ada: Person) -> None:
    """It is told so, and the question cannot be answered again."""
    asked = app.ask()
    page = ada.see(asked.link)
    told = onward(ada.send("/oauth/consent", **hidden(page), action="deny"))
    assert ("access_denied", "the state") == (told["error"], told["state"])
    assert "code" not in told
    assert 404 == ada.send("/oauth/consent", **hidden(page), action="approve").status_code


def test_only_a_form_of_this_session_connects(server: Installation, app: App, ada: Person) -> None:
    """Not one from another site, one without the page's token, another session's, or one of nobody."""
    page = ada.see(app.ask().link)
    fields = hidden(page) | {"action": "approve"}
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert 403 == ada.http.post("/oauth/consent", data=fields, headers=elsewhere).status_code
    assert 403 == ada.send("/oauth/consent", **fields | {"token": "guessed"}).status_code
    assert 403 == server.person("bob@example.test").send("/oauth/consent", **fields).status_code
    assert 403 == Person(server.client()).send("/oauth/consent", **fields).status_code
    assert 200 == ada.send("/oauth/consent", **fields).status_code


def test_the_page_is_safe(server: Installation, ada: Person) -> None:
    """What an app calls itself is shown as text; no script, no frame, no form to elsewhere, and no cookie for scripts."""
    app = server.app(name='<script>alert(1)</script>"')
    page = ada.see(app.ask().link)
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    answer = ada.http.post("/sign-in", data={"email": ada.email, "password": PASSWORD, "action": "sign_in"})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "/billing" == answer.headers["location"]


def test_signing_in_leads_to_pages_of_ours_only(server: Installation, ada: Person) -> None:
    """Whatever address was sent along."""
    for wrong in ("https://evil.example", "//evil.example", "/\\evil.example", "/apps/../x", "/apps\nx"):
        answer = ada.http.post(
            "/sign-in", data={"email": ada.email, "password": PASSWORD, "return_to": wrong}
        )
        assert "/billing" == answer.headers["location"], wrong
    wrong_password = Person(server.client(), ada.email).send("/sign-in", email=ada.email, password="no such")
    assert 422 == wrong_password.status_code
    assert "wrong" in wrong_password.text
