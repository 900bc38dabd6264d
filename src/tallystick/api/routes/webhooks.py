"""Webhooks: where they are sent, what happened, what was sent; and what customers get by e-mail."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import webhooks
from tallystick.api.answers.pages import DeliveryPage, EndpointPage, NotificationPage, page
from tallystick.api.auth import CallerOf
from tallystick.api.models import (
    PAGE,
    CursorQuery,
    CustomerQuery,
    EndpointBody,
    EndpointChange,
    LimitQuery,
    PreferencesBody,
    ReplayBody,
)
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, time_of

routes = router("webhooks")


@routes.post("/webhooks/endpoints", status_code=201, response_model=webhooks.EndpointWithSecret)
def create_endpoint(request: Request, caller: CallerOf, body: EndpointBody) -> Response:
    """Have events sent to an address, signed with a secret that is shown this once."""
    made = services(request).endpoints.create(
        caller, url=body.url, customer=body.customer, types=body.types, description=body.description
    )
    return Json(webhooks.endpoint_with_secret(made), 201)


@routes.get("/webhooks/endpoints", response_model=EndpointPage)
def list_endpoints(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """A customer's endpoints, or the operator's own where a service or an admin names nobody."""
    found = services(request).endpoints.list(caller, customer=customer, limit=limit, cursor=cursor)
    return Json(page("endpoints", found, webhooks.endpoint))


@routes.patch("/webhooks/endpoints/{endpoint_id}", response_model=webhooks.EndpointAnswer)
def update_endpoint(request: Request, caller: CallerOf, endpoint_id: str, body: EndpointChange) -> Response:
    """Change an endpoint's address, types or description; what is not named stays."""
    changed = services(request).endpoints.update(
        caller, endpoint_id, url=body.url, types=body.types, description=body.description
    )
    return Json(webhooks.endpoint(changed))


@routes.delete("/webhooks/endpoints/{endpoint_id}", status_code=204)
def delete_endpoint(request: Request, caller: CallerOf, endpoint_id: str) -> Response:
    """Send nothing there any more, for good."""
    services(request).endpoints.delete(caller, endpoint_id)
    return Response(status_code=204)


@routes.post("/webhooks/endpoints/{endpoint_id}/rotate", response_model=webhooks.EndpointWithSecret)
def rotate_endpoint(request: Request, caller: CallerOf, endpoint_id: str) -> Response:
    """Sign with a new secret, shown this once. The old one signs too for 24 hours."""
    return Json(webhooks.endpoint_with_secret(services(request).endpoints.rotate(caller, endpoint_id)))


@routes.post(
    "/webhooks/endpoints/{endpoint_id}/ping", status_code=201, response_model=webhooks.DeliveryAnswer
)
def ping_endpoint(request: Request, caller: CallerOf, endpoint_id: str) -> Response:
    """Send a test event to this endpoint alone."""
    return Json(webhooks.delivery(services(request).endpoints.ping(caller, endpoint_id)), 201)


@routes.post("/webhooks/endpoints/{endpoint_id}/enable", response_model=webhooks.EndpointAnswer)
def enable_endpoint(request: Request, caller: CallerOf, endpoint_id: str) -> Response:
    """Send to a disabled endpoint again. What it missed is sent by a replay."""
    return Json(webhooks.endpoint(services(request).endpoints.enable(caller, endpoint_id)))


@routes.post("/webhooks/endpoints/{endpoint_id}/replay", response_model=webhooks.ReplayAnswer)
def replay_endpoint(request: Request, caller: CallerOf, endpoint_id: str, body: ReplayBody) -> Response:
    """Send an endpoint again what happened since a moment, or after a number of its customer's; 10,000 events at most."""
    found = services(request).endpoints.replay(
        caller, endpoint_id, since=time_of(body.since, "since"), after_sequence=body.after_sequence
    )
    return Json(webhooks.replay(found))


@routes.get("/webhooks/notifications", response_model=NotificationPage)
def list_notifications(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    event_type: Annotated[
        str | None, Query(alias="type", description="A type of event, or a pattern such as balance.*")
    ] = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """What happened to a customer, newest first, whether anybody was told or not; an operator may name nobody: all of it."""
    found = services(request).notifications.list(
        caller, customer=customer, event_type=event_type, limit=limit, cursor=cursor
    )
    return Json(page("notifications", found, webhooks.notification))


@routes.get("/webhooks/deliveries", response_model=DeliveryPage)
def list_deliveries(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    endpoint: Annotated[str | None, Query(description="Only those to this endpoint: whe_…")] = None,
    status: Annotated[
        Literal["pending", "delivered", "failed", "dropped"] | None, Query(description="What became of it")
    ] = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """What was sent for a customer, by webhook and by e-mail, or to the operator's own endpoints."""
    found = services(request).endpoints.deliveries(
        caller, customer=customer, endpoint=endpoint, status=status, limit=limit, cursor=cursor
    )
    return Json(page("deliveries", found, webhooks.delivery))


@routes.post("/webhooks/deliveries/{delivery_id}/replay", response_model=webhooks.DeliveryAnswer)
def replay_delivery(request: Request, caller: CallerOf, delivery_id: str) -> Response:
    """Send one delivery again, whatever came of it before."""
    return Json(webhooks.delivery(services(request).endpoints.replay_delivery(caller, delivery_id)))


@routes.get("/notifications/preferences", response_model=webhooks.PreferencesAnswer)
def get_preferences(request: Request, caller: CallerOf, *, customer: CustomerQuery = None) -> Response:
    """What a customer gets by e-mail."""
    return Json(webhooks.preferences(services(request).notifications.preferences(caller, customer=customer)))


@routes.put("/notifications/preferences", response_model=webhooks.PreferencesAnswer)
def set_preferences(request: Request, caller: CallerOf, body: PreferencesBody) -> Response:
    """Turn e-mail on or off, or choose its types."""
    found = services(request).notifications.set_preferences(
        caller, customer=body.customer, email=body.email, types=body.types
    )
    return Json(webhooks.preferences(found))
