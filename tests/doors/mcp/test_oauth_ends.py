"""How a connected app ends: by time, by its user, by itself; what is kept of it meanwhile, and who else is let in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tallystick.core.errors import ServiceUnavailable
from tallystick.services.context import Caller
from tallystick.services.oauth import MAX_APPS
from tallystick.store.schema import metadata
from tests.doors.mcp.connecting import App, Installation, Person, connected, hidden, onward, refused

BEARER = "Authorization"


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


def test_everything_has_its_time(server: Installation, app: App, ada: Person) -> None:
    """A question a quarter of an hour, a code a minute, an access token an hour, a refresh token thirty days."""
    asked = app.ask()
    page = ada.see(asked.link)
    server.clock.advance("PT15M")
    assert 404 == ada.send("/oauth/consent", **hidden(page), action="approve").status_code

    asked = app.ask()
    code = ada.answer(asked)["code"]
    server.clock.advance("PT1M")
    refused(app.exchange(code, asked), "invalid_grant")

    tokens = connected(app, ada)
    server.clock.advance("PT59M")
    assert server.lets_in(tokens["access_token"])
    server.clock.advance("PT1M")
    assert not server.lets_in(tokens["access_token"])
    server.clock.advance("P29D")
    tokens = app.refresh(tokens["refresh_token"]).json()
    assert server.lets_in(tokens["access_token"])
    server.clock.advance("P30D")
    refused(app.refresh(tokens["refresh_token"]), "invalid_grant")


def test_an_app_gives_its_tokens_back(server: Installation, app: App, ada: Person) -> None:
    """By either of the two, and only its own; what is unknown is no error."""
    for kind in ("access_token", "refresh_token"):
        tokens = connected(app, ada)
        assert 200 == server.app().revoke(tokens[kind]).status_code
        assert server.lets_in(tokens["access_token"])
        assert 200 == app.revoke(tokens[kind]).status_code
        assert not server.lets_in(tokens["access_token"])
        refused(app.refresh(tokens["refresh_token"]), "invalid_grant")
    assert 200 == app.revoke("unknown").status_code
    answer = app.http.post("/revoke", data={"client_id": "nobody", "token": "x"})
    assert (401, "invalid_client") == (answer.status_code, answer.json()["error"])


def test_a_user_disconnects_an_app(server: Installation, ada: Person) -> None:
    """On a page with all of them, by a form of that page; nobody else's can be named there."""
    first, second = (connected(server.app(name=name), ada) for name in ("First", "Second"))
    bob = server.person("bob@example.test")
    page = ada.see("/apps")
    assert page.text.index("Second") < page.text.index("First")
    [newest, *_] = server.tally.connected_apps.list(caller_of(server, second["access_token"]))
    fields = {"app": newest.id, "action": "end"}
    assert 404 == bob.send("/apps", **fields, token=hidden(bob.see("/apps"))["token"]).status_code
    assert 403 == ada.send("/apps", **fields).status_code
    assert "Second" not in ada.send("/apps", **fields, token=hidden(page)["token"]).text
    assert (True, False) == tuple(server.lets_in(each["access_token"]) for each in (first, second))


def test_signing_out_everywhere_ends_the_apps(server: Installation, app: App, ada: Person) -> None:
    """All sessions of the user and all its apps, and nobody else's."""
    mine, other = connected(app, ada), connected(app, server.person("bob@example.test"))
    session = server.tally.identity.login(ada.email, "correct horse battery").token
    page = ada.send("/apps", action="end_all", token=hidden(ada.see("/apps"))["token"])
    assert "/sign-in" == page.url.path
    assert (False, False, True) == tuple(
        server.lets_in(token) for token in (mine["access_token"], session, other["access_token"])
    )


def test_an_agent_logs_itself_out(server: Installation, app: App, ada: Person) -> None:
    """The tool that ends a login disconnects the app whose token it is called with."""
    tokens = connected(app, ada)
    assert {"logged_out": True} == server.call(tokens["access_token"], "user_logout")
    assert not server.lets_in(tokens["access_token"])
    assert "No app" in ada.see("/apps").text


def test_keys_and_sessions_are_let_in_as_before(server: Installation, app: App, ada: Person) -> None:
    """And an app's token is for the tools alone, not for the REST interface beside them."""
    key = server.tally.identity.ensure_admin_key(None)
    session = server.tally.identity.login(ada.email, "correct horse battery").token
    assert server.lets_in(str(key))
    assert server.lets_in(session)
    assert not server.lets_in("tlo_unknown")
    token = connected(app, ada)["access_token"]
    answer = app.http.get("/api/v1/auth/me", headers={BEARER: f"Bearer {token}"})
    assert (401, "NOT_AUTHENTICATED") == (answer.status_code, answer.json()["code"])


