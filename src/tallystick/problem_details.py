"""Refusals as RFC 9457 problems: one table from each class to its status and title, and one way to say them.

``code`` is the refusal's own in upper case; times are RFC 3339. What wrote the answer decides how amounts are shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from tallystick.core import errors
from tallystick.core.refusal_facts import facts_of

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
    errors.PlanLimitReached: (403, "Plan limit reached"),
    errors.NotFound: (404, "Not found"),
    errors.UnknownMeter: (404, "Unknown meter"),
    errors.UnknownUnit: (404, "Unknown unit"),
    errors.UnknownPlan: (404, "Unknown plan"),
    errors.UnknownPack: (404, "Unknown pack"),
    errors.UnknownCustomer: (404, "Unknown customer"),
    errors.Conflict: (409, "Conflict"),
    errors.HoldNotOpen: (409, "Hold not open"),
    errors.TaskNotReady: (409, "Task not ready"),
    errors.DisputeWindowClosed: (409, "Dispute window closed"),
    errors.AgentPaused: (409, "Agent paused"),
    errors.SandboxNotRunning: (409, "Sandbox not running"),
    errors.SandboxElsewhere: (409, "Sandbox on another machine"),
    errors.PriceAboveMaximum: (409, "Price above maximum"),
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
    errors.SandboxesUnavailable: (503, "Sandboxes unavailable"),
    errors.SandboxFailed: (503, "Sandbox failed"),
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
_NOT_IN_A_POLICY: Final = re.compile(r"[^a-z0-9_.:-]+")
HOURLY: Final = "hourly"
AWAY: Final = "the database did not take the request: repeat it with the same Idempotency-Key"


def status_of(kind: type[errors.Refusal]) -> tuple[int, str]:
    """A refusal's status and title, looked up along its bases."""
    return next(STATUSES[each] for each in kind.__mro__ if each in STATUSES)


def document_of(
    refusal: errors.Refusal, show: Callable[[int], object], *, base: str, request_id: str | None = None
) -> dict[str, Any]:
    """A refusal as the members of a problem, its amounts as ``show`` makes them of micro-units."""
    status, title = status_of(type(refusal))
    detail = refusal.detail
    if isinstance(refusal, errors.ServiceUnavailable) and refusal.__cause__ is not None:
        detail = AWAY  # what the database said may name hosts and users
    problem = members(status, refusal.code.upper(), title, detail, base=base, request_id=request_id)
    problem |= {_RENAMED.get(name, name): shown for name, shown in facts_of(refusal, show).items()}
    if status == 422 and "errors" not in problem:  # noqa: PLR2004 - as in the table
        field = next((_FIELDS[each] for each in type(refusal).__mro__ if each in _FIELDS), "body")
        problem["errors"] = [{"field": field, "message": refusal.detail}]
    return problem


def members(
    status: int, code: str, title: str, detail: str, *, base: str, request_id: str | None
) -> dict[str, Any]:
    """The members that every problem has; one that no request of ours led to has no ``request_id``."""
    found = {
        "type": f"{base}/docs#{code.lower()}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return found if request_id is None else {**found, "request_id": request_id}


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
