"""The tools that the suite calls by name. What they are to do stands in the suite's own descriptions."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import mcp.types as wire
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools import Tool, ToolResult
from mcp.shared.exceptions import MCPError
from pydantic import Field

PRICED: Final = {"tallystick": {"meter": "call"}}
PAUSE_SECONDS: Final = 0.05
MISSING_CAPABILITY: Final = -32021
# One red pixel, and no sound at all.
PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
WAV: Final = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
SCHEMA: Final = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def add_tools(server: FastMCP[Any]) -> None:
    """Tools that answer by themselves."""
    _add_contents(server)
    _add_reports(server)
    _add_refusals(server)
    _add_schemas(server)


def text(words: str) -> wire.TextContent:
    """A piece of text."""
    return wire.TextContent(type="text", text=words)


def image() -> wire.ImageContent:
    """A picture."""
    return wire.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, words: str, mime_type: str = "text/plain") -> wire.EmbeddedResource:
    """A resource within an answer."""
    content = wire.TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return wire.EmbeddedResource(type="resource", resource=content)


def _add_contents(server: FastMCP[Any]) -> None:
    @server.tool
    def test_simple_text() -> str:
        """Answer with text. Its price is that of the meter with its name; the suite takes it for any tool at all."""
        return "This is a simple text response for testing."

    @server.tool(meta=PRICED)
    def test_image_content() -> ToolResult:
        """Answer with a picture."""
        return ToolResult(content=[image()])

    @server.tool(meta=PRICED)
    def test_audio_content() -> ToolResult:
        """Answer with a sound."""
        return ToolResult(content=[wire.AudioContent(type="audio", data=WAV, mime_type="audio/wav")])

    @server.tool
    def test_embedded_resource() -> ToolResult:
        """Answer with a resource. Its price is by a rule of the operator's."""
        return ToolResult(
            content=[embedded("test://embedded-resource", "This is an embedded resource content.")]
        )

    @server.tool(meta=PRICED)
    def test_multiple_content_types() -> ToolResult:
        """Answer with several things."""
        data = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
        return ToolResult(content=[text("Multiple content types test:"), image(), data])


def _add_reports(server: FastMCP[Any]) -> None:
    @server.tool(meta=PRICED)
    async def test_tool_with_logging(context: Context) -> str:
        """Log three lines on the way."""
        await context.info("Tool execution started")
        await asyncio.sleep(PAUSE_SECONDS)
        await context.info("Tool processing data")
        await asyncio.sleep(PAUSE_SECONDS)
        await context.info("Tool execution completed")
        return "logged"

    @server.tool(meta=PRICED)
    async def test_logging_tool(context: Context) -> str:
        """Log a line, which only a client that asked for it may see."""
        await context.info("a line")
        return "logged"

    @server.tool(meta=PRICED)
    async def test_tool_with_progress(context: Context) -> str:
        """Tell how far it is."""
        for progress in (0, 50, 100):
            await context.report_progress(progress, 100)
            await asyncio.sleep(PAUSE_SECONDS)
        return "done"

    @server.tool(meta=PRICED)
    async def test_reconnection(context: Context) -> str:
        """Hang up in the middle; the answer waits for the client to come again."""
        await context.close_sse_stream()
        await asyncio.sleep(4 * PAUSE_SECONDS)
        return "reconnected"


def _add_refusals(server: FastMCP[Any]) -> None:
    @server.tool(meta=PRICED)
    def test_error_handling() -> str:
        """Fail, as a tool does."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool(meta=PRICED)
    def test_missing_capability() -> str:
        """Fail, as the protocol does, for want of a client that can sample."""
        raise MCPError(
            MISSING_CAPABILITY, "the client cannot sample", {"requiredCapabilities": {"sampling": {}}}
        )


def _add_schemas(server: FastMCP[Any]) -> None:
    @server.tool(meta=PRICED)
    def test_header_parameter(
        region: Annotated[str, Field(description="Where", json_schema_extra={"x-mcp-header": "Region"})],
    ) -> str:
        """Take a parameter that also stands in a header."""
        return region

    def json_schema_2020_12_tool(name: str = "") -> str:
        """Have a schema of every kind."""
        return name

    tool = Tool.from_function(json_schema_2020_12_tool, meta=PRICED)
    server.add_tool(tool.model_copy(update={"parameters": SCHEMA}))
