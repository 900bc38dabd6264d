"""Where a payment page leads back to: what really came of the payment. The address proves nothing; the provider is asked."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.decimals import format_amount
from tallystick.core.ids import to_text
from tallystick.services.checkouts import status_of
from tallystick.store.payments import PaymentRow
from tallystick.web.frame import frame, page, plain, tally_of

routes = APIRouter(prefix="/billing", include_in_schema=False)

_AGAIN_SECONDS: Final = 5
_ON_ITS_WAY: Final = (
    "The bank takes its time with this payment. The credits come when the money does; this page looks again."
)
_SENTENCES: Final = {
    "pending": ("Not paid yet", "Nothing was paid and nothing was added. The page to pay on is still open."),
    "processing": ("On its way", _ON_ITS_WAY),
    "failed": ("Not paid", "The payment failed, so nothing was added."),
    "expired": ("Not paid", "The page to pay on has expired, and nothing was paid on it."),
    "mismatch": (
        "Being looked at",
        "What was paid is not what was ordered, so nothing was added yet. The operator has been told.",
    ),
    "partially_refunded": ("Partly refunded", "A part of this payment went back, and its credits with it."),
    "refunded": ("Refunded", "This payment went back, and its credits with it."),
    "disputed": (
        "Disputed",
        "The bank has asked for this payment back; until that is decided its credits are gone.",
    ),
    "charged_back": ("Charged back", "The bank took this payment back, and its credits went with it."),
}


@routes.get("/success")
def get_success(request: Request, payment: str | None = None, token: str = "") -> Response:
    """After paying, after beginning a plan, or after saving a card."""
    if payment is None:
        return plain(
            request,
            "Thank you",
            "The plan that you paid for, or the card that you saved, is there as soon as the payment provider says so. "
            "This address alone proves neither: look at your plan or your automatic refills.",
        )
    return _told(request, payment, token)


@routes.get("/cancel")
def get_cancel(request: Request, payment: str | None = None, token: str = "") -> Response:
    """After turning back."""
    if payment is None:
        return plain(request, "You turned back", "No plan was begun and no card was saved here.")
    return _told(request, payment, token)


def _told(request: Request, payment: str, token: str) -> Response:
    tally = tally_of(request)
    try:
        row = tally.checkouts.look(payment, token)
    except errors.NotFound:
        sentence = (
            "There is no such payment, or this address is not complete. Nothing was added because of it."
        )
        return plain(request, "No such payment", sentence, status=404)
    except (errors.PaymentsUnavailable, errors.ServiceUnavailable):
        sentence = "The payment provider does not answer just now. What was paid is added when it does."
        return plain(request, "One moment", sentence, status=503, again_seconds=_AGAIN_SECONDS)
    status = status_of(row)
    heading, sentence = _SENTENCES.get(status, ("Paid", _paid(row)))
    return page(
        "billing/payment.html",
        heading=heading,
        sentence=f"{sentence} {row.failure_text or ''}".strip() if status == "failed" else sentence,
        payment=row,
        number=to_text("pay", row.id),
        pay_url=row.url if status == "pending" else None,
        receipt_url=row.receipt_url if row.status == "paid" else None,
        **frame(request, again_seconds=_AGAIN_SECONDS if status == "processing" else None),
    )


def _paid(row: PaymentRow) -> str:
    return f"{format_amount(row.credits)} {row.unit} were added."
