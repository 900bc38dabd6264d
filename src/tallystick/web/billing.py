"""Where a payment page leads back to: what really came of the payment. The address proves nothing; the provider is asked."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tallystick.core import errors
from tallystick.core.decimals import format_units, were
from tallystick.core.ids import to_text
from tallystick.services.checkouts import status_of
from tallystick.services.subscriptions import SubscriptionView
from tallystick.store.payments import PaymentRow
from tallystick.web.buying import Banner, overview
from tallystick.web.dashboard import looked
from tallystick.web.frame import day, frame, money, page, plain, tally_of
from tallystick.web.signing_in import SignedIn, signed_in

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
    "partially_refunded": ("Partly refunded", "{back} of this payment went back, and its credits with it."),
    "refunded": ("Refunded", "This payment went back, and its credits with it."),
    "disputed": (
        "Disputed",
        "The bank has asked for this payment back; until that is decided its credits are gone.",
    ),
    "charged_back": ("Charged back", "The bank took this payment back, and its credits went with it."),
}


_GOOD: Final = "succeeded"
_BAD: Final = frozenset({"failed", "expired", "mismatch", "charged_back"})


@routes.get("/success")
def get_success(request: Request, payment: str | None = None, token: str = "") -> Response:
    """After paying, after beginning a plan, or after saving a card."""
    return _plan_and_card(request, "/billing/success") if payment is None else _told(request, payment, token)


@routes.get("/cancel")
def get_cancel(request: Request, payment: str | None = None, token: str = "") -> Response:
    """After turning back."""
    return _plan_and_card(request, "/billing/cancel") if payment is None else _told(request, payment, token)


def _plan_and_card(request: Request, path: str) -> Response:
    """What whoever has signed in has of a plan and a card: an address without a payment proves neither."""
    return looked(request, path, _standing)


def _standing(request: Request, who: SignedIn) -> Response:
    tally = tally_of(request)
    subscription = tally.subscriptions.get(who.caller)
    sentences = [_of_plan(subscription)]
    if tally.context.economy().auto_refill is not None:
        card = tally.refills.get(who.caller).card
        sentences.append(
            "No card is saved for automatic refills."
            if card is None
            else f"The card that is charged for refills is {card.brand} •••• {card.last4}."
        )
    links = [("/billing/plan", "Your plan"), ("/billing/refills", "Your automatic refills")]
    if subscription.checkout_url is not None:
        links.insert(0, (subscription.checkout_url, "Back to the page to pay on"))
    banner = Banner("As it stands now", " ".join(sentences), links=tuple(links))
    return overview(request, who, banner=banner)


def _of_plan(found: SubscriptionView) -> str:
    if found.status == "none" or found.plan is None:
        return "No plan is paid for."
    if found.status == "pending":
        return f"The plan {found.plan} is not paid yet, so it has not begun."
    if found.period_end is None or found.status in {"ended", "canceled", "expired"}:
        return f"The plan {found.plan} is not paid for any more."
    until = f"The plan {found.plan} is {found.status.replace('_', ' ')}, until {day(found.period_end)}"
    return f"{until}, and then ends." if found.ends_at is not None else f"{until}, when it renews."


def _told(request: Request, payment: str, token: str) -> Response:
    tally, who = tally_of(request), signed_in(request)
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
    again = _AGAIN_SECONDS if status_of(row) == "processing" else None
    if who is not None and who.caller.customer_id == row.customer_id:
        return overview(request, who, banner=_banner(row), again_seconds=again)
    return _alone(request, row, again)


def _banner(row: PaymentRow) -> Banner:
    status = status_of(row)
    heading, sentence = _words(row)
    links = [("/billing/payments", "All payments")]
    if status == "pending" and row.url:
        links.insert(0, (row.url, "Back to the page to pay on"))
    if row.status == "paid" and row.receipt_url:
        links.insert(0, (row.receipt_url, "Receipt"))
    tone = "good" if status == _GOOD else "bad" if status in _BAD else ""
    what = f"{row.title}, {money(row.amount_cents, row.currency)}."
    return Banner(heading, f"{sentence} {what}", tone, tuple(links))


def _alone(request: Request, row: PaymentRow, again: int | None) -> Response:
    """For whoever is not signed in here, but was led here by the page that was paid."""
    heading, sentence = _words(row)
    return page(
        "billing/payment.html",
        heading=heading,
        sentence=sentence,
        payment=row,
        number=to_text("pay", row.id),
        pay_url=row.url if status_of(row) == "pending" else None,
        receipt_url=row.receipt_url if row.status == "paid" else None,
        **frame(request, again_seconds=again),
    )


def _words(row: PaymentRow) -> tuple[str, str]:
    """What came of a payment, as a heading and a sentence."""
    status = status_of(row)
    added = f"{format_units(row.credits, row.unit)} {were(row.credits)} added."
    heading, sentence = _SENTENCES.get(status, ("Paid", added))
    if status == "failed":
        sentence = f"{sentence} {row.failure_text or ''}".strip()
    return heading, sentence.replace("{back}", money(row.refunded_cents, row.currency))
