"""The OpenAPI document: what the routes say, and the problems that each of them can answer with."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from tallystick.api.answers.batch import Problem
from tallystick.api.models import ChargeItem
from tallystick.api.rendering import PROBLEM
from tallystick.problem_details import STATUSES

DESCRIPTION: Final = """\
Tallystick is a self-hosted credit economy for AI-agent platforms, MCP servers and APIs.

Amounts are numbers with at most six decimals and are read exactly; times are RFC 3339; ids have a prefix and sort by time.
Every request that moves credits needs an `Idempotency-Key`: a repeat is done once and answered alike. Every refusal is a
problem (RFC 9457) with a stable `code`, and changed nothing. Lists are in pages, newest first.
"""

_REFS: Final = "#/components/schemas/{model}"
_DEFAULT: Final = {400, 404, 405, 413, 500, 503}
_WITH_CALLER: Final = {401, 403, 429}
_WITH_INPUT: Final = {409, 422}
_LIMITED: Final = {"/api/v1/charges", "/api/v1/holds"}
_THAT_SPEND: Final = (
    "/charges",
    "/holds",
    "/holds/{hold_id}/capture",
    "/settlements",
    "/tasks",
    "/sandboxes",
    "/sandboxes/{sandbox_id}/execute",
)
_THAT_PAY: Final = ("/billing/tier", "/billing/subscription", "/billing/portal")


def document_of(app: FastAPI) -> dict[str, Any]:
    """The document, as plain JSON values."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas: dict[str, Any] = document["components"]["schemas"]
    for model in (Problem, ChargeItem):
        _add_schema(schemas, model)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _add_problems(path, method, operation)
            _add_idempotency(operation)
            _add_limits(path, operation)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return document


def _add_schema(schemas: dict[str, Any], model: type) -> None:
    schema = TypeAdapter(model).json_schema(ref_template=_REFS)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema


def _add_problems(path: str, method: str, operation: dict[str, Any]) -> None:
    """Every operation says which problems it can answer with."""
    statuses = set(_DEFAULT)
    if "security" in operation:
        statuses |= _WITH_CALLER
    if path.startswith("/api/v1/auth"):
        statuses |= {401, 429}
    if "requestBody" in operation or "parameters" in operation:
        statuses |= _WITH_INPUT
    if method == "post" and path.removeprefix("/api/v1") in _THAT_SPEND:
        statuses.add(402)
    if path.removeprefix("/api/v1") in _THAT_PAY:
        statuses.add(402)
    titles = _titles()
    responses: dict[str, Any] = operation["responses"]
    responses.pop("422", None)
    for status in sorted(statuses):
        responses.setdefault(str(status), {"description": titles[status], "content": _problem()})
    operation["responses"] = dict(sorted(responses.items()))


def _problem() -> dict[str, Any]:
    return {PROBLEM: {"schema": {"$ref": _REFS.format(model="Problem")}}}


def _titles() -> dict[int, str]:
    found = {405: "Method not allowed"}
    for kind, (status, title) in STATUSES.items():
        found[status] = (
            f"{found[status]}, {kind.code.upper()}" if status in found else f"{title}: {kind.code.upper()}"
        )
    return found


def _add_idempotency(operation: dict[str, Any]) -> None:
    """Say what a repeat looks like where there can be one."""
    names = {each["name"] for each in operation.get("parameters", ())}
    if "Idempotency-Key" not in names:
        return
    header = {
        "description": "`true` when this is the answer to an earlier request with the same key",
        "schema": {"type": "string", "enum": ["true"]},
    }
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            response.setdefault("headers", {})["Idempotent-Replayed"] = header


def _add_limits(path: str, operation: dict[str, Any]) -> None:
    """Say where a limit shows what is left of it, and when to come again."""
    limits = {
        "RateLimit-Policy": _header('The limit: `"hourly";q=120;w=3600` is 120 in 3600 seconds'),
        "RateLimit": _header('What is left of it: `"hourly";r=119;t=1800`, for another 1800 seconds'),
    }
    wait = {"Retry-After": _header("When to come again, in seconds; of a 402 only where a grant is due")}
    for status, response in operation["responses"].items():
        if status == "429" or (status == "201" and path in _LIMITED):
            response.setdefault("headers", {}).update(limits)
        if status in {"402", "429", "503"}:
            response.setdefault("headers", {}).update(wait)


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}
