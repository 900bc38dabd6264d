"""The resources and prompts that the suite reads by name."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import mcp.types as wire
from fastmcp import Context, FastMCP
from fastmcp.prompts import Message, PromptResult

from tests.conformance.fixture_questions import elicitation
from tests.conformance.fixture_tools import PNG, embedded, image

_TEXT: Final = "text/plain"


def add_reading(server: FastMCP[Any]) -> None:
    """Resources, prompts and completion."""
    _add_resources(server)
    _add_prompts(server)
    _add_subscriptions(server)

    @server.completion
    def complete(
        _ref: wire.PromptReference | wire.ResourceTemplateReference,
        argument: wire.CompletionArgument,
        _context: wire.CompletionContext | None,
    ) -> list[str]:
        """Say what has been typed so far, and one thing more."""
        return [argument.value, f"{argument.value}-more"]


def _add_resources(server: FastMCP[Any]) -> None:
    @server.resource("test://static-text", mime_type=_TEXT)
    def static_text() -> str:
        """A text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """A picture."""
        return base64.b64decode(PNG)

    @server.resource("test://watched-resource", mime_type=_TEXT)
    def watched_resource() -> str:
        """A text that a client can subscribe to."""
        return "It never changes."

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002 - the suite's name
        """A text for each id."""
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def _add_prompts(server: FastMCP[Any]) -> None:
    @server.prompt
    def test_simple_prompt() -> str:
        """A question."""
        return "This is a simple prompt for testing."

    @server.prompt
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A question with two things in it."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803 - the suite's name
        """A question about a resource."""
        return [
            Message(embedded(resourceUri, "Embedded resource content for testing.")),
            Message("Please process the embedded resource above."),
        ]

    @server.prompt
    def test_prompt_with_image() -> list[Message]:
        """A question about a picture."""
        return [Message(image()), Message("Please analyze the image above.")]

    @server.prompt
    def test_input_required_result_prompt(context: Context) -> PromptResult | wire.InputRequiredResult:
        """A question that has to ask something first."""
        answer = (context.input_responses or {}).get("user_context")
        if not isinstance(answer, wire.ElicitResult) or not answer.content:
            ask = elicitation("What context should the prompt use?", "context")
            return wire.InputRequiredResult(input_requests={"user_context": ask})
        return PromptResult([Message(f"Work with {answer.content['context']}.")])


def _add_subscriptions(server: FastMCP[Any]) -> None:
    """The library serves no subscriptions of its own; what the suite asks of them is that they are taken."""

    async def take(_context: object, _params: object) -> wire.EmptyResult:
        return wire.EmptyResult()

    low_level = server._mcp_server  # noqa: SLF001 - there is no other way to serve a method that the library does not
    low_level.add_request_handler("resources/subscribe", wire.SubscribeRequestParams, take)
    low_level.add_request_handler("resources/unsubscribe", wire.UnsubscribeRequestParams, take)
