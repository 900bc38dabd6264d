"""What MCP clients are told, alike by our own tools and by the tools that others put a price on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastmcp import Context
from fastmcp.tools import ToolResult

from tallystick.core import errors
from tallystick.core.refusal_facts import facts_of
from tallystick.plain_json import key_in, number


class RefusedElsewhere(errors.Refusal):
    """What another server refused, in its own words."""

    def __init__(self, code: str, detail: str, **fields: object) -> None:
        super().__init__(detail, **fields)
        self.said = code


def refused(refusal: errors.Refusal) -> ToolResult:
    """A refusal with its code in lower case, its sentence, and its facts."""
    detail = refusal.detail
    if isinstance(refusal, errors.ServiceUnavailable) and refusal.__cause__ is not None:
        detail = "the database did not take the request: try again"  # what it said may name hosts and users
    code = refusal.said if isinstance(refusal, RefusedElsewhere) else refusal.code
    return failed(code, detail, facts_of(refusal, number))


def failed(code: str, detail: str, facts: Mapping[str, Any] | None = None) -> ToolResult:
    """``isError`` with the same JSON as structured content and as text, whatever the client reads."""
    content = {"error": {"code": code, "detail": detail, **(facts or {})}}
    return ToolResult(content=json.dumps(content, default=str), structured_content=content, is_error=True)


def key_of(context: Context | None) -> str | None:
    """The caller's idempotency key, which a client sends beside the arguments."""
    request = None if context is None else context.request_context
    return None if request is None else key_in(request.meta)
