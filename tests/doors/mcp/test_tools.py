"""The tools, asked by a real client in the same process, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from tallystick.bootstrap import Tally
from tallystick.core.errors import ServiceUnavailable
from tallystick.mcp.server import build
from tests.doors.mcp.agent import Agent, Someone

KEY = "an-admin-key-for-tests"
PASSWORD = "correct horse battery"
USERS = {
    "user_register",
    "user_login",
    "user_logout",
    "check_balance",
    "ruv_balance",
    "create_payment_link",
    "configure_auto_refill",
    "ruv_history",
    "get_payment_history",
    "user_upgrade",
    "user_stats",
}


@pytest.fixture
def tally(database_url: str) -> Iterator[Tally]:
    with Tally.open(database_url, economy="flow-nexus") as opened:
        opened.identity.ensure_admin_key(KEY)
        yield opened


@pytest.fixture
def agent(tally: Tally) -> Agent:
    """Somebody who has just registered."""
    made = Agent(build(tally, Someone()))
    made.call("user_register", email="ada@example.com", password=PASSWORD)
    return made


def as_admin(tally: Tally) -> Agent:
    return Agent(build(tally, Someone(KEY)))


def test_each_caller_sees_what_it_may_call(tally: Tally, agent: Agent) -> None:
    """Awards are for services and admins; whoever calls what it does not see is refused."""
    assert (USERS, USERS) == (agent.names(), Agent(build(tally, Someone())).names())
    assert USERS | {"app_store_earn_ruv"} == as_admin(tally).names()
    award = {"user_id": "ada", "amount": 1, "reason": "none", "source": "challenge"}
    assert "not_allowed" == agent.refused("app_store_earn_ruv", **award)


def test_every_tool_says_what_it_takes_and_gives(tally: Tally) -> None:
    """Descriptions, schemas of both ends, a title, and hints that fit."""
    tools = as_admin(tally).tools()
    for tool in tools.values():
        assert len(tool.description) > 30
        assert tool.output_schema["type"] == "object"
        assert all("description" in each for each in tool.input_schema["properties"].values()), tool.name
        assert tool.annotations.title
    reads = {name for name, tool in tools.items() if tool.annotations.read_only_hint}
    assert {
        "check_balance",
        "ruv_balance",
        "ruv_history",
        "get_payment_history",
        "user_stats",
    } == reads


def test_every_output_schema_admits_answers_and_refusals_and_nothing_else(tally: Tally, agent: Agent) -> None:
    """Official clients hold structured content against it also with `isError`, and pass on nothing that does not fit."""
    refusal = agent.call("create_payment_link", amount=1)
    assert "invalid_amount" == refusal["error"]["code"]
    for name, tool in as_admin(tally).tools().items():
        schema = jsonschema_rs.validator_for(tool.output_schema)
        schema.validate(refusal)
        assert not schema.is_valid({}), name
        assert not schema.is_valid({"error": {}}), name
        assert not schema.is_valid({"error": refusal["error"], "surprise": 1}), name
        if name in {"check_balance", "ruv_balance", "ruv_history", "get_payment_history", "user_stats"}:
            schema.validate(agent.call(name))


def test_a_login(tally: Tally) -> None:
    """Registering logs in, logging out ends it, a wrong password does not log in, and nobody is told who exists."""
    agent = Agent(build(tally, Someone()))
    assert "not_authenticated" == agent.refused("check_balance")
    made = agent.call("user_register", email="ada@example.com", password=PASSWORD)
    assert ("ada@example.com", 356, True) == (
        made["user"]["email"],
        made["credits"],
        made["session"]["saved"],
    )
    assert None is made["session"]["token"]
    assert "email_taken" == agent.refused("user_register", email="ada@example.com", password=PASSWORD)
    assert {"logged_out": True} == agent.call("user_logout")
    assert "not_authenticated" == agent.refused("check_balance")
    assert "invalid_credentials" == agent.refused("user_login", email="ada@example.com", password="wrong")
    assert made["user"] == agent.call("user_login", email="ada@example.com", password=PASSWORD)["user"]
    assert 356 == agent.call("check_balance")["credits"]


def test_an_award_comes_once_for_a_key(tally: Tally, agent: Agent) -> None:
    """It is in the balance, the history and the statistics, under its source."""
    admin, reason = as_admin(tally), "Challenge completion: Advanced Algorithm"
    award: dict[str, Any] = {
        "user_id": "cust_nobody",
        "amount": 100.5,
        "reason": reason,
        "source": "challenge",
    }
    assert "unknown_customer" == admin.refused("app_store_earn_ruv", **award)
    award["user_id"] = agent.call("user_login", email="ada@example.com", password=PASSWORD)["user"]["id"]
    meta = {"tallystick/idempotency-key": "challenge-7"}
    first = admin.call("app_store_earn_ruv", meta=meta, **award)
    assert first == admin.call("app_store_earn_ruv", meta=meta, **award)
    assert (456.5, "txn_") == (first["new_balance"], first["transaction_id"][:4])
    admin.call("app_store_earn_ruv", **award | {"amount": 7, "source": "app_usage", "reason": "used"})
    assert [("mcp", "grant")] * 2 == [(row.door, row.action) for row in tally.operator_actions.list().items]
    line = agent.call("ruv_history", limit=2)["transactions"][1]
    assert (100.5, "reward", reason) == (line["amount"], line["type"], line["description"])
    stats = agent.call("user_stats")
    assert (107.5, 0, 1, 7) == tuple(
        stats[name] for name in ("credits_earned", "credits_spent", "challenges_completed", "app_revenue")
    )
    for wrong in ({"amount": 0}, {"amount": -5}, {"amount": 1e-7}):
        assert "invalid_amount" == admin.refused("app_store_earn_ruv", **award | wrong)
    assert "validation_failed" == admin.refused("app_store_earn_ruv", **award | {"source": "luck"})


def test_another_customer_is_unknown_to_a_user(tally: Tally, agent: Agent) -> None:
    """Whatever id is guessed; a user's own id is its own."""
    mine = agent.call("user_login", email="ada@example.com", password=PASSWORD)["user"]
    other = Agent(build(tally, Someone()))
    other.call("user_register", email="bob@example.com", password=PASSWORD)
    for tool in ("ruv_balance", "ruv_history", "user_stats"):
        assert "error" not in agent.call(tool, user_id=mine["id"])
        assert "error" not in agent.call(tool, user_id=mine["customer"])
        assert {"unknown_customer"} == {
            other.refused(tool, user_id=mine["id"]),
            other.refused(tool, user_id=mine["customer"]),
        }
    assert "unknown_customer" == other.refused("user_upgrade", user_id=mine["id"], tier="pro")


