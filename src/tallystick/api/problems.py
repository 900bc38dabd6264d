"""Refusals as RFC 9457 problems: one table from each class to its status and title, and one way to write them.

``code`` is the refusal's own in upper case. Amounts are decimal numbers and times RFC 3339, like everywhere else. What
nobody foresaw is a problem without internals; the log has them under the same ``request_id``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.rendering import PROBLEM, json_bytes, moment, number_or_none
from tallystick.core import errors

log = structlog.get_logger(__name__)

STATUSES: Final[Mapping[type[errors.Refusal], tuple[int, str]]] = {
    errors.MalformedRequest: (400, "Malformed request"),
    errors.InvalidSignature: (400, "Invalid signature"),
    errors.IdempotencyKeyRequired: (400, "Idempotency-Key required"),
    errors.NotAuthenticated: (401, "Not authenticated"),
    errors.InvalidCredentials: (401, "Invalid credentials"),
    errors.NotCovered: (402, "Not covered"),
    errors.InsufficientCredits: (402, "Insufficient credits"),
    errors.BudgetExceeded: (402, "Budget exceeded"),
    errors.PaymentFailed: (402, "Payment failed"),
    errors.AutoRefillFailed: (402, "Automatic refill failed"),
    errors.TierUpgradeFailed: (402, "Tier upgrade failed"),
    errors.NotAllowed: (403, "Not allowed"),
    errors.WalletFrozen: (403, "Wallet frozen"),
    errors.PlanRequired: (403, "Plan required"),
    errors.NotFound: (404, "Not found"),
    errors.UnknownMeter: (404, "Unknown meter"),
    errors.UnknownUnit: (404, "Unknown unit"),
    errors.UnknownPlan: (404, "Unknown plan"),
    errors.UnknownPack: (404, "Unknown pack"),
    errors.UnknownCustomer: (404, "Unknown customer"),
    errors.Conflict: (409, "Conflict"),
    errors.HoldNotOpen: (409, "Hold not open"),
    errors.EmailTaken: (409, "Email taken"),
    errors.IdempotencyInFlight: (409, "Request still running"),
    errors.TestClockRefused: (409, "Test clock refused"),
    errors.NotSimulated: (409, "Not simulated"),
    errors.BodyTooLarge: (413, "Body too large"),
    errors.ValidationFailed: (422, "Validation failed"),
    errors.InvalidAmount: (422, "Invalid amount"),
    errors.InvalidQuantity: (422, "Invalid quantity"),
    errors.AmountTooLarge: (422, "Amount too large"),
    errors.InvalidCursor: (422, "Invalid cursor"),
    errors.ExceedsRefundable: (422, "Exceeds what can be refunded"),
    errors.IdempotencyKeyReused: (422, "Idempotency-Key reused"),
    errors.EconomyInvalid: (422, "Invalid economy"),
    errors.RateLimited: (429, "Rate limited"),
    errors.ConfigurationError: (500, "Configuration error"),
    errors.PaymentsUnavailable: (503, "Payments unavailable"),
    errors.ServiceUnavailable: (503, "Service unavailable"),
    errors.Refusal: (400, "Refused"),
}
# A 422 always names a field; these are about one without saying so themselves.
_FIELDS: Final[Mapping[type[errors.Refusal], str]] = {
    errors.AmountTooLarge: "amount",
    errors.ExceedsRefundable: "amount",
    errors.InvalidCursor: "cursor",
    errors.IdempotencyKeyReused: "Idempotency-Key",
}
_RENAMED: Final = {"status": "hold_status"}  # "status" is the problem's own
_HTTP_CODES: Final = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "BODY_TOO_LARGE"}
_NOT_IN_A_POLICY: Final = re.compile(r"[^a-z0-9_.:-]+")
HOURLY: Final = "hourly"
AWAY: Final = "the database did not take the request: repeat it with the same Idempotency-Key"
_PLACES: Final = {"body", "query", "path", "header"}


def status_of(kind: type[errors.Refusal]) -> tuple[int, str]:
    """A refusal's status and title, looked up along its bases."""
    return next(STATUSES[each] for each in kind.__mro__ if each in STATUSES)


