"""Apps that people connect: an app as OAuth 2.1 wants it, a person at a browser, and a server between them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from fastmcp.client.transports import StreamableHttpTransport

from tallystick.api.app import create_app
from tallystick.bootstrap import Tally
from tallystick.mcp import http
from tallystick.ports.sandboxes import SandboxProvider
from tallystick.services.identity import Identity
from tallystick.services.passwords import Passwords
from tallystick.web import routers, tell
from tests.doors.api.door import ECONOMY, WEAK, ThreadServer
from tests.doors.mcp.agent import Agent
from tests.doors.web.browser import Reader
from tests.servers import free_port
from tests.tallies import FakeClock

CALLBACK = "http://127.0.0.1:53682/callback"
PASSWORD = "correct horse battery"


class Installation:
    """A server with all its doors, on a clock that the test moves; ``public_url`` is that of the first of several."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        beside: Installation | None = None,
        economy: str = ECONOMY,
        sandboxes: SandboxProvider | None = None,
    ) -> None:
        path, port = folder / "door.toml", free_port()
        path.write_text(economy)
        self.url = f"http://127.0.0.1:{port}"
        self.clock: FakeClock = FakeClock("2027-01-10T12:00:00Z") if beside is None else beside.clock
        self.tally = Tally.open(
            url,
            economy=str(path),
            test_mode=False,
            source=self.clock,
            public_url=self.url if beside is None else beside.url,
            sandbox_provider=sandboxes,
        )
        self.tally.identity = Identity(self.tally.context, self.tally.customers, passwords=Passwords(WEAK))
        app = create_app(
            self.tally, extra_routes=routers(self.tally), extra_apps=http.applications(self.tally), tell=tell
        )
        self._server = ThreadServer(app, port=port)
        self._clients: list[httpx.Client] = []

    def client(self) -> httpx.Client:
        """An HTTP client of this server."""
        self._clients.append(httpx.Client(base_url=self.url, timeout=30))
        return self._clients[-1]

    def app(self, **terms: str) -> App:
        """A new app, registered here."""
        return App(self.client(), resource=f"{self.tally.context.public_url}/mcp", **terms)

    def person(self, email: str = "ada@example.test") -> Person:
        """Somebody new, signed in at a browser."""
        person = Person(self.client(), email)
        person.sign_in()
        return person

    def lets_in(self, token: str) -> bool:
        """Whether a token is worth something at the tools."""
        status = self._post(token, "tools/list").status_code
        assert status in {200, 401}
        return status == 200

    def call(self, token: str, tool: str) -> Any:
        """What a tool answers to one request, and no more."""
        answer = self._post(token, "tools/call", {"name": tool, "arguments": {}})
        return answer.json()["result"]["structuredContent"]

    def _post(self, token: str, method: str, params: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        return self.client().post("/mcp", json=body, headers=headers)

    def agent(self, token: str) -> Agent:
        """A real MCP client with a token."""
        return Agent(StreamableHttpTransport(f"{self.url}/mcp", auth=token))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        self._server.stop()
        self.tally.close()


@dataclass
class Asked:
    """A question that an app asks: the way to it, and what only the app knows."""

    link: str
    verifier: str


class App:
    """An MCP client that talks to one server, and registers there."""

    def __init__(
        self, client: httpx.Client, *, resource: str, callback: str = CALLBACK, name: str = "An app"
    ) -> None:
        self.http = client
        self.callback = callback
        self.resource = resource
        answer = self.register(client_name=name, redirect_uris=[callback])
        assert 201 == answer.status_code, answer.text
        self.client_id: str = answer.json()["client_id"]

    def register(self, **metadata: Any) -> httpx.Response:
        """Dynamic client registration."""
        return self.http.post("/register", json=metadata)

    def ask(self, **changed: str | None) -> Asked:
        """A way to the question, with a new proof of the key."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        query: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.callback,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            "state": "the state",
            "resource": self.resource,
        }
        query |= changed
        sent = {name: text for name, text in query.items() if text is not None}
        return Asked(f"/authorize?{urlencode(sent)}", verifier)

    def exchange(self, code: str, asked: Asked, **changed: str) -> httpx.Response:
        """Tokens for a code."""
        return self.token(
            **{
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self.callback,
                "code_verifier": asked.verifier,
                "resource": self.resource,
            }
            | changed
        )

    def refresh(self, token: str, **changed: str) -> httpx.Response:
        """New tokens for a refresh token."""
        return self.token(**{"grant_type": "refresh_token", "refresh_token": token} | changed)

    def token(self, **fields: str) -> httpx.Response:
        """Anything at the token endpoint."""
        return self.http.post("/token", data={"client_id": self.client_id} | fields)

    def revoke(self, token: str) -> httpx.Response:
        """End the app by one of its tokens."""
        return self.http.post("/revoke", data={"client_id": self.client_id, "token": token})

    def at(self, server: Installation) -> App:
        """The same client, talking to another process."""
        other = copy(self)
        other.http = server.client()
        return other


class Person:
    """Somebody at a browser: keeps cookies, follows links, sends the forms of pages."""

    def __init__(self, client: httpx.Client, email: str = "ada@example.test") -> None:
        self.http = client
        self.email = email

    def see(self, link: str) -> httpx.Response:
        """Follow a link, and whatever it leads to here."""
        return self.http.get(link, follow_redirects=True)

    def send(self, path: str, **fields: str) -> httpx.Response:
        """Send a form as a browser does from a page of the server."""
        headers = {"Sec-Fetch-Site": "same-origin", "Origin": str(self.http.base_url).rstrip("/")}
        return self.http.post(path, data=fields, headers=headers, follow_redirects=True)

    def sign_in(self, action: str = "register", *, return_to: str = "/apps") -> httpx.Response:
        """Register, or sign in."""
        return self.send("/sign-in", email=self.email, password=PASSWORD, action=action, return_to=return_to)

    def answer(self, asked: Asked, action: str = "approve") -> dict[str, str]:
        """Answer an app's question on its page; gives what the app is told."""
        page = self.see(asked.link)
        assert page.url.path == "/oauth/consent", page.text
        return onward(self.send("/oauth/consent", **hidden(page), action=action))


def hidden(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of a page."""
    inputs = [each for each in Reader(page.text).all("input") if each.get("type") == "hidden"]
    return {str(each["name"]): str(each["value"]) for each in inputs}


def onward(page: httpx.Response) -> dict[str, str]:
    """What the app is told by the page that leads back to it."""
    assert 200 == page.status_code, page.text
    link = str(Reader(page.text).all("a")[0]["href"])
    return dict(parse_qsl(urlsplit(link).query)) | {"to": link.partition("?")[0]}


def connected(app: App, person: Person) -> dict[str, Any]:
    """An app that a person has connected: its tokens."""
    asked = app.ask()
    answer = app.exchange(person.answer(asked)["code"], asked)
    assert 200 == answer.status_code, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def refused(answer: httpx.Response, error: str) -> None:
    """What the token endpoint refuses, and why."""
    assert answer.status_code in {400, 401}, answer.text
    assert error == answer.json()["error"]
