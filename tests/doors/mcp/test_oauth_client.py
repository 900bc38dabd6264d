"""The whole way with a client that is not ours: the library's own, against two processes on one database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.auth import OAuth

from tests.doors.mcp.connecting import App, Person, hidden, onward
from tests.servers import Server, free_port, running_server

pytestmark = pytest.mark.slow


class Browsing(OAuth):
    """The library's client, whose browser is a person of ours."""

    def __init__(self, person: Person, **options: Any) -> None:
        super().__init__(callback_timeout=30, **options)
        self.person = person

    async def redirect_handler(self, authorization_url: str) -> None:
        """Look at the page, agree, and go where it leads."""
        asyncio.get_running_loop().run_in_executor(None, self._agree, authorization_url)

    def _agree(self, address: str) -> None:
        page = self.person.see(address)
        if page.url.path == "/sign-in":
            page = self.person.sign_in(return_to=page.url.params["return_to"])
        told = onward(self.person.send("/oauth/consent", **hidden(page), action="approve"))
        for _ in range(50):  # the client listens in a moment
            try:
                httpx.get(told.pop("to"), params=told)
            except httpx.TransportError:
                continue
            return


@pytest.fixture
def servers(database_url: str, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """Two processes; both say the address of the first, as behind one balancer."""
    port = free_port()
    settings = {"TALLY_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with (
        running_server(
            folders[0], economy="flow-nexus", database_url=database_url, port=port, settings=settings
        ) as first,
        running_server(
            folders[1], economy="flow-nexus", database_url=database_url, settings=settings
        ) as second,
    ):
        yield first, second


@pytest.mark.filterwarnings("ignore:Using in-memory token storage")  # which is what a test wants
def test_a_client_of_the_library_connects(servers: tuple[Server, Server]) -> None:
    """It finds everything by itself from the refusal of its first call, and comes in as the user."""

    async def work(http: httpx.Client) -> Any:
        auth = Browsing(Person(http))
        async with Client(f"{servers[0].url}/mcp", auth=auth) as client:
            return (await client.call_tool("check_balance")).structured_content

    with httpx.Client(base_url=servers[0].url, timeout=30) as http:
        assert 356 == asyncio.run(work(http))["credits"]


def test_processes_share_everything(servers: tuple[Server, Server]) -> None:
    """Registered at the first, let in at the second, exchanged at the first, renewed at the second, used at both."""
    first, second = servers
    with (
        httpx.Client(base_url=first.url, timeout=30) as here,
        httpx.Client(base_url=second.url, timeout=30) as there,
    ):
        app, ada = App(here, resource=f"{first.url}/mcp"), Person(there)
        asked = app.ask()
        ada.sign_in()
        page = ada.see(there.get(asked.link).headers["location"].replace(first.url, second.url))
        code = onward(ada.send("/oauth/consent", **hidden(page), action="approve"))["code"]
        tokens = app.exchange(code, asked).json()
        app.http = there
        tokens = app.refresh(tokens["refresh_token"]).json()
        for client in (here, there):
            assert 200 == status_with(client, tokens["access_token"])
        app.http = here
        assert 200 == app.revoke(tokens["refresh_token"]).status_code
        assert 401 == status_with(there, tokens["access_token"])


def status_with(client: httpx.Client, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    return client.post("/mcp", json=body, headers=headers).status_code
