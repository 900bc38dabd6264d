"""Webhooks: where they are sent, what happened, what was sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from tallystick.client.exact import Moment, moment
from tallystick.client.inputs import words
from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.pages import Page, page
from tallystick.client.requests import Repeat, Request, delete, get, post, write

_ENDPOINT: Final = "/webhooks/endpoints/{endpoint_id}"


@dataclass(frozen=True, kw_only=True)
class Endpoint(Model):
    """Where webhooks are sent. ``customer`` is null for the operator's own endpoints; no ``types`` are all of them."""

    id: str
    customer: str | None
    url: str
    types: tuple[str, ...]
    description: str | None
    status: str
    reason: str | None
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class NewEndpoint(Model):
    """As an endpoint, with the secret that its deliveries are signed with. It is shown this once."""

    id: str
    customer: str | None
    url: str
    types: tuple[str, ...]
    description: str | None
    status: str
    reason: str | None
    failing_since: datetime | None
    created_at: datetime
    secret: str


@dataclass(frozen=True, kw_only=True)
class EndpointPage(Page[Endpoint, Mode]):
    """A page of endpoints."""

    noun = "endpoints"

    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, kw_only=True)
class Delivery(Model):
    """One event on its way to one receiver. ``next_at`` is when it is tried next, while it is pending."""

    id: str
    event: str
    type: str
    sequence: int
    channel: str
    endpoint: str | None
    address: str | None
    status: str
    attempts: int
    next_at: datetime | None
    last_status: int | None
    last_error: str | None
    delivered_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class DeliveryPage(Page[Delivery, Mode]):
    """A page of deliveries."""

    noun = "deliveries"

    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, kw_only=True)
class Notification(Model):
    """Something that happened. ``sequence`` numbers the events of one customer without gaps."""

    id: str
    customer: str | None
    sequence: int
    type: str
    timestamp: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class NotificationPage(Page[Notification, Mode]):
    """A page of what happened."""

    noun = "notifications"

    notifications: tuple[Notification, ...]


@dataclass(frozen=True, kw_only=True)
class Replay(Model):
    """How many events are sent again. Where that is not all, ``complete`` is false: go on from the last of them."""

    queued: int
    complete: bool
    last_sequence: int | None
    last_timestamp: datetime | None


@dataclass(frozen=True, kw_only=True)
class Preferences(Model):
    """What a customer gets by e-mail. ``available``: there is a mail server, and an address to send it to."""

    customer: str
    email: bool
    types: tuple[str, ...]
    address: str | None
    available: bool


class Webhooks(Resource[Mode]):
    """Endpoints of a customer, or, where a service or an admin names nobody, the operator's own."""

    @operation
    def create_endpoint(
        self,
        *,
        url: str,
        types: Iterable[str] = (),
        description: str | None = None,
        customer: str | None = None,
    ) -> Request[NewEndpoint]:
        """Have events sent to an address, signed with a secret that is shown this once."""
        body = {
            "url": url,
            "types": words(types) or None,
            "description": description,
            "customer": customer,
        }
        return post("/webhooks/endpoints", NewEndpoint, body, repeat=Repeat.TWICE)

    @operation
    def list_endpoints(
        self, *, customer: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Request[EndpointPage[Mode]]:
        """The endpoints there are."""
        query = {"customer": customer, "limit": limit, "cursor": cursor}
        return page(self, "/webhooks/endpoints", EndpointPage[Mode], query)

    @operation
    def update_endpoint(
        self,
        endpoint: str,
        *,
        url: str | None = None,
        types: Iterable[str] | None = None,
        description: str | None = None,
    ) -> Request[Endpoint]:
        """Change an endpoint's address, types or description; what is not named stays."""
        body = {"url": url, "types": words(types), "description": description}
        return write("PATCH", _ENDPOINT, Endpoint, body, names={"endpoint_id": endpoint})

    @operation
    def delete_endpoint(self, endpoint: str) -> Request[None]:
        """Send nothing there any more, for good."""
        return delete(_ENDPOINT, names={"endpoint_id": endpoint})

    @operation
    def rotate_secret(self, endpoint: str) -> Request[NewEndpoint]:
        """Sign with a new secret, shown this once. The old one signs too for 24 hours."""
        names = {"endpoint_id": endpoint}
        return post(f"{_ENDPOINT}/rotate", NewEndpoint, names=names, repeat=Repeat.TWICE)

    @operation
    def ping(self, endpoint: str) -> Request[Delivery]:
        """Send a test event to this endpoint alone."""
        return post(f"{_ENDPOINT}/ping", Delivery, names={"endpoint_id": endpoint}, repeat=Repeat.TWICE)

    @operation
    def enable_endpoint(self, endpoint: str) -> Request[Endpoint]:
        """Send to a disabled endpoint again. What it missed is sent by a replay."""
        return post(f"{_ENDPOINT}/enable", Endpoint, names={"endpoint_id": endpoint}, repeat=Repeat.SAME)

    @operation
    def replay_endpoint(
        self, endpoint: str, *, since: Moment | None = None, after_sequence: int | None = None
    ) -> Request[Replay]:
        """Send an endpoint again what happened since a moment, or after a number of its customer's."""
        names, body = {"endpoint_id": endpoint}, {"since": moment(since), "after_sequence": after_sequence}
        return post(f"{_ENDPOINT}/replay", Replay, body, names=names, repeat=Repeat.TWICE)

    @operation
    def list_notifications(
        self,
        *,
        customer: str | None = None,
        type: str | None = None,  # noqa: A002 - the event's word
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[NotificationPage[Mode]]:
        """What happened to a customer, newest first, whether anybody was told or not."""
        query = {"customer": customer, "type": type, "limit": limit, "cursor": cursor}
        return page(self, "/webhooks/notifications", NotificationPage[Mode], query)

    @operation
    def list_deliveries(
        self,
        *,
        customer: str | None = None,
        endpoint: str | None = None,
        status: Literal["pending", "delivered", "failed", "dropped"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Request[DeliveryPage[Mode]]:
        """What was sent for a customer, by webhook and by e-mail, or to the operator's own endpoints."""
        query = {
            "customer": customer,
            "endpoint": endpoint,
            "status": status,
            "limit": limit,
            "cursor": cursor,
        }
        return page(self, "/webhooks/deliveries", DeliveryPage[Mode], query)

    @operation
    def replay_delivery(self, delivery: str) -> Request[Delivery]:
        """Send one delivery again, whatever came of it before."""
        names = {"delivery_id": delivery}
        path = "/webhooks/deliveries/{delivery_id}/replay"
        return post(path, Delivery, names=names, repeat=Repeat.TWICE)


class Notifications(Resource[Mode]):
    """What a customer is told by e-mail."""

    @operation
    def get_preferences(self, *, customer: str | None = None) -> Request[Preferences]:
        """What a customer gets by e-mail."""
        return get("/notifications/preferences", Preferences, {"customer": customer})

    @operation
    def set_preferences(
        self,
        *,
        email: bool | None = None,
        types: Iterable[str] | None = None,
        customer: str | None = None,
    ) -> Request[Preferences]:
        """Turn e-mail on or off, or choose its types; no types at all are all of them."""
        body = {"email": email, "types": words(types), "customer": customer}
        return write("PUT", "/notifications/preferences", Preferences, body)
