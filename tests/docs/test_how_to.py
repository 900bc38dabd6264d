"""The programs and files of the how-tos do what they are said to do."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tallystick.bootstrap import Tally
from tallystick.core.economy_file import load
from tallystick.core.events import EVENT_TYPES
from tallystick.mcp.server import build
from tallystick.metering.price_file import read_price_file
from tallystick.providers.stripe import SUBSCRIBED
from tests.doors.api.door import ThreadServer
from tests.doors.mcp.agent import Agent, Someone
from tests.receivers import Receiver, listen, outgoing
from tests.servers import ADMIN_KEY, Server, running_server
from tests.tallies import USER, World

DOCS = Path(__file__).parent.parent.parent / "docs"
GPT_PRICE = 0.002  # of the starter economy, per token


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of a language, without their indentation."""
    found = re.finditer(rf"^( *)```{language}\n(.*?)^ *```$", document.read_text(), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{block[1]}", "", block[2], flags=re.MULTILINE) for block in found]


def test_economy_files_in_the_documentation_are_valid() -> None:
    """Each whole economy file that a document shows is one that the checker takes."""
    shown = [
        (document.stem, text)
        for document in DOCS.rglob("*.md")
        for text in blocks(document, "toml")
        if "[economy]" in text
    ]
    assert {"tutorial", "write-an-economy-file"} <= {name for name, _ in shown}
    for name, text in shown:
        assert load(text, name=name).meters


def test_going_live_with_stripe_names_every_event() -> None:
    """The events to subscribe to are those that the provider understands, each once."""
    page = (DOCS / "how-to" / "go-live-with-stripe.md").read_text()
    listed = re.findall(r"^\| `([a-z_]+(?:\.[a-z_]+)+)` \|", page, re.MULTILINE)
    assert list(SUBSCRIBED) == listed


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server of the starter economy."""
    with running_server(tmp_path, economy="starter", database_url=database_url) as running:
        yield running


def test_receiving_webhooks(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program of the document takes what is sent to it, each event once, and refuses what nobody signed."""
    [program] = blocks(DOCS / "how-to" / "receive-webhooks.md", "python")
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102 - the program of the document
    receive: Callable[[dict[str, str], bytes], int] = names["receive"]
    with World(sqlite_url, tmp_path) as world, Receiver() as receiver:
        outgoing(world.tally)
        made = listen(world.tally, receiver.url, customer=USER)
        monkeypatch.setenv("TALLY_WEBHOOK_SECRET", made.secret)
        world.grant(5)
        world.tally.delivery.run_once()
        [request] = receiver.received
    assert [204, 204] == [receive(request.headers, request.body) for _ in range(2)]
    assert 400 == receive(request.headers, request.body + b" ")
    assert 1 == capsys.readouterr().out.count("1 credit_grant.created cust_")


def test_every_event_is_documented() -> None:
    """The how-to lists each type of event, and no other."""
    text = (DOCS / "how-to" / "receive-webhooks.md").read_text()
    table = text.partition("| event | when | data |")[2].partition("\n\n")[0]
    listed = [
        name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])
    ]
    assert sorted(listed) == list(EVENT_TYPES)