def problem_of(refusal: errors.Refusal, *, request_id: str, base: str) -> dict[str, Any]:
    """A refusal as the members of a problem."""
    status, title = status_of(type(refusal))
    detail = refusal.detail
    if isinstance(refusal, errors.ServiceUnavailable) and refusal.__cause__ is not None:
        detail = AWAY  # what the database said may name hosts and users
    problem = _members(status, refusal.code.upper(), title, detail, request_id, base)
    for name, value in refusal.fields.items():
        shown: object = value
        if name in refusal.amount_fields:
            shown = number_or_none(value)  # type: ignore[arg-type] # amount fields are whole micro-units or None
        elif name in refusal.time_fields:
            shown = moment(value)  # type: ignore[arg-type] # time fields are microseconds or None
        problem[_RENAMED.get(name, name)] = shown
    if status == 422 and "errors" not in problem:  # noqa: PLR2004 - as in the table
        field = next((_FIELDS[each] for each in type(refusal).__mro__ if each in _FIELDS), "body")
        problem["errors"] = [{"field": field, "message": refusal.detail}]
    return problem


def _members(status: int, code: str, title: str, detail: str, request_id: str, base: str) -> dict[str, Any]:
    return {
        "type": f"{base}/docs#{code.lower()}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


def headers_of(refusal: errors.Refusal, now: int) -> dict[str, str]:
    """What a status asks for beside the body. ``now`` is in microseconds."""
    if isinstance(refusal, errors.NotAuthenticated | errors.InvalidCredentials):
        return {"WWW-Authenticate": 'Bearer realm="tallystick"'}
    if isinstance(refusal, errors.ServiceUnavailable):
        return {"Retry-After": str(refusal.fields["retry_after_seconds"])}
    if isinstance(refusal, errors.RateLimited):
        fields = refusal.fields
        wait = int(str(fields["retry_after_seconds"]))
        name = policy_name(str(fields["limit_source"]))
        limits = rate_limit_headers(
            name,
            int(str(fields["limit"])),
            int(str(fields["window_seconds"])),
            int(str(fields["remaining"])),
            wait,
        )
        return {"Retry-After": str(wait), **limits}
    if isinstance(refusal, errors.InsufficientCredits) and isinstance(refusal.fields.get("reset_at"), int):
        # Only here does waiting help: a grant is due. A budget's period is told in the body alone.
        return {"Retry-After": str(seconds_until(int(str(refusal.fields["reset_at"])), now))}
    return {}


def seconds_until(moment_at: int, now: int) -> int:
    """Whole seconds from ``now`` until a moment, at least one."""
    return max(1, -((now - moment_at) // 1_000_000))


def policy_name(source: str) -> str:
    """The name of a limit in the RateLimit headers: a short plain text, whatever the limit is about."""
    if source.startswith("meter:"):
        return HOURLY
    return _NOT_IN_A_POLICY.sub("_", source.lower())[:64]


def rate_limit_headers(
    name: str, limit: int, window_seconds: int, remaining: int, reset_seconds: int
) -> dict[str, str]:
    """The ``RateLimit`` and ``RateLimit-Policy`` fields of the IETF draft."""
    return {
        "RateLimit-Policy": f'"{name}";q={limit};w={window_seconds}',
        "RateLimit": f'"{name}";r={remaining};t={reset_seconds}',
    }


def respond(request: Request, refusal: errors.Refusal) -> Response:
    """A refusal as the answer to a request."""
    state = request.app.state
    state.metrics.refused(refusal.code)
    if isinstance(refusal, errors.ServiceUnavailable):
        log.warning(
            "unavailable",
            request_id=request.state.request_id,
            detail=refusal.detail,
            exc_info=refusal.__cause__,
        )
    body = problem_of(refusal, request_id=request.state.request_id, base=state.base)
    headers = headers_of(refusal, state.tally.context.now())
    return Response(json_bytes(body), body["status"], headers, PROBLEM)


def respond_plainly(
    request: Request,
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem of the door's own: an unknown route, a method that is not there, a mistake of ours."""
    state = request.app.state
    state.metrics.refused(code.lower())
    body = _members(status, code, title, detail, request.state.request_id, state.base)
    return Response(json_bytes(body), status, dict(headers or {}), PROBLEM)


def respond_unforeseen(request: Request) -> Response:
    """What nobody foresaw: nothing of it is shown."""
    detail = "the server made a mistake; the log tells more under this request_id"
    return respond_plainly(request, 500, "INTERNAL_ERROR", "Internal error", detail)


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
