"""Customers of an operator who has users of their own, their frozen wallets, and budgets."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Query
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import explain, grants, identity
from tallystick.api.answers.pages import BudgetList
from tallystick.api.auth import CallerOf
from tallystick.api.models import BudgetBody, CustomerBody, CustomerQuery, FreezeBody
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, time_of

customers = router("customers")
budgets = router("budgets")

AtQuery = Annotated[
    str | None,
    Query(
        description="A moment that has passed; now where none is named",
        json_schema_extra={"format": "date-time"},
    ),
]
KeyQuery = Annotated[str | None, Query(description="Only the budgets of this key")]


@customers.post("/customers", status_code=201, response_model=identity.CustomerAnswer)
def create_customer(request: Request, caller: CallerOf, body: CustomerBody) -> Response:
    """Create a customer by an id of your own. A repeat gives the same customer."""
    answer = services(request).customers.create(
        caller, external_id=body.external_id, email=body.email, metadata=body.metadata
    )
    return Json(identity.customer(answer.value), 201)


@customers.get("/customers/{customer}", response_model=identity.CustomerAnswer)
def get_customer(request: Request, caller: CallerOf, customer: str) -> Response:
    """A customer by its id or external_id."""
    return Json(identity.customer(services(request).customers.get(caller, customer)))


@customers.get("/customers/{customer}/explain", response_model=explain.CustomerAsOfAnswer)
def explain_customer(request: Request, caller: CallerOf, customer: str, at: AtQuery = None) -> Response:
    """Each wallet as of a moment, worked out anew from its transfers, with the grants behind it. For admins."""
    found = services(request).explain.customer(caller, customer, time_of(at, "at"))
    return Json(explain.customer(found))


@customers.post("/customers/{customer}/freeze", response_model=grants.FreezeAnswer)
def freeze_wallet(
    request: Request,
    caller: CallerOf,
    customer: str,
    body: Annotated[FreezeBody, Body()] = FreezeBody(),  # noqa: B008 - pydantic's models are never shared
) -> Response:
    """Let nothing be drawn from a wallet, and nothing in it expire, until it is thawed."""
    result = services(request).wallets.freeze(caller, customer=customer, unit=body.unit, reason=body.reason)
    return Json(grants.freeze(result))


@customers.post("/customers/{customer}/thaw", response_model=grants.FreezeAnswer)
def thaw_wallet(
    request: Request,
    caller: CallerOf,
    customer: str,
    body: Annotated[FreezeBody, Body()] = FreezeBody(),  # noqa: B008 - pydantic's models are never shared
) -> Response:
    """Let a wallet be drawn from again; what would have expired meanwhile lives on for the time that was lost."""
    result = services(request).wallets.thaw(caller, customer=customer, unit=body.unit, reason=body.reason)
    return Json(grants.freeze(result))


@budgets.put("/budgets", response_model=identity.BudgetAnswer)
def put_budget(request: Request, caller: CallerOf, body: BudgetBody) -> Response:
    """Set a budget of a customer, an agent or a key, or change its amount."""
    info = services(request).budgets.put(
        caller,
        level=body.level,
        subject=body.subject,
        customer=body.customer,
        unit=body.unit,
        amount=body.amount,
        per=body.per,
    )
    return Json(identity.budget(info))


@budgets.get("/budgets", response_model=BudgetList)
def list_budgets(
    request: Request, caller: CallerOf, customer: CustomerQuery = None, key: KeyQuery = None
) -> Response:
    """The budgets of a customer, its agents and its keys, with what this period has spent."""
    found = services(request).budgets.list(caller, customer=customer, key=key)
    return Json({"budgets": [identity.budget(info) for info in found]})


@budgets.delete("/budgets/{budget_id}", status_code=204)
def remove_budget(request: Request, caller: CallerOf, budget_id: str) -> Response:
    """Lift a budget."""
    services(request).budgets.remove_by_id(caller, budget_id)
    return Response(status_code=204)
