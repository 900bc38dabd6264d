"""Tools that ask their client something: over the open connection in 2025-11-25, by their result in 2026-07-28."""

from __future__ import annotations

from typing import Any, Final

import mcp.types as wire
from fastmcp import Context, FastMCP

from tests.conformance.fixture_tools import PRICED

Asked = str | wire.InputRequiredResult
_OPTIONS: Final = ["option1", "option2", "option3"]
_DEFAULTS: Final[dict[str, Any]] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
_TITLED: Final = [{"const": f"value{number}", "title": f"Choice {number}"} for number in (1, 2, 3)]
_ENUMS: Final[dict[str, Any]] = {
    "untitledSingle": {"type": "string", "enum": _OPTIONS},
    "titledSingle": {"type": "string", "oneOf": _TITLED},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
    "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
}


def add_questions(server: FastMCP[Any]) -> None:
    """Tools of both versions."""
    _add_requests(server)
    _add_one_round(server)
    _add_careful(server)
    _add_with_state(server)


def elicitation(message: str, field: str, kind: str = "string") -> wire.ElicitRequest:
    """A question with one field to fill in."""
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return wire.ElicitRequest(params=wire.ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(words: str) -> wire.CreateMessageRequest:
    """A question to the client's model."""
    message = wire.SamplingMessage(role="user", content=wire.TextContent(type="text", text=words))
    return wire.CreateMessageRequest(
        params=wire.CreateMessageRequestParams(messages=[message], max_tokens=100)
    )


def _add_requests(server: FastMCP[Any]) -> None:
    async def ask(context: Context, message: str, fields: dict[str, Any], required: list[str]) -> str:
        schema = {"type": "object", "properties": fields, "required": required}
        answer = await context.session.elicit_form(message, schema, related_request_id=context.request_id)
        return f"Elicitation completed: action={answer.action}, content={answer.content}"

    @server.tool(meta=PRICED)
    async def test_sampling(prompt: str, context: Context) -> str:
        """Ask the client's model."""
        answer = await context.session.send_request(sampling(prompt), wire.CreateMessageResult)
        return f"LLM response: {answer.content}"

    @server.tool(meta=PRICED)
    async def test_elicitation(message: str, context: Context) -> str:
        """Ask the user."""
        fields = {name: {"type": "string", "description": name} for name in ("username", "email")}
        return await ask(context, message, fields, list(fields))

    @server.tool(meta=PRICED)
    async def test_elicitation_sep1034_defaults(context: Context) -> str:
        """Ask the user, with answers filled in."""
        return await ask(context, "Please check", _DEFAULTS, [])

    @server.tool(meta=PRICED)
    async def test_elicitation_sep1330_enums(context: Context) -> str:
        """Let the user choose."""
        return await ask(context, "Please choose", _ENUMS, [])


def _add_one_round(server: FastMCP[Any]) -> None:
    @server.tool(meta=PRICED)
    def test_input_required_result_elicitation(context: Context) -> Asked:
        """Ask the user for a name."""
        name = _answered(context, "user_name", "name")
        if name is None:
            return wire.InputRequiredResult(
                input_requests={"user_name": elicitation("What is your name?", "name")}
            )
        return f"Hello, {name}!"

    @server.tool(meta=PRICED)
    def test_streaming_elicitation(context: Context) -> Asked:
        """Ask the user, on a connection that may stream."""
        return test_input_required_result_elicitation(context)

    @server.tool(meta=PRICED)
    def test_input_required_result_sampling(context: Context) -> Asked:
        """Ask the client's model."""
        answer = (context.input_responses or {}).get("capital_question")
        if not isinstance(answer, wire.CreateMessageResult):
            ask = sampling("What is the capital of France?")
            return wire.InputRequiredResult(input_requests={"capital_question": ask})
        return str(answer.content)

    @server.tool(meta=PRICED)
    def test_input_required_result_list_roots(context: Context) -> Asked:
        """Ask for the client's folders."""
        answer = (context.input_responses or {}).get("client_roots")
        if not isinstance(answer, wire.ListRootsResult):
            return wire.InputRequiredResult(input_requests={"client_roots": wire.ListRootsRequest()})
        return ", ".join(str(root.uri) for root in answer.roots)


def _add_careful(server: FastMCP[Any]) -> None:
    @server.tool(meta=PRICED)
    def test_input_required_result_capabilities(context: Context) -> Asked:
        """Ask only what this client can answer."""
        can = context.session.client_capabilities or wire.ClientCapabilities()
        asks: dict[str, Any] = {}
        if can.sampling is not None:
            asks["greeting"] = sampling("Generate a greeting")
        if can.elicitation is not None:
            asks["user_name"] = elicitation("What is your name?", "name")
        return wire.InputRequiredResult(input_requests=asks)


def _add_with_state(server: FastMCP[Any]) -> None:
    confirm = elicitation("Please confirm", "ok", "boolean")

    @server.tool(meta=PRICED)
    def test_input_required_result_request_state(context: Context) -> Asked:
        """Ask, and know the state again that went out with the question."""
        if context.request_state == "waiting" and context.input_responses:
            return "state-ok"
        return wire.InputRequiredResult(input_requests={"confirm": confirm}, request_state="waiting")

    @server.tool(meta=PRICED)
    def test_input_required_result_tampered_state(context: Context) -> Asked:
        """As the one before; the suite sends it another state."""
        return test_input_required_result_request_state(context)

    @server.tool(meta=PRICED)
    def test_input_required_result_multiple_inputs(context: Context) -> Asked:
        """Ask three things at once."""
        asks: dict[str, Any] = {
            "user_name": elicitation("What is your name?", "name"),
            "greeting": sampling("Generate a greeting"),
            "client_roots": wire.ListRootsRequest(),
        }
        if context.request_state == "three" and set(asks) <= set(context.input_responses or {}):
            return "Everything is answered."
        return wire.InputRequiredResult(input_requests=asks, request_state="three")

    @server.tool(meta=PRICED)
    def test_input_required_result_multi_round(context: Context) -> Asked:
        """Ask twice."""
        if context.request_state == "second" and _answered(context, "step2", "color") is not None:
            return "Both steps are answered."
        if context.request_state == "first" and _answered(context, "step1", "name") is not None:
            ask = elicitation("Step 2: What is your favorite color?", "color")
            return wire.InputRequiredResult(input_requests={"step2": ask}, request_state="second")
        ask = elicitation("Step 1: What is your name?", "name")
        return wire.InputRequiredResult(input_requests={"step1": ask}, request_state="first")


def _answered(context: Context, key: str, field: str) -> Any:
    """What the user filled in, if it was asked and answered."""
    answer = (context.input_responses or {}).get(key)
    return answer.content.get(field) if isinstance(answer, wire.ElicitResult) and answer.content else None
