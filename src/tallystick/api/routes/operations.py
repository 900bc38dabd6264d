"""For whoever runs the server: is it alive, is it ready, and how is it doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.rendering import Json
from tallystick.api.routes.shared import services

routes = APIRouter(tags=["operations"])


@dataclass(slots=True)
class Health:
    """The process is alive."""

    status: Literal["ok"]


@dataclass(slots=True)
class Readiness:
    """Whether requests should be sent here, and what each check found."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str]


@routes.get("/healthz", response_model=Health)
async def get_health() -> Response:
    """Liveness: the process answers."""
    return Json(Health("ok"))


@routes.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
def get_readiness(request: Request) -> Response:
    """Readiness: the database answers, its schema is current, and the server is not shutting down."""
    checks = services(request).health.check()
    if request.app.state.closing:
        checks["server"] = "shutting down"
    ready = all(found == "ok" for found in checks.values())
    return Json(Readiness("ready" if ready else "not ready", checks), 200 if ready else 503)


@routes.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics(request: Request) -> Response:
    """Figures in Prometheus' text form."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
