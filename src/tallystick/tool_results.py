"""What MCP clients are told, alike by our own tools and by the tools that others put a price on.

Amounts are JSON numbers. Up to nine billion units they are exact to the sixth decimal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fastmcp import Context
from fastmcp.tools import ToolResult

from tallystick.core import errors
from tallystick.core.amounts import MICROS, PICOS
from tallystick.core.catalog import Price
from tallystick.core.refusal_facts import facts_of

Number = int | float

IDEMPOTENCY_KEY: Final = "tallystick/idempotency-key"


class RefusedElsewhere(errors.Refusal):
    """What another server refused, in its own words."""

    def __init__(self, code: str, detail: str, **fields: object) -> None:
        super().__init__(detail, **fields)
        self.said = code


def number(value: int, scale: int = MICROS) -> Number:
    """Micro-units (or parts of another ``scale``) as a number: whole where they are, else the nearest double."""
    whole, rest = divmod(value, scale)
    return value / scale if rest else whole


def per_unit(picos: int) -> Number:
    """The price of one unit of quantity."""
    return number(picos, PICOS)


def price_line(price: Price) -> dict[str, Any]:
    """A price, less its tiers."""
    return {
        "unit": price.unit,
        "kind": price.kind,
        "flat": number(price.flat_micros),
        "per_unit": per_unit(price.per_unit_picos),
    }


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
    key = None if request is None else (request.meta or {}).get(IDEMPOTENCY_KEY)
    return key if isinstance(key, str) else None
