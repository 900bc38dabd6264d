"""`tally gateway` in front of real servers, called by real clients over stdio and HTTP until the credits run out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import mcp.types
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp.shared.exceptions import MCPError

from tallystick.bootstrap import Tally
from tallystick.services.context import SYSTEM
from tests.metering.test_fastmcp import ECONOMY
from tests.servers import ADMIN_KEY, PROGRAMS, Server, clean_environ, free_port, running_server

pytestmark = pytest.mark.slow

UPSTREAM = Path(__file__).parent / "upstream_server.py"
CHILD = f"{sys.executable} {UPSTREAM}"
PRICES = """
[tools.look_up]
amount = 40

[tools.rows]
amount = 2
quantity = "arguments.most"
used = "result.items"

[tools.slow]
amount = 3

[tools.surroundings]
free = true

[tools.crash]
amount = 5

[tools.ask]
amount = 1

[tools.note]
amount = 1

[tools.missing]
amount = 1
"""


@dataclass
class Place:
    """A folder with prices and a database, where two customers have 100 credits each, and a key."""

    folder: Path
    tally: Tally
    keys: dict[str, str] = field(default_factory=dict)
    remote: dict[str, str] = field(default_factory=dict)

    def figures(self, customer: str = "ann") -> tuple[int, int]:
        """The balance, and what is held of it; all prices here are whole."""
        found = self.tally.billing.balance(SYSTEM, customer=customer)
        assert 0 == found.balance % 10**6 == found.held % 10**6
        return found.balance // 10**6, found.held // 10**6

    @property
    def environ(self) -> dict[str, str]:
        """Settings of ours, and a secret of the operator's that no child may see."""
        url = f"sqlite:///{self.folder / 'tally.db'}"
        ours = {"TALLY_DATABASE_URL": url, "TALLY_ECONOMY": str(self.folder / "tools.toml")}
        return clean_environ() | ours | self.remote | {"SECRET": "s", "NOTES": str(self.folder)}

    def command(self, *options: str) -> list[str]:
        """The program and its arguments."""
        return [str(PROGRAMS / "tally"), "gateway", "--prices", str(self.folder / "prices.toml"), *options]

    def stdio(self, *options: str, environ: dict[str, str] | None = None) -> StdioTransport:
        """A gateway of its own for a client."""
        program, *arguments = self.command(*options)
        return StdioTransport(
            program,
            arguments,
            env=self.environ | (environ or {}),
            cwd=str(self.folder),
            keep_alive=False,
            log_file=self.folder / "gateway.log",
        )

    @contextmanager
    def http(self, *options: str) -> Iterator[str]:
        """A gateway over HTTP; gives its address."""
        port = free_port()
        command = self.command("--http", "--port", str(port), *options)
        with (self.folder / "gateway.log").open("wb") as log:
            process = subprocess.Popen(command, env=self.environ, cwd=self.folder, stderr=log, stdout=log)
        with process:
            try:
                wait_for(f"http://127.0.0.1:{port}/mcp")
                yield f"http://127.0.0.1:{port}/mcp"
            finally:
                process.terminate()
                assert 0 == process.wait(30)

    @property
    def log(self) -> str:
        """What the gateway and its child said."""
        return (self.folder / "gateway.log").read_text()

    def bearer(self, address: str, customer: str) -> StreamableHttpTransport:
        """A customer's way to a gateway."""
        return StreamableHttpTransport(address, auth=self.keys[customer])


@pytest.fixture
def place(sqlite_url: str, tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "prices.toml").write_text(PRICES)
    (tmp_path / "tools.toml").write_text(ECONOMY)
    with Tally.open(sqlite_url, economy=str(tmp_path / "tools.toml")) as tally:
        made = Place(tmp_path, tally)
        for name in ("ann", "bob"):
            tally.customers.create(SYSTEM, external_id=name)
            tally.grants.create(SYSTEM, customer=name, amount=100, category="bonus", idempotency_key=name)
            made.keys[name] = tally.keys.create(SYSTEM, name=name, customer=name).key
        yield made


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.get(address)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(address)


