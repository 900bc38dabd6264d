"""The tools of sandboxes, asked by a real client in the same process, on both databases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from tallystick.bootstrap import Tally
from tallystick.mcp.server import build
from tallystick.ports.sandboxes import Execution
from tests.doors.mcp.agent import Agent, Someone
from tests.services.scripted_sandboxes import ScriptedSandboxes

NAMES = {
    f"sandbox_{name}"
    for name in ("create", "execute", "list", "status", "configure", "upload", "logs", "stop", "delete")
}


@pytest.fixture
def provider() -> ScriptedSandboxes:
    """Runs nothing, and answers what a test says."""
    return ScriptedSandboxes()


@pytest.fixture
def agent(database_url: str, provider: ScriptedSandboxes) -> Iterator[Agent]:
    """Somebody who has just registered at flow-nexus."""
    with Tally.open(database_url, economy="flow-nexus", sandbox_provider=provider) as tally:
        made = Agent(build(tally, Someone()))
        made.call("user_register", email="ada@example.com", password="correct horse battery")
        yield made


def test_the_worked_example_by_tools(agent: Agent, provider: ScriptedSandboxes) -> None:
    """Create 1, execute 2 twice, delete 0: 351 of 356 credits are left."""
    made = agent.call("sandbox_create", template="node", name="auth-api-dev", env_vars={"API_KEY": "x"})
    sandbox = made["sandbox_id"]
    assert (["API_KEY"], "running", 3600) == (made["env_vars_configured"], made["status"], made["timeout"])
    provider.answer = Execution(exit_code=1, stdout=b"2 failed", stderr=b"", duration_ms=1500)
    ran = agent.call("sandbox_execute", sandbox_id=sandbox, code="npm install && npm test", language="bash")
    assert ("failed", 1, "2 failed", 1.5) == (
        ran["status"],
        ran["exit_code"],
        ran["output"],
        ran["execution_time"],
    )
    provider.answer = Execution(exit_code=0, stdout=b"built", stderr=b"", duration_ms=1)
    assert "completed" == agent.call("sandbox_execute", sandbox_id=sandbox, code="build()")["status"]
    status = agent.call("sandbox_status", sandbox_id=sandbox)
    assert {"total": 2, "successful": 1, "failed": 1} == status["executions"]
    assert 1 == agent.call("sandbox_list", status="running")["count"]
    assert "Sandbox terminated" == agent.call("sandbox_delete", sandbox_id=sandbox)["message"]
    assert 0 == agent.call("sandbox_list", status="running")["count"]
    assert 351 == agent.call("check_balance")["credits"]
    kinds = [line["type"] for line in agent.call("ruv_history")["transactions"]]
    assert 4 == kinds.count("sandbox")


def test_files_variables_and_commands(agent: Agent) -> None:
    """A file has its checksum, variables are named and never shown, commands give their results."""
    sandbox = agent.call("sandbox_create", template="bash", anthropic_key="secret-key")["sandbox_id"]
    put = agent.call("sandbox_upload", sandbox_id=sandbox, file_path="a.txt", content="é")
    assert (2, hashlib.sha256("é".encode()).hexdigest()) == (put["size"], put["checksum"])
    done = agent.call(
        "sandbox_configure", sandbox_id=sandbox, env_vars={"B": "2"}, run_commands=["true", "false"]
    )
    assert (["B"], 2, 2) == (done["env_vars_updated"], done["total_env_vars"], done["commands_executed"])
    logs = agent.call("sandbox_logs", sandbox_id=sandbox)["logs"]
    assert (2, False) == (len(logs), "secret-key" in str(logs))
    assert "stopped" == agent.call("sandbox_stop", sandbox_id=sandbox)["sandbox"]["status"]
    assert "sandbox_not_running" == agent.refused("sandbox_execute", sandbox_id=sandbox, code="1")


def test_an_upload_is_done_once_by_its_key(agent: Agent) -> None:
    """The key of the call's metadata, as everywhere."""
    sandbox = agent.call("sandbox_create", template="bash")["sandbox_id"]
    meta = {"tallystick/idempotency-key": "k"}
    file = {"sandbox_id": sandbox, "file_path": "a", "content": "1"}
    first, again = (agent.call("sandbox_upload", meta=meta, **file) for _ in range(2))
    assert (first, 353) == (again, agent.call("check_balance")["credits"])


