"""Balances, statements, usage, and the plan."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import billing, billing_plans
from tallystick.api.answers.pages import Transactions, page
from tallystick.api.auth import CallerOf
from tallystick.api.models import (
    PAGE,
    CursorQuery,
    CustomerQuery,
    IdempotencyKey,
    LimitQuery,
    PortalBody,
    TierBody,
    UnitQuery,
)
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, time_of, written

routes = router("billing")

TypeQuery = Annotated[
    str | None, Query(alias="type", description="One entry type, such as usage or monthly_grant")
]
FromQuery = Annotated[
    str | None, Query(alias="from", description="The first moment", json_schema_extra={"format": "date-time"})
]
ToQuery = Annotated[
    str | None,
    Query(alias="to", description="The moment before which", json_schema_extra={"format": "date-time"}),
]
PeriodQuery = Annotated[Literal["7d", "30d", "90d"], Query(description="How many days")]


@routes.get("/billing/balance", response_model=billing.BalanceAnswer)
def get_balance(
    request: Request, caller: CallerOf, customer: CustomerQuery = None, unit: UnitQuery = None
) -> Response:
    """What a wallet holds now, and in which grants."""
    return Json(billing.balance(services(request).billing.balance(caller, customer=customer, unit=unit)))


@routes.get("/billing/transactions", response_model=Transactions)
def list_transactions(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    unit: UnitQuery = None,
    entry_type: TypeQuery = None,
    start: FromQuery = None,
    end: ToQuery = None,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """A wallet's statement, newest first: each line with its amount and the balance after it."""
    found = services(request).billing.transactions(
        caller,
        customer=customer,
        unit=unit,
        type=entry_type,
        start=time_of(start, "from"),
        end=time_of(end, "to"),
        limit=limit,
        cursor=cursor,
    )
    return Json(page("transactions", found, billing.entry))


@routes.get("/billing/usage", response_model=billing.UsageAnswer)
def get_usage(
    request: Request,
    caller: CallerOf,
    customer: CustomerQuery = None,
    unit: UnitQuery = None,
    period: PeriodQuery = "30d",
) -> Response:
    """What was spent and earned on each of the last days (UTC), by meter."""
    found = services(request).billing.usage(caller, customer=customer, unit=unit, period=period)
    return Json(billing.usage(found))


@routes.post("/billing/tier", response_model=billing_plans.TierAnswer | billing_plans.PaidFirstAnswer)
def change_tier(
    request: Request, caller: CallerOf, body: TierBody, *, key: IdempotencyKey = None
) -> Response:
    """Put a customer on a plan, now or when what is paid ends; or say where it is paid first.

    Services and admins set it directly. Without a key, a repeat changes nothing either.
    """
    tally = services(request)
    answer = tally.subscriptions.change(caller, customer=body.customer, tier=body.tier, idempotency_key=key)
    return written(request, answer, billing_plans.tier(answer.value, tally.context.economy()), status=200)


@routes.get("/billing/subscription", response_model=billing_plans.SubscriptionAnswer)
def get_subscription(request: Request, caller: CallerOf, customer: CustomerQuery = None) -> Response:
    """How a customer's monthly plan is paid, until when, and what follows."""
    found = services(request).subscriptions.get(caller, customer=customer)
    return Json(billing_plans.subscription(found))


@routes.delete("/billing/subscription", response_model=billing_plans.SubscriptionAnswer)
def cancel_subscription(request: Request, caller: CallerOf, customer: CustomerQuery = None) -> Response:
    """End a monthly plan with the period that is paid. A repeat changes nothing."""
    found = services(request).subscriptions.cancel(caller, customer=customer)
    return Json(billing_plans.subscription(found))


@routes.post("/billing/portal", response_model=billing_plans.PortalAnswer)
def open_portal(request: Request, caller: CallerOf, body: PortalBody) -> Response:
    """The address of the payment provider's page where a customer sees bills and changes the card."""
    return Json({"url": services(request).subscriptions.portal(caller, customer=body.customer)})