@contextmanager
def upstream_over_http(place: Place) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, str(UPSTREAM), str(port)]
    with (
        (place.folder / "upstream.log").open("wb") as log,
        subprocess.Popen(command, env=place.environ, stderr=log, stdout=log) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/mcp")
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()


async def call(client: Client[Any], name: str, **arguments: Any) -> Any:
    return await client.call_tool(name, arguments, raise_on_error=False)


def code(result: Any) -> str:
    assert result.is_error
    assert json.loads(result.content[0].text) == result.structured_content
    return str(result.structured_content["error"]["code"])


@asynccontextmanager
async def asking(transport: Any, **options: Any) -> AsyncIterator[Client[Any]]:
    async with Client(transport, **options) as client:
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_prices_on_a_server_that_knows_none(place: Place, mode: str) -> None:
    """What it serves is priced and charged until the credits run out; what has no price is not served."""

    async def work() -> None:
        async with asking(place.stdio("--upstream", CHILD, "--customer", "ann"), mode=mode) as client:
            tools = {tool.name: tool for tool in await client.list_tools()}
            assert {"look_up", "rows", "slow", "surroundings", "crash", "ask", "note"} == set(tools)
            meta = tools["look_up"].meta or {}
            assert (40, "mine") == (meta["tallystick/price"]["prices"][0]["flat"], meta["example/note"])
            assert "tallystick/price" not in (tools["surroundings"].meta or {})
            assert client.server_info is not None
            assert ("upstream", "7", "Look things up.") == (
                client.server_info.name,
                client.server_info.version,
                client.instructions,
            )
            receipt = (await call(client, "look_up", word="x")).meta["tallystick/receipt"]
            assert (40, 60) == (receipt["charged"], receipt["balance"])
            assert "no such word" == (await call(client, "look_up", word="bad")).content[0].text
            result = await call(client, "rows", most=10)
            assert (10, 50) == tuple(
                result.meta["tallystick/receipt"][name] for name in ("charged", "balance")
            )
            assert "invalid_amount" == code(await call(client, "rows", most=-1))
            assert "unknown_tool" == code(await call(client, "unlisted"))
            assert "unknown_tool" == code(await call(client, "missing"))
            assert not (await call(client, "look_up", word="y")).is_error
            assert "insufficient_credits" == code(await call(client, "look_up", word="z"))

    asyncio.run(work())
    assert (10, 0) == place.figures()
    assert "prices.toml: the upstream has no tool missing" in place.log
    assert "prices.toml: not served, for they have no price: unlisted" in place.log


@pytest.mark.parametrize("over_http", [False, True])
def test_a_server_from_the_package_index(place: Place, over_http: bool) -> None:  # noqa: FBT001 - two ways
    """mcp-server-time, priced and called until the credits run out."""
    (place.folder / "prices.toml").write_text(
        "[default]\nfree = true\n[tools.get_current_time]\namount = 45\n"
    )
    upstream = ("--upstream", str(PROGRAMS / "mcp-server-time"))

    async def work(transport: Any) -> None:
        async with asking(transport) as client:
            tools = {tool.name: tool.meta or {} for tool in await client.list_tools()}
            assert ["convert_time", "get_current_time"] == sorted(tools)
            assert 45 == tools["get_current_time"]["tallystick/price"]["prices"][0]["flat"]
            for balance in (55, 10):
                result = await call(client, "get_current_time", timezone="Europe/Berlin")
                assert "Europe/Berlin" == json.loads(result.content[0].text)["timezone"]
                assert balance == result.meta["tallystick/receipt"]["balance"]
            assert "insufficient_credits" == code(
                await call(client, "get_current_time", timezone="Europe/Berlin")
            )
            zones = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
            assert not (await call(client, "convert_time", **zones)).is_error

    if over_http:
        with place.http(*upstream) as address:
            asyncio.run(work(place.bearer(address, "ann")))
    else:
        asyncio.run(work(place.stdio(*upstream, "--customer", "ann")))
    assert (10, 0) == place.figures()


def test_everything_else_passes_through(place: Place) -> None:
    """Resources, prompts, completions, progress, logs, changed lists, questions to the user, and the request's meta."""
    heard: list[object] = []

    async def note_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async def note_log(message: mcp.types.LoggingMessageNotificationParams) -> None:
        heard.append(message.data["msg"])

    async def note_message(message: object) -> None:
        heard.append(type(message))

    async def answer(question: str, *_more: object) -> dict[str, bool]:
        heard.append(question)
        return {"value": True}

    async def work() -> None:
        options: dict[str, Any] = {
            "progress_handler": note_progress,
            "log_handler": note_log,
            "message_handler": note_message,
            "elicitation_handler": answer,
            "mode": "legacy",
        }
        async with asking(
            place.stdio("--upstream", CHILD, "--customer", "ann", "--env", "NOTES"), **options
        ) as client:
            [content] = await client.read_resource("note://today")
            assert "a note" == getattr(content, "text", None)
            prompt = await client.get_prompt("greet", {"name": "Ada"})
            assert "Greet Ada." == getattr(prompt.messages[0].content, "text", None)
            reference = mcp.types.PromptReference(name="greet")
            found = await client.complete(reference, {"name": "name", "value": "a"})
            assert ["ada", "ann"] == found.values
            result = await client.call_tool("note", {}, meta={"example/trace": "t1"})
            assert "t1" == (result.structured_content or {})["example/trace"]
            assert "accept" == (await client.call_tool("ask", {})).data
            with pytest.raises(MCPError, match="Resource not found"):
                await client.read_resource("note://nothing")
            task = asyncio.create_task(client.call_tool("slow", {}))
            await until(lambda: (1, 4, "begun") in heard)
            assert (98, 3) == place.figures()
            task.cancel()
            await until(lambda: place.figures() == (98, 0) and (place.folder / "cancelled").exists())

    asyncio.run(work())
    assert {"noted", "sure?", mcp.types.ToolListChangedNotification} <= set(heard)


async def until(holds: Any) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def test_an_upstream_that_dies_is_started_again(place: Place) -> None:
    """The call that it died in costs nothing, and says so; the next one is answered."""

    async def work() -> None:
        async with asking(place.stdio("--upstream", CHILD, "--customer", "ann")) as client:
            first = (await call(client, "surroundings")).structured_content["pid"]
            assert "upstream_unavailable" == code(await call(client, "crash"))
            assert (100, 0) == place.figures()
            second = (await call(client, "surroundings")).structured_content["pid"]
            assert first != second

    asyncio.run(work())


def test_a_child_sees_nothing_that_it_was_not_given(place: Place) -> None:
    """Neither our database and key nor the operator's other variables."""

    async def work() -> dict[str, str]:
        options = ("--upstream", CHILD, "--env", "SECRET", "--env", "WORD=two words")
        environ = {"TALLY_API_KEY": place.keys["bob"], "OTHER": "o"}
        async with asking(place.stdio(*options, environ=environ)) as client:
            await call(client, "look_up", word="x")
            found: dict[str, str] = (await call(client, "surroundings")).structured_content["environ"]
            return found

    environ = asyncio.run(work())
    assert ("s", "two words") == (environ["SECRET"], environ["WORD"])
    assert not [name for name in environ if name.startswith("TALLY_") or name == "OTHER"]
    assert ((100, 0), (60, 0)) == (place.figures("ann"), place.figures("bob"))


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, None])
def test_it_ends_with_its_child(place: Place, ending: signal.Signals | None) -> None:
    """On a signal or when the client hangs up, also in the middle of a call, whose credits come back."""
    command = place.command("--upstream", CHILD, "--customer", "ann")
    with subprocess.Popen(
        command,
        env=place.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def send(**message: Any) -> None:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            process.stdin.flush()

        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        send(id=1, method="initialize", params=hello)
        assert "upstream" == json.loads(process.stdout.readline())["result"]["serverInfo"]["name"]
        send(method="notifications/initialized")
        send(id=2, method="tools/call", params={"name": "surroundings"})
        child = json.loads(process.stdout.readline())["result"]["structuredContent"]["pid"]
        send(id=3, method="tools/call", params={"name": "slow"})
        asyncio.run(until(lambda: place.figures() == (100, 3)))
        if ending is None:
            process.stdin.close()
        else:
            process.send_signal(ending)
        assert 0 == process.wait(30)
        assert [] == [line for line in process.stdout if json.loads(line)["jsonrpc"] != "2.0"]
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert (100, 0) == place.figures()


@pytest.mark.parametrize("over_http", [False, True])
def test_over_http_each_caller_pays(place: Place, over_http: bool) -> None:  # noqa: FBT001 - two kinds of upstream
    """By the key that it shows; nobody else gets in, and no key goes to the upstream."""
    with ExitStack() as stack:
        target = stack.enter_context(upstream_over_http(place)) if over_http else CHILD
        headers = ("--header", "X-Upstream=Bearer ${SECRET}", "--forward", "X-Trace") if over_http else ()
        address = stack.enter_context(place.http("--upstream", target, *headers))
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for token in ("", "Bearer tly_wrong"):
            assert 401 == httpx.post(address, json=body, headers={"Authorization": token}).status_code

        async def work() -> None:
            async with (
                asking(place.bearer(address, "ann")) as ann,
                asking(place.bearer(address, "bob"), mode="legacy") as bob,
            ):
                results = await asyncio.gather(
                    *(call(each, "look_up", word="x") for each in (ann, bob, ann, ann))
                )
                assert 1 == sum(each.is_error for each in results)
                receipt = (await call(bob, "look_up", word="y")).meta["tallystick/receipt"]
                assert (40, 20) == (receipt["charged"], receipt["balance"])
                assert "insufficient_credits" == code(await call(bob, "look_up", word="z"))
            more = {"X-Trace": "t1", "X-Other": "o", "Cookie": "c=1"}
            shown = StreamableHttpTransport(address, auth=place.keys["ann"], headers=more)
            async with asking(shown) as ann:
                headers = (await call(ann, "surroundings")).structured_content["headers"]
                if over_http:
                    assert ("Bearer s", "t1") == (headers["x-upstream"], headers["x-trace"])
                assert not {"authorization", "x-other", "cookie"} & set(headers)

        asyncio.run(work())
    assert ((20, 0), (20, 0)) == (place.figures("ann"), place.figures("bob"))


def test_charges_go_to_the_server_that_is_named(place: Place) -> None:
    """Keys are those of the server; on stdio its customer's own key pays, or a service's for whom it names."""

    def post(server: Server, path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Idempotency-Key": f"{path} {body}"}
        answer = httpx.post(f"{server.url}/api/v1{path}", json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    url = f"sqlite:///{place.folder / 'tally.db'}"
    with running_server(place.folder, economy=str(place.folder / "tools.toml"), database_url=url) as server:
        service = post(server, "/keys", name="gateway", role="service")["key"]

        async def pay(*options: str, key: str) -> tuple[int, int]:
            environ = {
                "TALLY_URL": server.url,
                "TALLY_API_KEY": key,
                "TALLY_DATABASE_URL": "sqlite:///none.db",
            }
            async with asking(place.stdio("--upstream", CHILD, *options, environ=environ)) as client:
                receipt = (await call(client, "look_up", word="x")).meta["tallystick/receipt"]
                return receipt["charged"], receipt["balance"]

        assert (40, 60) == asyncio.run(pay(key=place.keys["ann"]))
        assert (40, 60) == asyncio.run(pay("--customer", "bob", key=service))
        place.remote = {"TALLY_URL": server.url, "TALLY_API_KEY": service}
        with place.http("--upstream", CHILD) as address:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            for token in ("tly_wrong", service):
                headers = {"Authorization": f"Bearer {token}"}
                assert 401 == httpx.post(address, json=body, headers=headers).status_code

            async def work() -> None:
                async with asking(place.bearer(address, "ann")) as ann:
                    assert not (await call(ann, "look_up", word="y")).is_error
                    assert "insufficient_credits" == code(await call(ann, "look_up", word="z"))

            asyncio.run(work())
    assert not (place.folder / "none.db").exists()


def test_an_address_where_nobody_answers(place: Place) -> None:
    """A call is refused and costs nothing, and is answered once somebody is there."""

    async def work() -> None:
        nowhere = f"http://127.0.0.1:{free_port()}/mcp"
        async with asking(place.stdio("--upstream", nowhere, "--customer", "ann")) as client:
            assert "upstream_unavailable" == code(await call(client, "look_up", word="x"))

    asyncio.run(work())
    assert (100, 0) == place.figures()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--upstream", CHILD), "expected --customer, or a TALLY_API_KEY"),
        (("--upstream", CHILD, "--customer", "nobody"), "unknown_customer"),
        (("--upstream", "no-such-program"), "'no-such-program' is not there"),
        (("--upstream", CHILD, "--header", "A=b"), "expected no headers for a command"),
        (("--upstream", CHILD, "--env", "NOT_SET"), "expected the variable NOT_SET to be set"),
        (("--upstream", CHILD, "--prices", "none.toml"), "none.toml: cannot be read"),
        (("--upstream", CHILD, "--http", "--customer", "ann"), "leave --customer away"),
        (("--upstream", CHILD, "--prices", "lends.toml"), "expected --unsettled-file"),
        (("--upstream", CHILD, "--prices", "meter.toml"), "tools.a.meter: expected a meter of the economy"),
    ],
)
def test_a_mistake_is_told_at_the_start(place: Place, options: tuple[str, ...], said: str) -> None:
    """On stderr, before a client is answered."""
    (place.folder / "lends.toml").write_text("[tools.a]\namount = 1\nwhen_away = { quantity = 1 }\n")
    (place.folder / "meter.toml").write_text("[tools.a]\nmeter = 'nothing'\n")
    command = place.command(*options)
    done = subprocess.run(
        command, env=place.environ, cwd=place.folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in {1, 2}
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "" == done.stdout