def test_the_database_knows_no_token(server: Installation, app: App, ada: Person) -> None:
    """Neither codes nor tokens nor the names of questions stand in any column of any table."""
    asked = app.ask()
    page = ada.see(asked.link)
    name = hidden(page)["request"]
    told = ada.answer(asked)
    tokens = app.exchange(told["code"], asked).json()
    renewed = app.refresh(tokens["refresh_token"]).json()
    with server.tally.database.read() as connection:
        rows = [connection.execute(sa.select(table)).all() for table in metadata.tables.values()]
    stored = repr(rows)
    assert app.client_id in stored
    session = next(iter(ada.http.cookies.values()))
    for secret in (name, told["code"], asked.verifier, session, *pair(tokens), *pair(renewed)):
        assert len(secret) > 40
        assert secret not in stored
        assert secret.removeprefix("tlo_").removeprefix("tlr_") not in stored


def pair(tokens: dict[str, str]) -> tuple[str, str]:
    return tokens["access_token"], tokens["refresh_token"]


def caller_of(server: Installation, token: str) -> Caller:
    tally = server.tally
    return tally.connected_apps.authenticate(token, tally.context.now(), resource=f"{server.url}/mcp")


def test_what_has_ended_is_swept_up(
    server: Installation, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some at a time, by the worker; what lives stays."""
    monkeypatch.setattr("tallystick.services.due_work.PRUNED_PER_BATCH", 2)
    apps = [server.app() for _ in range(5)]
    for each in apps:
        connected(each, ada)
        each.http.get(each.ask().link)
    server.clock.advance("P29D")
    living = connected(apps[0], ada)
    server.clock.advance("P2D")
    living = apps[0].refresh(living["refresh_token"]).json()
    counts = server.tally.due_work.prune(server.clock())
    assert (5, 11) == (counts["connected_apps"], counts["oauth_authorizations"])
    assert server.lets_in(living["access_token"])
    # The two that live, and the one that they replaced, which must be known if it is shown again.
    assert [5, 0, 1, 3] == sizes(server)
    server.clock.advance("P100D")
    server.tally.due_work.prune(server.clock())
    assert [0, 0, 0, 0] == sizes(server)


def sizes(server: Installation) -> list[int | None]:
    with server.tally.database.read() as connection:
        return [
            connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables[name]))
            for name in ("oauth_clients", "oauth_authorizations", "connected_apps", "oauth_tokens")
        ]


def test_a_user_has_so_many_apps(server: Installation, app: App, ada: Person) -> None:
    """One more disconnects the one that was not used for longest."""
    oldest, second = connected(app, ada), connected(app, ada)
    for _ in range(MAX_APPS - 1):
        name = server.tally.oauth.ask(
            app.client_id,
            redirect_uri=app.callback,
            redirect_uri_sent=True,
            state=None,
            code_challenge="x" * 43,
            resource=app.resource,
            ip=None,
        )
        server.clock.advance("PT1S")
        server.tally.oauth.approve(caller_of(server, second["access_token"]), name)
    assert (False, True) == tuple(server.lets_in(each["access_token"]) for each in (oldest, second))


def test_a_database_that_is_away_is_no_invalid_token(
    server: Installation, app: App, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is told to come back, and keeps its tokens."""
    token = connected(app, ada)["access_token"]

    def away(*_: object, **_named: object) -> None:
        raise ServiceUnavailable("the database is away")

    monkeypatch.setattr(server.tally.connected_apps, "authenticate", away)
    answer = app.http.post("/mcp", json={}, headers={BEARER: f"Bearer {token}"})
    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])


def test_two_processes_are_one_server(database_url: str, server: Installation, tmp_path: Path) -> None:
    """Registered at one, let in at the other, exchanged at the first, renewed at the second, used at both."""
    folder = tmp_path / "second"
    folder.mkdir()
    with Installation(database_url, folder, beside=server) as second:
        app = server.app()
        asked = app.ask()
        ada = second.person()
        page = ada.see(ada.http.get(asked.link).headers["location"].replace(server.url, second.url))
        fields = hidden(page) | {"action": "approve"}
        code = onward(ada.send("/oauth/consent", **fields))["code"]
        tokens = app.exchange(code, asked).json()
        assert server.lets_in(tokens["access_token"])
        tokens = app.at(second).refresh(tokens["refresh_token"]).json()
        assert server.lets_in(tokens["access_token"])
        assert second.lets_in(tokens["access_token"])
        refused(app.exchange(code, asked), "invalid_grant")
        assert not second.lets_in(tokens["access_token"])
