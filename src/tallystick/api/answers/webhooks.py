"""Answers about webhooks and notifications."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from pydantic import WithJsonSchema

from tallystick.api.answers.common import Name, Time
from tallystick.api.rendering import identifier, moment
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.services.delivery import event_id
from tallystick.services.endpoints import DeliveryInfo, EndpointInfo, Replay, WithSecret
from tallystick.services.notifications import NotificationInfo, Preferences

Data = Annotated[Any, WithJsonSchema({"type": "object", "additionalProperties": True})]
Status = Literal["pending", "delivered", "failed", "dropped"]


@dataclass(slots=True)
class EndpointAnswer:
    """Where webhooks are sent. `customer` is null for the operator's own endpoints; no `types` are all of them."""

    id: Name
    customer: Name | None
    url: str
    types: list[str]
    description: str | None
    status: Literal["enabled", "disabled"]
    reason: str | None
    failing_since: Time | None
    created_at: Time


@dataclass(slots=True)
class EndpointWithSecret:
    """As an endpoint, with the secret that its deliveries are signed with. It is shown this once."""

    id: Name
    customer: Name | None
    url: str
    types: list[str]
    description: str | None
    status: Literal["enabled", "disabled"]
    reason: str | None
    failing_since: Time | None
    created_at: Time
    secret: str


@dataclass(slots=True)
class NotificationLine:
    """Something that happened. `sequence` numbers the events of one customer without gaps."""

    id: Name
    customer: Name | None
    sequence: int
    type: str
    timestamp: Time
    data: Data


@dataclass(slots=True)
class DeliveryAnswer:
    """One event on its way to one receiver. `next_at` is when it is tried next, while it is pending."""

    id: Name
    event: Name
    type: str
    sequence: int
    channel: Literal["webhook", "email"]
    endpoint: Name | None
    address: str | None
    status: Status
    attempts: int
    next_at: Time | None
    last_status: int | None
    last_error: str | None
    delivered_at: Time | None
    created_at: Time


@dataclass(slots=True)
class ReplayAnswer:
    """How many events are sent again. Where that is not all, `complete` is false: go on from the last of them."""

    queued: int
    complete: bool
    last_sequence: int | None
    last_timestamp: Time | None


@dataclass(slots=True)
class PreferencesAnswer:
    """What a customer gets by e-mail. `available`: there is a mail server, and an address to send it to."""

    customer: Name
    email: bool
    types: list[str]
    address: str | None
    available: bool


def endpoint(info: EndpointInfo) -> EndpointAnswer:
    """An endpoint, without its secrets."""
    return EndpointAnswer(
        id=to_text("whe", info.id),
        customer=identifier("cust", info.customer_id),
        url=info.url,
        types=list(info.types),
        description=info.description,
        status="enabled" if info.status == "enabled" else "disabled",
        reason=info.reason,
        failing_since=moment(info.failing_since),
        created_at=format_rfc3339(info.created_at),
    )


def endpoint_with_secret(made: WithSecret) -> EndpointWithSecret:
    """An endpoint with its secret."""
    shown = endpoint(made.endpoint)
    return EndpointWithSecret(
        shown.id,
        shown.customer,
        shown.url,
        shown.types,
        shown.description,
        shown.status,
        shown.reason,
        shown.failing_since,
        shown.created_at,
        made.secret,
    )


def notification(row: NotificationInfo) -> NotificationLine:
    """Something that happened."""
    return NotificationLine(
        id=event_id(row),
        customer=identifier("cust", row.customer_id),
        sequence=row.sequence,
        type=row.type,
        timestamp=format_rfc3339(row.at),
        data=msgspec.Raw(row.data.encode()),
    )


def delivery(listed: DeliveryInfo) -> DeliveryAnswer:
    """A delivery with what it tells."""
    row = listed.delivery
    status: Any = row.status
    channel: Any = row.channel
    return DeliveryAnswer(
        id=to_text("whd", row.id),
        event=event_id(listed.notification),
        type=listed.notification.type,
        sequence=listed.notification.sequence,
        channel=channel,
        endpoint=identifier("whe", row.endpoint_id),
        address=row.address,
        status=status,
        attempts=row.attempts,
        next_at=format_rfc3339(row.next_at) if row.status == "pending" else None,
        last_status=row.last_status,
        last_error=row.last_error,
        delivered_at=moment(row.delivered_at),
        created_at=format_rfc3339(row.created_at),
    )


def replay(found: Replay) -> ReplayAnswer:
    """What a replay did."""
    return ReplayAnswer(found.queued, found.complete, found.last_sequence, moment(found.last_at))


def preferences(found: Preferences) -> PreferencesAnswer:
    """What a customer gets by e-mail."""
    return PreferencesAnswer(
        customer=to_text("cust", found.customer_id),
        email=found.email,
        types=list(found.types),
        address=found.address,
        available=found.available,
    )