def test_a_service_has_no_credits_of_its_own(tally: Tally, agent: Agent) -> None:
    """It is told to name a user, and reads any."""
    admin = as_admin(tally)
    for tool in ("check_balance", "get_payment_history"):
        assert "not_allowed" == admin.refused(tool)
    user = agent.call("user_login", email="ada@example.com", password=PASSWORD)["user"]["id"]
    assert 356 == admin.call("ruv_balance", user_id=user)["credits"]


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("create_payment_link", {"amount": 9.99}, "invalid_amount"),
        ("create_payment_link", {"amount": 10_000.01}, "invalid_amount"),
        ("create_payment_link", {"amount": 1e300}, "invalid_amount"),
        ("create_payment_link", {"amount": "much"}, "validation_failed"),
        ("create_payment_link", {}, "validation_failed"),
        ("create_payment_link", {"amount": 20, "package": "x"}, "validation_failed"),
        ("ruv_history", {"limit": 0}, "validation_failed"),
        ("ruv_history", {"limit": 101}, "validation_failed"),
        ("user_upgrade", {"tier": "huge"}, "unknown_plan"),
        ("no_such_tool", {}, "unknown_tool"),
    ],
)
def test_bad_input(agent: Agent, tool: str, arguments: dict[str, object], code: str) -> None:
    """Each is refused by its name, in the result that an agent reads."""
    assert code == agent.refused(tool, **arguments)


def test_what_nobody_foresaw_tells_nothing_of_the_inside(
    tally: Tally, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a database that is away."""

    def fail(*_: object, **_more: object) -> None:
        raise RuntimeError("secret")

    def away(*_: object, **_more: object) -> None:
        raise ServiceUnavailable("host 10.0.0.1 refused secret") from OSError("secret")

    for broken, code in ((fail, "internal_error"), (away, "service_unavailable")):
        monkeypatch.setattr(tally.billing, "balance", broken)
        content = agent.call("check_balance")
        assert code == content["error"]["code"]
        assert "secret" not in str(content)