@pytest.mark.slow
def test_metering_a_tool_with_holds(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work is paid for what it used, once even when the job runs again, and not at all when it fails."""
    user = {"email": "ada@example.com", "password": "correct horse battery"}
    token = httpx.post(f"{server.url}/api/v1/auth/register", json=user).json()["token"]
    monkeypatch.setenv("TALLY_URL", server.url)
    monkeypatch.setenv("TALLY_API_KEY", token)
    [program] = blocks(DOCS / "how-to" / "meter-a-tool-with-holds.md", "python")
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102 - the program of the document
    answer: Callable[[str, str], str] = names["answer_question"]

    def balance() -> dict[str, Any]:
        shown: dict[str, Any] = names["tally"].get("/billing/balance").json()
        return shown

    names["ask_the_model"] = lambda question, *, most_tokens: (question.upper(), most_tokens - 1000)
    for _ in range(2):
        assert "WHY?" == answer("job-1", "why?")
        assert (1000 - 3000 * GPT_PRICE, 0) == (balance()["available"], balance()["held"])

    def fail(_question: str, *, most_tokens: int) -> tuple[str, int]:
        assert 1000 - 3000 * GPT_PRICE - most_tokens * GPT_PRICE == balance()["available"]
        raise ConnectionError

    names["ask_the_model"] = fail
    with pytest.raises(ConnectionError):
        answer("job-2", "why not?")
    assert (1000 - 3000 * GPT_PRICE, 0) == (balance()["available"], balance()["held"])
    names["tally"].close()


@pytest.mark.slow
def test_metering_an_api(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app of the document serves whoever pays."""
    with httpx.Client(
        base_url=f"{server.url}/api/v1",
        headers={"Authorization": f"Bearer {ADMIN_KEY}", "Idempotency-Key": "k"},
    ) as admin:
        key = admin.post("/keys", json={"name": "api", "role": "service"}).json()["key"]
        admin.post("/customers", json={"external_id": "ann"}).raise_for_status()
    monkeypatch.setenv("TALLY_URL", server.url)
    monkeypatch.setenv("TALLY_API_KEY", key)
    [program] = blocks(DOCS / "how-to" / "meter-an-api.md", "python")
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102 - the program of the document
    running = ThreadServer(names["app"])
    found = httpx.get(f"{running.url}/lookup/7", headers={"X-Key": "secret-of-ann"})
    assert (7, "999") == (found.json(), found.headers["tally-balance"])
    assert 401 == httpx.get(f"{running.url}/lookup/7").status_code
    running.stop()


@pytest.mark.slow
def test_metering_a_function(server: Server, tmp_path: Path) -> None:
    """The program of the document prints what stands below it."""
    page = DOCS / "how-to" / "meter-a-function.md"
    [program], [shown] = blocks(page, "python"), blocks(page, "text")
    (tmp_path / "paid_function.py").write_text(program)
    user = {"email": "ada@example.com", "password": "correct horse battery"}
    token = httpx.post(f"{server.url}/api/v1/auth/register", json=user).json()["token"]
    environ = os.environ | {"TALLY_URL": server.url, "TALLY_API_KEY": token}
    command = [sys.executable, str(tmp_path / "paid_function.py")]
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    assert shown == done.stdout


def test_the_tools_for_agents_are_those_that_the_page_lists(tmp_path: Path) -> None:
    """Each with its parameters and the fields that it gives."""
    page = (DOCS / "how-to" / "connect-agents.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|$", page, re.MULTILINE)
    listed = {
        name: (set(re.findall(r"\w+", takes)), set(re.findall(r"\w+", gives))) for name, takes, gives in rows
    }
    with Tally.open(f"sqlite:///{tmp_path / 'tally.db'}", economy="flow-nexus") as tally:
        tools = Agent(build(tally, Someone(tally.identity.ensure_admin_key(None)))).tools()
    assert listed == {
        name: (set(tool.input_schema["properties"]), set(tool.output_schema["properties"]) - {"error"})
        for name, tool in tools.items()
    }


def test_price_files_in_the_documentation_are_valid(tmp_path: Path) -> None:
    """Each that the gateway's page shows is one that the gateway takes."""
    shown = blocks(DOCS / "how-to" / "put-a-gateway-in-front.md", "toml")
    assert 2 == len(shown)
    for text in shown:
        (tmp_path / "gateway.toml").write_text(text)
        assert read_price_file(tmp_path / "gateway.toml").tools


@pytest.mark.slow
def test_the_program_that_asks_over_mcp(server: Server, tmp_path: Path) -> None:
    """It prints the balance of whoever the key belongs to."""
    [program] = blocks(DOCS / "how-to" / "connect-agents.md", "python")
    (tmp_path / "agent.py").write_text(program)
    body = {"email": "ada@example.com", "password": "correct horse battery"}
    token = httpx.post(f"{server.url}/api/v1/auth/register", json=body).json()["token"]
    environ = os.environ | {"TALLY_URL": server.url, "TALLY_API_KEY": token}
    command = [sys.executable, str(tmp_path / "agent.py")]
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    assert done.stdout == "1000 credits, plan free\n"
