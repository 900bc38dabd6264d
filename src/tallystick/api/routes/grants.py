"""Grants: give credits, take them back. For services and admins; a customer reads its own."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import grants
from tallystick.api.answers.pages import GrantPage, page
from tallystick.api.auth import CallerOf
from tallystick.api.models import (
    PAGE,
    ClawbackBody,
    CursorQuery,
    CustomerQuery,
    GrantBody,
    IdempotencyKey,
    LimitQuery,
    ReasonBody,
    ReferralBody,
    RewardBody,
    UnitQuery,
)
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, time_of, written
from tallystick.services.context import Answer

routes = router("grants")


@routes.post("/grants", status_code=201, response_model=grants.GrantAnswer)
def create_grant(
    request: Request, caller: CallerOf, body: GrantBody, *, key: IdempotencyKey = None
) -> Response:
    """Give a customer credits with terms of their own, now or from ``effective_at`` on."""
    answer = services(request).grants.create(
        caller,
        customer=body.customer,
        amount=body.amount,
        category=body.category,
        unit=body.unit,
        origin=body.origin,
        expires_at=time_of(body.expires_at, "expires_at"),
        effective_at=time_of(body.effective_at, "effective_at"),
        priority=body.priority,
        reason=body.reason,
        reference=body.reference,
        idempotency_key=key,
    )
    return written(request, answer, grants.grant(answer.value))


@routes.get("/grants", response_model=GrantPage)
def list_grants(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    unit: UnitQuery = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """A customer's grants, newest first: scheduled, open, used up, expired and voided ones."""
    found = services(request).grants.list(caller, customer=customer, unit=unit, limit=limit, cursor=cursor)
    return Json(page("grants", found, grants.grant_line))


@routes.post("/grants/{grant_id}/void", response_model=grants.GrantAnswer)
def void_grant(
    request: Request,
    caller: CallerOf,
    grant_id: str,
    *,
    body: Annotated[ReasonBody, Body()] = ReasonBody(),  # noqa: B008 - pydantic's models are never shared
    key: IdempotencyKey = None,
) -> Response:
    """Take back what is left of a grant made by mistake."""
    answer = services(request).grants.void(caller, grant_id, reason=body.reason, idempotency_key=key)
    return written(request, answer, grants.grant(answer.value), status=200)


@routes.post("/grants/{grant_id}/clawback", status_code=201, response_model=grants.ClawbackAnswer)
def claw_back_grant(
    request: Request, caller: CallerOf, grant_id: str, body: ClawbackBody, *, key: IdempotencyKey = None
) -> Response:
    """Take credits back after their payment was refunded or disputed; what was spent already becomes debt."""
    answer = services(request).grants.claw_back(
        caller, grant_id, amount=body.amount, reason=body.reason, idempotency_key=key
    )
    return written(request, answer, grants.clawback(answer.value))


@routes.post("/rewards", status_code=201, response_model=grants.GrantAnswer)
def create_reward(request: Request, caller: CallerOf, body: RewardBody) -> Response:
    """Reward a fact within the economy's range for its source, once. For services and admins."""
    answer = services(request).rewards.award(
        caller,
        customer=body.customer,
        source=body.source,
        fact=body.fact,
        amount=body.amount,
        difficulty=body.difficulty,
        reason=body.reason,
    )
    return written(request, answer, grants.grant(answer.value))


@routes.post("/referrals", status_code=201, response_model=grants.ReferralAnswer)
def create_referral(request: Request, caller: CallerOf, body: ReferralBody) -> Response:
    """Reward that one customer brought another, once for each who came. For services and admins."""
    found = services(request).rewards.refer(caller, referrer=body.referrer, referred=body.referred)
    sides = [each for each in (found.referrer, found.referred) if each is not None]
    answer = Answer(found, replayed=bool(sides) and all(each.replayed for each in sides))
    return written(request, answer, grants.referral(found))
