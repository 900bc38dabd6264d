"""Balances, statements, usage, and the plan."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import billing, grants
from tallystick.api.answers.pages import Transactions, page
from tallystick.api.auth import CallerOf
from tallystick.api.models import (
    PAGE,
    CursorQuery,
    CustomerQuery,
    IdempotencyKey,
    LimitQuery,
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


@routes.post("/billing/tier", response_model=grants.TierAnswer)
def change_tier(
    request: Request, caller: CallerOf, body: TierBody, *, key: IdempotencyKey = None
) -> Response:
    """Put a customer on a plan now. For services and admins; without a key, a repeat changes nothing either."""
    tally = services(request)
    answer = tally.plans.change(caller, customer=body.customer, plan=body.tier, idempotency_key=key)
    return written(request, answer, grants.tier(answer.value, tally.context.economy()), status=200)
