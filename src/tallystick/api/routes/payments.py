"""Buying credits, what was paid, automatic refills, and what the payment provider tells us."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import payments
from tallystick.api.answers.pages import page
from tallystick.api.auth import CallerOf
from tallystick.api.models import PAGE, CursorQuery, CustomerQuery, IdempotencyKey, LimitQuery
from tallystick.api.payment_models import (
    AutoRefillBody,
    CardBody,
    CheckoutBody,
    PaymentRefundBody,
    ReconcileBody,
)
from tallystick.api.reading import Route
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, time_of, written

routes = router("payments")
dashboard = APIRouter(
    prefix="/api/dashboard", tags=["payments"], route_class=Route, strict_content_type=False
)

EverybodyQuery = Annotated[
    bool, Query(alias="all", description="The payments of all customers; for services and admins")
]


@dashboard.post("/billing/checkout", status_code=201, response_model=payments.CheckoutAnswer)
@routes.post("/billing/checkout", status_code=201, response_model=payments.CheckoutAnswer)
def create_checkout(
    request: Request, caller: CallerOf, body: CheckoutBody, *, key: IdempotencyKey = None
) -> Response:
    """A page on which credits are bought. Without a key each request makes a page of its own; paying one is what counts."""
    answer = services(request).checkouts.create(
        caller, customer=body.customer, package=body.package, amount=body.amount, idempotency_key=key
    )
    return written(request, answer, payments.checkout(answer.value))


@routes.post("/billing/webhook", response_model=payments.ReceivedAnswer)
async def receive_event(request: Request) -> Response:
    """An event of the payment provider, signed by it. Answered only when its effect is committed."""
    body = await request.body()
    signature = request.headers.get("stripe-signature")
    outcome = await run_in_threadpool(services(request).provider_events.receive, body, signature)
    return Json(payments.ReceivedAnswer(received=True, outcome=outcome))


@routes.get("/billing/payments", response_model=payments.PaymentPage)
def list_payments(
    request: Request,
    caller: CallerOf,
    *,
    customer: CustomerQuery = None,
    everybody: EverybodyQuery = False,
    limit: LimitQuery = PAGE,
    cursor: CursorQuery = None,
) -> Response:
    """What was paid, newest first, with what became of it."""
    found = services(request).checkouts.list(
        caller, customer=customer, everybody=everybody, limit=limit, cursor=cursor
    )
    return Json(page("payments", found, payments.payment))


@routes.get("/billing/payments/{payment_id}", response_model=payments.PaymentDetail)
def get_payment(request: Request, caller: CallerOf, payment_id: str) -> Response:
    """One payment with its refunds, its disputes and the provider's own ids."""
    row, refunds, disputes = services(request).checkouts.detail(caller, payment_id)
    return Json(payments.payment_detail(row, refunds, disputes))


@routes.post(
    "/billing/payments/{payment_id}/refund", status_code=201, response_model=payments.PaymentRefundAnswer
)
def refund_payment(
    request: Request,
    caller: CallerOf,
    payment_id: str,
    body: PaymentRefundBody,
    *,
    key: IdempotencyKey = None,
) -> Response:
    """Give money back, and take its credits pro rata; what was spent of them is owed. For admins."""
    answer = services(request).payment_refunds.create(
        caller, payment_id, amount=body.amount, reason=body.reason, idempotency_key=key
    )
    return written(request, answer, payments.payment_refund(answer.value))


@routes.get("/billing/auto-refill", response_model=payments.AutoRefillAnswer)
def get_auto_refill(request: Request, caller: CallerOf, customer: CustomerQuery = None) -> Response:
    """How a customer's automatic refills are set, and why they are paused if they are."""
    return Json(payments.auto_refill(services(request).refills.get(caller, customer=customer)))


@routes.put("/billing/auto-refill", response_model=payments.AutoRefillAnswer)
def set_auto_refill(request: Request, caller: CallerOf, body: AutoRefillBody) -> Response:
    """Turn automatic refills on or off. On ends a pause; without a saved card the answer says where to save one."""
    view = services(request).refills.configure(
        caller,
        customer=body.customer,
        enabled=body.enabled,
        threshold=body.threshold,
        amount=body.amount,
    )
    return Json(payments.auto_refill(view))


@routes.post("/billing/card", status_code=201, response_model=payments.UrlAnswer)
def save_card(request: Request, caller: CallerOf, body: CardBody) -> Response:
    """A page on which a card is saved for automatic refills."""
    return Json(payments.UrlAnswer(services(request).refills.save_card(caller, customer=body.customer)), 201)


@routes.get("/billing/disputes", response_model=payments.DisputeList)
def list_disputes(request: Request, caller: CallerOf) -> Response:
    """Open disputes, those that must be answered soonest first. For admins."""
    found = services(request).checkouts.open_disputes(caller)
    return Json(payments.DisputeList([payments.dispute(each) for each in found]))


@routes.post("/billing/reconcile", response_model=payments.ReconciliationAnswer)
def reconcile(request: Request, caller: CallerOf, body: ReconcileBody) -> Response:
    """Catch up on events that never came, and say in what our books and the provider's differ. For admins."""
    found = services(request).reconciler.reconcile(caller, since=time_of(body.since, "since"))
    return Json(payments.reconciliation(found))
