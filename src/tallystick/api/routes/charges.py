"""Charges, batches of them, refunds, quotes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import explain, spending
from tallystick.api.answers.batch import BatchAnswer
from tallystick.api.auth import CallerOf
from tallystick.api.models import BatchBody, IdempotencyKey, QuoteBody, RefundBody, UsageBody, read_item
from tallystick.api.problems import problem_of, refusal_of_validation
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services, written
from tallystick.core import errors
from tallystick.core.operations import ChargeResult
from tallystick.problem_details import status_of
from tallystick.services.context import Answer
from tallystick.services.pricing import Usage

routes = router("charges")


@routes.post("/charges", status_code=201, response_model=spending.ChargeAnswer)
async def create_charge(
    request: Request, caller: CallerOf, body: UsageBody, *, key: IdempotencyKey = None
) -> Response:
    """Price a usage and draw the credits now."""
    answer = await services(request).charges.create_async(caller, body.usage(), idempotency_key=key)
    if not answer.replayed:
        request.app.state.metrics.charged(answer.value.meter)
    return written(request, answer, spending.charge(answer.value), limit=answer.value.limit)


@routes.post("/charges/batch", response_model=BatchAnswer)
async def create_charges(request: Request, caller: CallerOf, body: BatchBody) -> Response:
    """Make up to 1,000 charges, each with its own key and its own outcome, answered in order."""
    # A thousand charges take a while to read and to write: meanwhile the loop serves others.
    usages = await run_in_threadpool(lambda: [_usage_of(item) for item in body.charges])
    answers = await services(request).charges.create_batch(caller, usages)
    return await run_in_threadpool(
        lambda: Json({"results": [_result(request, answer) for answer in answers]})
    )


@routes.get("/charges/{charge_id}", response_model=explain.ChargeDetail)
def get_charge(request: Request, caller: CallerOf, charge_id: str) -> Response:
    """Show a charge or a capture with its working: prices, grants, limits, budgets and balances."""
    return Json(explain.charge(services(request).explain.charge(caller, charge_id)))


@routes.post("/charges/{charge_id}/refund", status_code=201, response_model=spending.RefundAnswer)
def refund_charge(
    request: Request,
    caller: CallerOf,
    charge_id: str,
    *,
    body: Annotated[RefundBody, Body()] = RefundBody(),  # noqa: B008 - pydantic's models are never shared
    key: IdempotencyKey = None,
) -> Response:
    """Give a charge back, whole or in part, to the grants that paid it. For services and admins."""
    answer = services(request).charges.refund(
        caller, charge_id, amount=body.amount, unit=body.unit, reason=body.reason, idempotency_key=key
    )
    return written(request, answer, spending.refund(answer.value))


@routes.post("/quotes", response_model=spending.QuoteAnswer)
def create_quote(request: Request, caller: CallerOf, body: QuoteBody) -> Response:
    """Say what a usage would cost now, and whether it would be refused. Nothing is drawn or counted."""
    return Json(spending.quote(services(request).charges.quote(caller, body.usage())))


def _usage_of(item: object) -> tuple[Usage, str | None] | errors.Refusal:
    """One charge of a batch; one that cannot be read is refused alone."""
    try:
        read = read_item(item)
    except ValidationError as error:
        return refusal_of_validation(list(error.errors()))
    return read.usage(), read.idempotency_key


def _result(request: Request, answer: Answer[ChargeResult] | errors.Refusal) -> dict[str, Any]:
    state = request.app.state
    if isinstance(answer, errors.Refusal):
        state.metrics.refused(answer.code)
        problem = problem_of(answer, request_id=request.state.request_id, base=state.base)
        return {"status": status_of(type(answer))[0], "error": problem}
    if not answer.replayed:
        state.metrics.charged(answer.value.meter)
    return {"status": 201, "charge": spending.charge(answer.value)}
