"""Putting functions on a server as tools, with what clients are told of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastmcp import FastMCP
from fastmcp.tools import Tool
from mcp.types import ToolAnnotations

from tallystick.mcp.refusals import answering
from tallystick.plain_json import or_refused

HERE: Final = ToolAnnotations(destructive_hint=False, open_world_hint=False)
READS: Final = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
SETS: Final = ToolAnnotations(destructive_hint=True, idempotent_hint=True, open_world_hint=True)


def put(
    server: FastMCP[Any],
    *rows: tuple[Callable[..., Any], str, ToolAnnotations],
    tags: set[str] | None = None,
) -> frozenset[str]:
    """Make a tool of each function, with its title and hints; gives their names."""
    for function, title, hints in rows:
        annotations = hints.model_copy(update={"title": title})
        tool = Tool.from_function(answering(function), title=title, annotations=annotations, tags=tags)
        schema = or_refused(tool.output_schema or {"type": "object"})
        server.add_tool(tool.model_copy(update={"output_schema": schema}))
    return frozenset(function.__name__ for function, _, _ in rows)