def test_a_configuration_is_done_once_by_its_key(agent: Agent) -> None:
    """Its variables and its commands."""
    sandbox = agent.call("sandbox_create", template="bash")["sandbox_id"]
    meta = {"tallystick/idempotency-key": "k" * 255}
    change = {"sandbox_id": sandbox, "env_vars": {"A": "1"}, "run_commands": ["true"]}
    first, again = (agent.call("sandbox_configure", meta=meta, **change) for _ in range(2))
    assert (first, 351) == (again, agent.call("check_balance")["credits"])


def test_prices_and_receipts_are_told(agent: Agent) -> None:
    """The list has what each tool costs, and the result what a call has cost; what was free has no receipt."""
    prices = {name: (tool.meta or {}).get("tallystick/price") for name, tool in agent.tools().items()}
    lines = [{"unit": "rUv", "kind": "flat", "flat": 2, "per_unit": 0}]
    assert {"meter": "sandbox_execute", "prices": lines, "hourly_limit": None} == prices["sandbox_execute"]
    assert {"sandbox_create", "sandbox_execute", "sandbox_configure", "sandbox_upload", "sandbox_delete"} == {
        name for name, price in prices.items() if price is not None
    }
    made = agent.receipt("sandbox_create", template="bash") or {}
    assert ("sandbox_create", 1, "rUv", 355) == tuple(
        made[each] for each in ("meter", "charged", "unit", "balance")
    )
    [sandbox] = (each["id"] for each in agent.call("sandbox_list")["sandboxes"])
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        ("sandbox_execute", {"code": "true"}),
        ("sandbox_upload", {"file_path": "a", "content": "1"}),
        ("sandbox_configure", {"env_vars": {"A": "1"}, "run_commands": ["true"]}),
    )
    charges = set()
    for name, terms in calls:
        found = agent.receipt(name, sandbox_id=sandbox, **terms) or {}
        assert (name, 2) == (found["meter"], found["charged"])
        charges.add(found["charge"])
    assert 3 == len(charges)
    assert all(each.startswith("chg_") for each in charges)
    meta = {"tallystick/idempotency-key": "k"}
    first, again = (
        agent.receipt("sandbox_execute", meta=meta, sandbox_id=sandbox, code="true") for _ in range(2)
    )
    assert first is not None
    assert first == again
    assert agent.receipt("sandbox_status", sandbox_id=sandbox) is None
    assert agent.receipt("sandbox_delete", sandbox_id=sandbox) is None


def test_commands_of_which_one_is_refused(agent: Agent) -> None:
    """What was done before it is done and charged, and is told; a call of which nothing was done is refused."""
    sandbox = agent.call("sandbox_create", template="bash")["sandbox_id"]
    before = agent.call("check_balance")["credits"]
    done = agent.call("sandbox_configure", sandbox_id=sandbox, run_commands=["true", "", "true"])
    assert (1, 0, "completed") == (
        done["commands_executed"],
        len(done["env_vars_updated"]),
        done["configuration_results"][0]["status"],
    )
    assert done["stopped_by"].startswith("validation_failed: ")
    between = agent.call("check_balance")["credits"]
    done = agent.call("sandbox_configure", sandbox_id=sandbox, env_vars={"B": "2"}, run_commands=[""])
    assert (["B"], 0) == (done["env_vars_updated"], done["commands_executed"])
    after = agent.call("check_balance")["credits"]
    assert (2, 2) == (before - between, between - after)
    nothings: list[dict[str, Any]] = [
        {"run_commands": ["", "true"]},
        {"run_commands": []},
        {"env_vars": {}},
        {},
    ]
    for nothing in nothings:
        assert "validation_failed" == agent.refused("sandbox_configure", sandbox_id=sandbox, **nothing)
    assert after == agent.call("check_balance")["credits"]


def test_a_file_that_is_no_text_is_refused(agent: Agent) -> None:
    """Half of a pair of surrogates has no bytes."""
    sandbox = agent.call("sandbox_create", template="bash")["sandbox_id"]
    assert "validation_failed" == agent.refused(
        "sandbox_upload", sandbox_id=sandbox, file_path="a", content="\ud800"
    )


def test_tools_are_there_where_sandboxes_are(agent: Agent, database_url: str) -> None:
    """A server that runs none shows none."""
    assert agent.names() >= NAMES
    with Tally.open(database_url, economy="flow-nexus") as tally:
        assert not NAMES & Agent(build(tally, Someone())).names()
    for tool in agent.tools().values():
        assert all("description" in each for each in tool.input_schema["properties"].values()), tool.name
