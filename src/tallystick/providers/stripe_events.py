"""Stripe's events: which we subscribe to, what each is about, and whether it is Stripe that sent one.

Of an event we read its type and ids, which are the same in every version of the API. All else is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import stripe

from tallystick.core.times import SECOND
from tallystick.ports.payments import Event, SignatureInvalid, Subject
from tallystick.providers.stripe_orders import REFERENCE

TOLERANCE_SECONDS: Final = 300

# What each type is about, and the field of its object that has that one's id.
_SUBJECTS: Final[Mapping[str, tuple[Subject, str]]] = {
    "checkout.session.completed": ("checkout", "id"),
    "checkout.session.async_payment_succeeded": ("checkout", "id"),
    "checkout.session.async_payment_failed": ("checkout", "id"),
    "checkout.session.expired": ("checkout", "id"),
    "payment_intent.succeeded": ("payment", "id"),
    "payment_intent.payment_failed": ("payment", "id"),
    "invoice.paid": ("invoice", "id"),
    "invoice.payment_failed": ("invoice", "id"),
    "invoice.payment_action_required": ("invoice", "id"),
    "customer.subscription.created": ("subscription", "id"),
    "customer.subscription.updated": ("subscription", "id"),
    "customer.subscription.deleted": ("subscription", "id"),
    "charge.refunded": ("payment", "payment_intent"),
    "refund.created": ("payment", "payment_intent"),
    "refund.updated": ("payment", "payment_intent"),
    "refund.failed": ("payment", "payment_intent"),
    "charge.dispute.created": ("payment", "payment_intent"),
    "charge.dispute.updated": ("payment", "payment_intent"),
    "charge.dispute.closed": ("payment", "payment_intent"),
    "charge.dispute.funds_withdrawn": ("payment", "payment_intent"),
    "charge.dispute.funds_reinstated": ("payment", "payment_intent"),
    "payment_method.detached": ("payer", "customer"),
    "customer.deleted": ("payer", "id"),
}
SUBSCRIBED: Final = tuple(sorted(_SUBJECTS))
"""The types that a webhook endpoint is to send."""


def verified_event(
    client: stripe.StripeClient, body: bytes, signature: str | None, *, secrets: Sequence[str], now: int
) -> Event:
    """An event that was signed with one of our secrets, at most five minutes before or after ``now``.

    The SDK's own check of the time lets any later date pass, so it is left out and done here. Raises
    ``SignatureInvalid``.
    """
    for secret in secrets:
        try:
            event = client.construct_event(body, signature, secret, tolerance=0)
            if abs(_signed_at(signature or "") - now // SECOND) > TOLERANCE_SECONDS:
                raise SignatureInvalid("The event was signed too long ago, or in the future.")
            return read_event(event)
        except stripe.SignatureVerificationError:
            continue
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise SignatureInvalid("The event cannot be read.") from error
    raise SignatureInvalid("The event was not signed with a secret of ours.")


def _signed_at(signature: str) -> int:
    """The second that a signature speaks of: the first one, which is also the one that the SDK has verified."""
    parts = (part.split("=") for part in signature.split(","))
    return next(int(value[1]) for value in parts if value[0] == "t")


def read_event(event: stripe.Event) -> Event:
    """An event as the port tells it.

    What happened on another account, or is of another type, or has no id of the kind we ask by, is ``other``.
    """
    fields = event.to_dict()
    about = fields["data"]["object"]
    subject, subject_id = _subject_of(fields)
    return Event(
        id=_text(fields["id"]),
        type=_text(fields["type"]),
        created_at=_second(fields["created"]) * SECOND,
        subject=subject,
        subject_id=subject_id or _id_in(about.get("id")) or "",
        live=fields["livemode"] is True,
        facts=_facts(about),
    )


def _subject_of(fields: Mapping[str, Any]) -> tuple[Subject, str | None]:
    subject, name = _SUBJECTS.get(fields["type"], ("other", ""))
    data = fields["data"]
    found = _id_in(data["object"].get(name))
    if found is None and fields["type"] == "payment_method.detached":
        found = _id_in((data.get("previous_attributes") or {}).get("customer"))  # it is nobody's any more
    if found is None or fields.get("account"):
        return "other", None
    return subject, found


def _id_in(value: Any) -> str | None:  # noqa: ANN401 - whatever was sent
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def _facts(about: Mapping[str, Any]) -> dict[str, str]:
    """What may help to decide whether an event is worth asking about: hints, like all of it."""
    metadata = about.get("metadata") or {}
    found = {
        "object": about.get("id"),
        "status": about.get("status"),
        "reference": about.get("client_reference_id") or metadata.get(REFERENCE),
    }
    return {name: text for name, text in found.items() if isinstance(text, str)}


def _text(value: Any) -> str:  # noqa: ANN401 - whatever was sent
    if not isinstance(value, str) or not value:
        raise TypeError("expected a text")
    return value


def _second(value: Any) -> int:  # noqa: ANN401 - whatever was sent
    if not isinstance(value, int):
        raise TypeError("expected a whole number of seconds")
    return value
