"""Controls of simulated payments, for admins in test mode: what a bank or the provider's own pages would do to real ones."""

from __future__ import annotations

from typing import Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from tallystick.api.answers.simulated import SimulatedPaymentAnswer, simulated_payment
from tallystick.api.auth import CallerOf
from tallystick.api.models import SimulateBody
from tallystick.api.rendering import Json
from tallystick.api.routes.shared import router, services

routes = router("test")

Action: TypeAlias = Literal[
    "dispute", "inquiry", "win", "lose", "refund", "fail-refund", "settle", "fail", "detach-card"
]


@routes.post("/test/payments/{payment}/{action}", response_model=SimulatedPaymentAnswer)
def simulate(
    request: Request, caller: CallerOf, payment: str, action: Action, body: SimulateBody | None = None
) -> Response:
    """Do by hand to a simulated payment what a bank would: dispute, win, refund, settle. For admins, in test mode only."""
    amount = None if body is None else body.amount
    controls = services(request).simulated_controls
    return Json(simulated_payment(controls.act(caller, payment, action, amount=amount)))
