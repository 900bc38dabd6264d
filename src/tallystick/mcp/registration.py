"""Putting functions on a server as tools, with what clients are told of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastmcp import FastMCP
from mcp.types import ToolAnnotations

from tallystick.mcp.refusals import answering

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
        server.tool(answering(function), title=title, annotations=annotations, tags=tags)
    return frozenset(function.__name__ for function, _, _ in rows)
