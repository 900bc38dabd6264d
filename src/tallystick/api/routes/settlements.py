"""Settlements: what one customer owes another for work, less the platform's fee."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers import settlements
from tallystick.api.auth import CallerOf
from tallystick.api.models import IdempotencyKey, SettlementBody
from tallystick.api.routes.shared import router, services, written

routes = router("settlements")


@routes.post("/settlements", status_code=201, response_model=settlements.SettlementAnswer)
def create_settlement(
    request: Request, caller: CallerOf, body: SettlementBody, key: IdempotencyKey = None
) -> Response:
    """Pay a price from one customer to another; the economy's task fee is taken from what the other gets."""
    answer = services(request).settlements.create(
        caller,
        payer=body.payer,
        payee=body.to,
        price=body.price,
        unit=body.unit,
        description=body.description,
        idempotency_key=key,
    )
    return written(request, answer, settlements.settlement(answer.value))
