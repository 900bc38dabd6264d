"""What every route needs: the services, a router, and answers to writes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.reading import Route
from tallystick.api.rendering import Json
from tallystick.bootstrap import Tally
from tallystick.core.operations import Limit
from tallystick.core.times import HOUR, SECOND, parse_rfc3339
from tallystick.problem_details import HOURLY, rate_limit_headers, seconds_until
from tallystick.services.context import Answer


def router(tag: str) -> APIRouter:
    """A router whose routes ask who is there and read bodies exactly."""
    return APIRouter(prefix="/api/v1", tags=[tag], route_class=Route, strict_content_type=False)


def services(request: Request) -> Tally:
    """The services of this process."""
    tally: Tally = request.app.state.tally
    return tally


def written(
    request: Request, answer: Answer[Any], content: object, *, status: int = 201, limit: Limit | None = None
) -> Response:
    """The answer to a write. A repeat gives the first status and body, and says that it is one."""
    headers: dict[str, str] = {}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    if limit is not None:
        left = max(limit.remaining, 0)
        wait = seconds_until(limit.reset_at, services(request).context.now())
        headers |= rate_limit_headers(HOURLY, limit.limit, HOUR // SECOND, left, wait)
    return Json(content, status, headers)


def time_of(text: str | None, field: str) -> int | None:
    """A time as it was sent, in microseconds. Raises ``ValidationFailed`` naming the field."""
    return None if text is None else parse_rfc3339(text, field=field)
