"""The program itself over stdio and HTTP, asked by real clients: the scripts of the payments document, field by field."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport

from tests.doors.mcp.agent import Agent
from tests.servers import ADMIN_KEY, PROGRAMS, Server, clean_environ, running_server

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
ADA: dict[str, Any] = {"email": "ada@example.com", "password": PASSWORD}


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, economy="flow-nexus", database_url=database_url) as running:
        yield running


def over_http(server: Server, token: str) -> Agent:
    return Agent(StreamableHttpTransport(f"{server.url}/mcp", auth=token))


def over_stdio(folder: Path, **settings: str) -> Agent:
    """`tally mcp start`, in a process that lives for one question: what is kept is kept on disk."""
    environ = (
        clean_environ()
        | {"XDG_CONFIG_HOME": str(folder / "config"), "TALLY_ECONOMY": "flow-nexus"}
        | settings
    )
    transport = StdioTransport(
        str(PROGRAMS / "tally"), ["mcp", "start"], env=environ, cwd=str(folder), keep_alive=False
    )
    return Agent(transport)


def post(server: Server, path: str, token: str, **body: Any) -> Any:
    headers = {"Idempotency-Key": path} | ({"Authorization": f"Bearer {token}"} if token else {})
    answer = httpx.post(f"{server.url}/api/v1{path}", json=body, headers=headers)
    assert answer.is_success, answer.text
    return answer.json()


def test_the_scripts_of_the_payments_document(server: Server) -> None:
    """Balance, refill set-up, usage, tier upgrade and cost analysis work as they are written there."""
    token = str(post(server, "/auth/register", "", **ADA)["token"])
    agent = over_http(server, token)

    balance = agent.call("check_balance")
    assert (356, "free", False) == (balance["credits"], balance["tier"], balance["auto_refill"])
    link = agent.call("create_payment_link", amount=50)
    assert (500, True) == (link["credits_amount"], link["payment_url"].startswith(server.url))
    assert {"payment_url", "expires_at", "credits_amount"} == set(link)

    refill = agent.call("configure_auto_refill", enabled=True, threshold=100, amount=50)
    assert (True, 100, 50, None) == tuple(
        refill[name] for name in ("enabled", "threshold", "amount", "next_charge")
    )
    assert agent.call("check_balance")["auto_refill"]
    assert not agent.call("configure_auto_refill", enabled=False)["enabled"]

    meters = httpx.get(f"{server.url}/api/v1/prices").json()["meters"]
    meter = next(each for each in meters if each["category"] == "sandbox")
    charge = post(server, "/charges", token, meter=meter["meter"])
    history = agent.call("ruv_history", limit=100)["transactions"]
    spending: dict[str, float] = {}
    for line in history:
        assert {"date", "amount", "type", "description"} == set(line)
        if line["amount"] < 0:
            category = line["type"] or "other"
            spending[category] = spending.get(category, 0) + abs(line["amount"])
    assert {"sandbox": charge["amount"]} == spending
    stats = agent.call("user_stats")
    assert (0, charge["amount"]) == (stats["credits_earned"], stats["credits_spent"])
    detail = agent.call("ruv_balance")
    assert (356 - charge["amount"], 0, 0, charge["amount"]) == tuple(
        detail[name] for name in ("credits", "pending", "earned_total", "spent_total")
    )

    [payment] = agent.call("get_payment_history", limit=10)["payments"]
    assert (50, "pending", None) == (payment["amount"], payment["status"], payment["invoice_url"])

    refusal = agent.call("user_upgrade", tier="pro")["error"]
    assert ("tier_upgrade_failed", True) == (refusal["code"], refusal["checkout_url"].startswith(server.url))
    user = httpx.get(f"{server.url}/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"}).json()[
        "user"
    ]
    upgraded = over_http(server, ADMIN_KEY).call("user_upgrade", user_id=user, tier="pro")
    assert ("pro", 1000) == (upgraded["new_tier"], upgraded["monthly_credits"])
    assert "pro" == agent.call("check_balance")["tier"]


def test_nobody_gets_in_without_a_valid_token(server: Server) -> None:
    """Neither without one nor with a wrong one, and a revoked key is out at once."""

    def refused(token: str | None) -> bool:
        headers = {"Accept": "application/json, text/event-stream"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        answer = httpx.post(f"{server.url}/mcp", json=body, headers=headers)
        return (401, "Bearer") == (answer.status_code, answer.headers.get("WWW-Authenticate", "")[:6])

    assert all(refused(token) for token in (None, "tly_wrong", "tls_wrong"))
    token = str(post(server, "/auth/register", "", **ADA)["token"])
    key = post(server, "/keys", token, name="agent")
    agent = over_http(server, key["key"])
    assert 356 == agent.call("check_balance")["credits"]
    httpx.delete(f"{server.url}/api/v1/keys/{key['id']}", headers={"Authorization": f"Bearer {token}"})
    assert refused(key["key"])


def test_stdio_on_a_database_of_its_own(database_url: str, tmp_path: Path) -> None:
    """A login is kept for the next process, where nobody else can read it, until it is ended."""
    agent = over_stdio(tmp_path, TALLY_DATABASE_URL=database_url)
    assert "not_authenticated" == agent.refused("check_balance")
    made = agent.call("user_register", **ADA)
    assert (356, None) == (made["credits"], made["session"]["token"])
    kept = tmp_path / "config" / "tallystick" / "credentials.json"
    assert 0o600 == stat.S_IMODE(kept.stat().st_mode)
    assert 356 == agent.call("check_balance")["credits"]
    agent.call("user_logout")
    assert "not_authenticated" == agent.refused("check_balance")
    assert "app_store_earn_ruv" not in agent.names()


def test_stdio_in_front_of_a_server(server: Server, tmp_path: Path) -> None:
    """It offers logins until somebody is logged in, then what the server offers that user; a key goes before a login."""
    agent = over_stdio(tmp_path, TALLY_URL=server.url)
    assert {"user_register", "user_login", "user_logout"} == agent.names()
    assert "not_authenticated" == agent.refused("check_balance")
    assert "invalid_credentials" == agent.refused("user_login", **ADA)
    made = agent.call("user_register", **ADA)
    assert (356, None, "ada@example.com") == (
        made["credits"],
        made["session"]["token"],
        made["user"]["email"],
    )
    assert {"check_balance", "ruv_history"} < agent.names()
    assert 356 == agent.call("check_balance")["credits"]
    assert "invalid_amount" == agent.refused("create_payment_link", amount=1)
    award: dict[str, Any] = {
        "user_id": made["user"]["id"],
        "amount": 10,
        "reason": "a try",
        "source": "challenge",
    }
    admin = over_stdio(tmp_path, TALLY_URL=server.url, TALLY_API_KEY=ADMIN_KEY)
    meta = {"tallystick/idempotency-key": "fact-1"}
    first = admin.call("app_store_earn_ruv", meta=meta, **award)
    assert (first, 366) == (admin.call("app_store_earn_ruv", meta=meta, **award), first["new_balance"])
    agent.call("user_logout")
    assert "not_authenticated" == agent.refused("check_balance")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_stdio_says_why_a_server_answers_nothing(server: Server, tmp_path: Path) -> None:
    """A key that is wrong, a server that is away and a file of logins that is broken are each called that."""
    wrong = over_stdio(tmp_path, TALLY_URL=server.url, TALLY_API_KEY="tly_wrong")
    said = wrong.problem("check_balance")
    assert "not_authenticated" == said["code"]
    assert "TALLY_API_KEY" in said["detail"]
    away = over_stdio(tmp_path, TALLY_URL="http://127.0.0.1:9", TALLY_API_KEY="tly_any")
    assert "server_unreachable" == away.problem("check_balance")["code"]

    kept = tmp_path / "config" / "tallystick" / "credentials.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{ broken", encoding="utf-8")
    broken = over_stdio(tmp_path, TALLY_URL=server.url)
    for problem in (broken.problem("check_balance"), broken.problem("user_register", **ADA)):
        assert "credentials_unusable" == problem["code"]
        assert str(kept) in problem["detail"]
    assert "{ broken" == kept.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "setting",
    [{"TALLY_URL": "banana"}, {"TALLY_URL": "ftp://example.com"}, {"TALLY_API_KEY": "tly_one\ntwo"}],
    ids=["no address", "another scheme", "a line's end"],
)
def test_stdio_does_not_start_with_a_setting_that_is_none(tmp_path: Path, setting: dict[str, str]) -> None:
    """It ends at once, with what was expected, and never says the key."""
    environ = clean_environ() | {"TALLY_URL": "http://127.0.0.1:9"} | setting
    done = subprocess.run(
        [PROGRAMS / "tally", "--json", "mcp", "start"],
        env=environ,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (1, "configuration_error") == (done.returncode, json.loads(done.stdout)["error"]["code"])
    assert "tly_one" not in done.stdout + done.stderr
