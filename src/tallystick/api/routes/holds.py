"""Holds: reserve now, take the actual amount later, give the rest back."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Body, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import spending
from tallystick.api.answers.pages import HoldPage, page
from tallystick.api.auth import CallerOf
from tallystick.api.models import (
    PAGE,
    CaptureBody,
    CursorQuery,
    CustomerQuery,
    HoldBody,
    IdempotencyKey,
    LimitQuery,
)
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, written

routes = router("holds")

StatusQuery = Annotated[Literal["open", "captured", "released", "expired"] | None, Query()]


@routes.post("/holds", status_code=201, response_model=spending.HoldAnswer)
async def create_hold(
    request: Request, caller: CallerOf, body: HoldBody, *, key: IdempotencyKey = None
) -> Response:
    """Reserve the price of a usage, or an amount, until ``expires_in`` seconds from now."""
    holds, usage = services(request).holds, body.usage()
    if usage is None:
        answer = await run_in_threadpool(
            holds.create_amount,
            caller,
            amount=body.amount or 0,
            unit=body.unit,
            customer=body.customer,
            agent=body.agent,
            description=body.description,
            metadata=body.metadata,
            idempotency_key=key,
            expires_in=body.expires_in,
        )
    else:
        answer = await holds.create_async(caller, usage, idempotency_key=key, expires_in=body.expires_in)
    return written(request, answer, spending.hold(answer.value), limit=answer.value.limit)


@routes.post("/holds/{hold_id}/capture", response_model=spending.ResolveAnswer)
async def capture_hold(
    request: Request,
    caller: CallerOf,
    hold_id: str,
    *,
    body: Annotated[CaptureBody, Body()] = CaptureBody(),  # noqa: B008 - pydantic's models are never shared
    key: IdempotencyKey = None,
) -> Response:
    """Take what was used, and release the rest. More than was held is drawn like a charge, all of it or nothing."""
    answer = await services(request).holds.capture_async(
        caller, hold_id, amount=body.amount, quantity=body.quantity, idempotency_key=key
    )
    if not answer.replayed:
        request.app.state.metrics.captured()
    return written(request, answer, spending.resolved(answer.value), status=200)


@routes.post("/holds/{hold_id}/release", response_model=spending.ResolveAnswer)
async def release_hold(
    request: Request, caller: CallerOf, hold_id: str, *, key: IdempotencyKey = None
) -> Response:
    """Give everything back."""
    answer = await services(request).holds.release_async(caller, hold_id, idempotency_key=key)
    return written(request, answer, spending.resolved(answer.value), status=200)


@routes.get("/holds", response_model=HoldPage)
def list_holds(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    status: StatusQuery = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """A customer's holds, newest first."""
    found = services(request).holds_view.list(
        caller, customer=customer, status=status, limit=limit, cursor=cursor
    )
    return Json(page("holds", found, spending.hold_line))


@routes.get("/holds/{hold_id}", response_model=spending.HoldDetail)
def get_hold(request: Request, caller: CallerOf, hold_id: str) -> Response:
    """A hold as it is now, with the receipt of its charge once it was captured."""
    return Json(spending.hold_detail(services(request).holds_view.get(caller, hold_id)))
