"""Refusals as the answers to requests, with amounts as exact decimal numbers, like everywhere else.

What nobody foresaw is a problem without internals; the log has them under the same ``request_id``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.rendering import PROBLEM, json_bytes, number
from tallystick.core import errors
from tallystick.problem_details import document_of, headers_of, members

# Gives the page for a status, a title and a detail where an address is one of people, and None everywhere else.
Tell: TypeAlias = Callable[[Request, int, str, str], Response | None]

log = structlog.get_logger(__name__)

_HTTP_CODES: Final = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "BODY_TOO_LARGE"}
_PLACES: Final = {"body", "query", "path", "header"}


def problem_of(refusal: errors.Refusal, *, request_id: str, base: str) -> dict[str, Any]:
    """A refusal as the members of a problem."""
    return document_of(refusal, number, base=base, request_id=request_id)


def respond(request: Request, refusal: errors.Refusal) -> Response:
    """A refusal as the answer to a request."""
    body = told(request, refusal)
    return _answer(request, body, headers_of(refusal, request.app.state.tally.context.now()))


def told(request: Request, refusal: errors.Refusal) -> dict[str, Any]:
    """A refusal as the document that the answer to a request has; it is counted."""
    state = request.app.state
    state.metrics.refused(refusal.code)
    if isinstance(refusal, errors.ServiceUnavailable):
        log.warning(
            "unavailable",
            request_id=request.state.request_id,
            detail=refusal.detail,
            exc_info=refusal.__cause__,
        )
    return problem_of(refusal, request_id=request.state.request_id, base=state.base)


def respond_plainly(
    request: Request,
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem of the door's own: an unknown route, a method that is not there, a mistake of ours."""
    return _answer(request, _told_plainly(request, status, code, title, detail), headers or {})


def _told_plainly(request: Request, status: int, code: str, title: str, detail: str) -> dict[str, Any]:
    state = request.app.state
    state.metrics.refused(code.lower())
    return members(status, code, title, detail, base=state.base, request_id=request.state.request_id)


def _answer(request: Request, body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    """The problem, or a page that tells of it at an address of people."""
    page: Response | None = request.app.state.tell(request, body["status"], body["title"], body["detail"])
    if page is None:
        return Response(json_bytes(body), body["status"], dict(headers), PROBLEM)
    page.headers.update(headers)
    return page


def respond_unforeseen(request: Request) -> Response:
    """What nobody foresaw: nothing of it is shown."""
    return _answer(request, told_unforeseen(request), {})


def told_unforeseen(request: Request) -> dict[str, Any]:
    """The same as the document alone."""
    detail = "the server made a mistake; the log tells more under this request_id"
    return _told_plainly(request, 500, "INTERNAL_ERROR", "Internal error", detail)


def refusal_of_validation(found: list[Any]) -> errors.ValidationFailed:
    """What pydantic found wrong, each with its field's name. A bad amount keeps its own code."""
    named = [(_field_of(each["loc"]), str(each["msg"])) for each in found]
    kinds = {str(each["type"]) for each in found}
    if kinds == {"invalid_amount"}:
        refusal: errors.ValidationFailed = _several(errors.InvalidAmount, named)
    elif kinds == {"invalid_quantity"}:
        refusal = _several(errors.InvalidQuantity, named)
    else:
        refusal = errors.ValidationFailed(named)
    return refusal


def _several(
    kind: type[errors.InvalidAmount | errors.InvalidQuantity], named: list[tuple[str, str]]
) -> errors.ValidationFailed:
    refusal = kind("")
    errors.ValidationFailed.__init__(refusal, named)
    return refusal


def _field_of(location: tuple[int | str, ...]) -> str:
    parts = location[1:] if location and location[0] in _PLACES else location
    return ".".join(str(part) for part in parts)[:200] or "body"


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.Refusal)
    return respond(request, error)


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return respond(request, refusal_of_validation(list(error.errors())))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "MALFORMED_REQUEST")
    title = str(error.detail)
    known = {404: "there is nothing at this address", 405: "this address has no such method"}
    detail = known.get(error.status_code, title)
    return respond_plainly(request, error.status_code, code, title, detail, error.headers)


def install(app: FastAPI) -> None:
    """Answer every refusal as a problem."""
    app.add_exception_handler(errors.Refusal, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
