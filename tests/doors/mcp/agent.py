"""A real MCP client that asks one question at a time, and whoever it asks for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from fastmcp import Client
from mcp.types import TextContent


class Agent:
    """Calls tools, each in a connection of its own: no answer may depend on a session."""

    def __init__(self, target: Any, **options: Any) -> None:
        self._target = target
        self._options = options

    def names(self) -> set[str]:
        """The tools that are offered."""
        return set(self.tools())

    def tools(self) -> dict[str, Any]:
        """The tools by their names."""

        async def work() -> dict[str, Any]:
            async with Client(self._target, **self._options) as client:
                return {tool.name: tool for tool in await client.list_tools()}

        return asyncio.run(work())

    def prompts(self) -> dict[str, Any]:
        """The prompts by their names."""

        async def work() -> dict[str, Any]:
            async with Client(self._target, **self._options) as client:
                return {prompt.name: prompt for prompt in await client.list_prompts()}

        return asyncio.run(work())

    def ask(self, name: str, **arguments: Any) -> str:
        """The text of a prompt."""

        async def work() -> str:
            async with Client(self._target, **self._options) as client:
                [message] = (await client.get_prompt(name, arguments)).messages
                assert isinstance(message.content, TextContent)
                return message.content.text

        return asyncio.run(work())

    def read(self, uri: str) -> Any:
        """The content of a resource."""

        async def work() -> Any:
            async with Client(self._target, **self._options) as client:
                [content] = await client.read_resource(uri)
                return json.loads(content.text)

        return asyncio.run(work())

    def call(self, name: str, /, *, meta: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        """What a tool answers. Its text says the same as its structured content, also of a refusal."""

        async def work() -> Any:
            async with Client(self._target, **self._options) as client:
                return await client.call_tool(name, arguments, meta=meta, raise_on_error=False)

        result = asyncio.run(work())
        content: dict[str, Any] = result.structured_content
        [text] = result.content
        assert isinstance(text, TextContent)
        assert json.loads(text.text) == content
        assert result.is_error == ("error" in content)
        return content

    def receipt(
        self, name: str, /, *, meta: dict[str, Any] | None = None, **arguments: Any
    ) -> dict[str, Any] | None:
        """What a call cost."""

        async def work() -> Any:
            async with Client(self._target, **self._options) as client:
                return await client.call_tool(name, arguments, meta=meta)

        receipt: dict[str, Any] | None = (asyncio.run(work()).meta or {}).get("tallystick/receipt")
        return receipt

    def refused(self, name: str, /, **arguments: Any) -> str:
        """The code of a refusal that must come."""
        return str(self.problem(name, **arguments)["code"])

    def problem(self, name: str, **arguments: Any) -> dict[str, Any]:
        """A refusal that must come: its code, its sentence, its facts."""
        problem: dict[str, Any] = self.call(name, **arguments)["error"]
        return problem


@dataclass
class Someone:
    """Who asks, changed by logging in."""

    shown: str | None = None
    keeps_logins: bool = True

    def token(self) -> str | None:
        """The token of the login, or the key."""
        return self.shown

    def keep(self, token: str, *, email: str, expires_at: str) -> None:
        """Go by this login."""
        assert "@" in email
        assert expires_at.endswith("Z")
        self.shown = token

    def forget(self) -> None:
        """Go by none."""
        self.shown = None
