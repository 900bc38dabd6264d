"""The MCP inspector's command line against our own server: over HTTP and stdio, with keys, in both versions of MCP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.conformance import node
from tests.servers import PROGRAMS, Server, running_server

PASSWORD: Final = "correct horse battery"
PROGRAM: Final = [str(PROGRAMS / "tally"), "mcp", "start"]
READS: Final = {"ruv://balance", "ruv://history", "ruv://prices"}
PATIENCE: Final = [
    "--connect-timeout",
    "120000",
]  # milliseconds; a busy machine takes long to start a program
# How the inspector ends where the server asks for other credentials, and where a tool's answer has `isError`.
UNKNOWN_CALLER: Final = 3
TOOL_REFUSED: Final = 5


@dataclass
class Inspector:
    """Asks one server in one way, each time in a process of its own."""

    reached_by: list[str]
    folder: Path

    def ask(self, method: str, *terms: str, status: int = 0) -> Any:
        """What the server answers. With another status, what went wrong."""
        options = [
            "--cli",
            "--method",
            method,
            *terms,
            "--format",
            "json",
            "--quiet",
            "--stored-auth-only",
            *PATIENCE,
        ]
        done = node.run("mcp-inspector", *options, *self.reached_by, folder=self.folder)
        assert status == done.returncode, done.stdout + done.stderr
        said = json.loads(done.stdout or done.stderr)
        return said.get("result", said)

    def call(self, tool: str, *terms: str, status: int = 0) -> Any:
        """The structured content of a tool's answer, which its text repeats."""
        answer = self.ask("tools/call", "--tool-name", tool, *terms, status=status)
        [text] = answer["content"]
        assert answer["structuredContent"] == json.loads(text["text"])
        return answer["structuredContent"]

    def read(self, uri: str) -> Any:
        """A resource."""
        [content] = self.ask("resources/read", "--uri", uri)["contents"]
        return json.loads(content["text"])


@dataclass
class House:
    """A server that runs, and a user's key to it."""

    server: Server
    settings: dict[str, str]
    key: str

    def reached(self, way: str, era: str) -> list[str]:
        """How the inspector is told to reach us."""
        terms = ["--protocol-era", era]
        if way == "http":
            bearer = f"Authorization: Bearer {self.key}"
            return [*terms, "--header", bearer, "--server-url", f"{self.server.url}/mcp"]
        own = self.settings if way == "stdio on its database" else {"TALLY_URL": self.server.url}
        for name, text in {**own, "TALLY_API_KEY": self.key}.items():
            terms += ["-e", f"{name}={text}"]
        return [*terms, *PROGRAM]


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    with running_server(tmp_path, economy="flow-nexus", database_url=sqlite_url) as server:
        token = post(server, "/auth/register", email="ada@example.com", password=PASSWORD)["token"]
        key = post(server, "/keys", token=token, name="agent")["key"]
        settings = {"TALLY_DATABASE_URL": sqlite_url, "TALLY_ECONOMY": "flow-nexus"}
        yield House(server, settings, key)


def post(server: Server, path: str, *, token: str | None = None, **body: str) -> Any:
    headers = {"Idempotency-Key": path} | ({"Authorization": f"Bearer {token}"} if token else {})
    answer = httpx.post(f"{server.url}/api/v1{path}", json=body, headers=headers)
    assert answer.is_success, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("way", "era"),
    [
        ("http", "legacy"),
        ("http", "modern"),
        ("stdio before the server", "legacy"),
        ("stdio on its database", "modern"),
    ],
)
def test_the_inspector_reads_and_calls(house: House, way: str, era: str, tmp_path: Path) -> None:
    """Tools, resources and prompts; and a refusal, which reaches the agent as we say it."""
    inspector = Inspector(house.reached(way, era), tmp_path)
    tools = {tool["name"]: tool for tool in inspector.ask("tools/list", "--strict")["tools"]}
    assert "app_store_earn_ruv" not in tools
    assert {"credits", "tier", "error"} < set(tools["check_balance"]["outputSchema"]["properties"])

    balance = inspector.call("check_balance")
    assert (356, "free", False) == (balance["credits"], balance["tier"], balance["low_balance_warning"])
    assert 500 == inspector.call("create_payment_link", "--tool-arg", "amount=50")["credits_amount"]
    refusal = inspector.call("create_payment_link", "--tool-arg", "amount=1", status=TOOL_REFUSED)
    assert "invalid_amount" == refusal["error"]["code"]

    assert {each["uri"] for each in inspector.ask("resources/list")["resources"]} == READS
    assert balance == inspector.read("ruv://balance")
    prompts = inspector.ask("prompts/list")["prompts"]
    assert {"monthly_cost_review", "is_this_job_affordable"} == {each["name"] for each in prompts}
    job = ["--prompt-name", "is_this_job_affordable", "--prompt-args", "job=10000 pages"]
    [message] = inspector.ask("prompts/get", *job)["messages"]
    assert "10000 pages" in message["content"]["text"]


def test_a_wrong_key_is_refused(house: House, tmp_path: Path) -> None:
    """With what a client takes for the question who it is."""
    house.key = "tly_wrong"
    inspector = Inspector(house.reached("http", "modern"), tmp_path)
    error = inspector.ask("tools/list", status=UNKNOWN_CALLER)["error"]
    assert "auth_required" == error["code"]
