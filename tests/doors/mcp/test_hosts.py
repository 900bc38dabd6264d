"""Which hosts and origins the MCP endpoint answers for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from tallystick.bootstrap import Tally
from tallystick.config import Config
from tallystick.core.errors import ConfigurationError
from tallystick.mcp import http

KEY = "an-admin-key-for-tests"
PUBLIC = "https://credits.example.test"
ASKED = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@pytest.fixture
def tally(sqlite_url: str) -> Iterator[Tally]:
    with Tally.open(sqlite_url, public_url=PUBLIC) as opened:
        opened.identity.ensure_admin_key(KEY)
        yield opened


def ask(tally: Tally, *, hosts: tuple[str, ...] = (), **headers: str) -> httpx.Response:
    """One call with these headers, at a server that listens on 192.0.2.1."""
    [app] = http.applications(tally, hosts=hosts).values()
    sent = {"Authorization": f"Bearer {KEY}", "Accept": "application/json, text/event-stream"} | headers
    with TestClient(app, base_url="http://192.0.2.1:8080") as client:
        answer: Any = client.post("/mcp", json=ASKED, headers=sent)
    return httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))


@pytest.mark.parametrize(
    "host",
    [
        "credits.example.test",
        "credits.example.test:443",
        "localhost:8080",
        "127.0.0.1",
        "[::1]:8080",
        "192.0.2.1:8080",
    ],
)
def test_its_own_names_are_answered(tally: Tally, host: str) -> None:
    """The public address, this machine, and the address that it listens on."""
    assert 200 == ask(tally, host=host).status_code


def test_another_name_is_refused_with_what_to_do(tally: Tally) -> None:
    """A page that gave its own name this machine's address gets nothing; an operator is told which setting it is."""
    answer = ask(tally, host="evil.example:8080")
    assert (421, "wrong_host") == (answer.status_code, answer.json()["error"])
    for words in (PUBLIC, "TALLY_PUBLIC_URL", "TALLY_MCP_HOSTS"):
        assert words in answer.json()["error_description"]


def test_origins(tally: Tally) -> None:
    """A browser's page of the server's own, or on this machine for a server on this machine; no other."""
    assert 200 == ask(tally, host="credits.example.test", origin=PUBLIC).status_code
    assert 200 == ask(tally, host="localhost:8080", origin="http://localhost:6274").status_code
    for wrong in ("https://evil.example", "null", "http://localhost:6274"):
        answer = ask(tally, host="credits.example.test", origin=wrong)
        assert (403, "wrong_origin") == (answer.status_code, answer.json()["error"]), wrong


def test_the_operator_adds_names(tally: Tally) -> None:
    """Such as that of a container; a star is any."""
    assert 421 == ask(tally, host="tally:8080").status_code
    assert 200 == ask(tally, hosts=("tally",), host="tally:8080", origin="http://tally:8080").status_code
    assert 200 == ask(tally, hosts=("*",), host="any.example", origin="https://evil.example").status_code


def test_names_are_set_in_the_environment() -> None:
    """With commas between them, and without ports or schemes."""
    config = Config.from_environment({"TALLY_MCP_HOSTS": "tally, tally.internal"}, dotenv=None)
    assert ("tally", "tally.internal") == config.mcp_hosts
    assert () == Config.from_environment({}, dotenv=None).mcp_hosts
    for wrong in ("https://tally", "tally:8080", "a,,b"):
        with pytest.raises(ConfigurationError, match="TALLY_MCP_HOSTS: expected host names"):
            Config.from_environment({"TALLY_MCP_HOSTS": wrong}, dotenv=None)


def test_without_encryption_there_are_keys_only(sqlite_url: str) -> None:
    """A server that is reached by plain HTTP over a network starts, lets keys in, and connects no apps."""
    with Tally.open(sqlite_url, public_url="http://192.0.2.1:8080") as tally:
        tally.identity.ensure_admin_key(KEY)
        assert 200 == ask(tally, host="192.0.2.1:8080").status_code
        [app] = http.applications(tally).values()
        assert ["/mcp"] == [route.path for route in app.routes]  # type: ignore[attr-defined]


def test_an_address_with_a_path_has_its_metadata_there(sqlite_url: str) -> None:
    """RFC 8414 puts the path of the issuer after the well-known name."""
    with Tally.open(sqlite_url, public_url=f"{PUBLIC}/tally") as tally:
        [app] = http.applications(tally).values()
        with TestClient(app, base_url=PUBLIC) as client:
            found = client.get("/.well-known/oauth-authorization-server/tally").json()
            resource = client.get("/.well-known/oauth-protected-resource/tally/mcp").json()
        assert f"{PUBLIC}/tally" == found["issuer"] == tally.oauth.issuer
        assert f"{PUBLIC}/tally/token" == found["token_endpoint"]
        assert (f"{PUBLIC}/tally/mcp", [found["issuer"]]) == (
            resource["resource"], resource["authorization_servers"]
        )  # fmt: skip
