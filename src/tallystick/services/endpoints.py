"""Endpoints: where a customer, or the operator, wants webhooks sent, and what was sent there.

A user manages those of its own customer; services and admins those of the customer that they name, or the operator's own
where they name none. The operator's endpoints are told of every customer's events.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy.engine import Connection

from tallystick.core import errors, events
from tallystick.core.ids import from_text, to_text
from tallystick.core.times import HOUR, Micros
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.once import Claim
from tallystick.services.pages import DEFAULT_LIMIT, Page, check_limit, page_of, position_of
from tallystick.services.requests import check_text
from tallystick.store import deliveries, notifications
from tallystick.store import endpoints as store
from tallystick.store.deliveries import Listed
from tallystick.store.endpoints import EndpointRow
from tallystick.store.notifications import NotificationRow

MAX_ENDPOINTS: Final = 20
LONGEST_URL: Final = 2000
SECRET_BYTES: Final = 32
BOTH_SIGN_FOR: Final = 24 * HOUR
REPLAYED_AT_ONCE: Final = 10_000
BY_HAND: Final = "disabled by hand"
STATUSES: Final = ("pending", "delivered", "failed", "dropped")

EndpointInfo = EndpointRow
DeliveryInfo = Listed


@dataclass(frozen=True, slots=True)
class WithSecret:
    """An endpoint with its secret, which is shown this once."""

    endpoint: EndpointInfo
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Replay:
    """How many notifications are sent again. ``complete`` False: go on with those after ``last_sequence``, ``last_at``."""

    queued: int
    complete: bool
    last_sequence: int | None
    last_at: Micros | None


class Endpoints:
    """Create, change and try endpoints; list and replay what was sent.

    ``check_host`` says why a host and port must not be called, or None; ``https_only`` is for live mode.
    """

    def __init__(
        self,
        context: Context,
        customers: Customers,
        *,
        check_host: Callable[[str, int], str | None],
        https_only: bool,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._context = context
        self._customers = customers
        self._check_host = check_host
        self._https_only = https_only
        self._random_bytes = random_bytes

    # --- managing --------------------------------------------------------------------------------------------------

    def create(
        self,
        caller: Caller,
        *,
        url: str,
        customer: str | None = None,
        types: Sequence[str] = (),
        description: str | None = None,
        claim: Claim | None = None,
    ) -> WithSecret:
        """A new endpoint for these types, or for all where none is named. Its secret is shown this once.

        ``claim`` takes the form that asks for it, in the same transaction.
        """
        owner = self._owner(caller, customer)
        row = EndpointRow(
            id=self._context.new_id(),
            customer_id=owner,
            url=self._check_url(url),
            types=check_types(types),
            description=check_text(description, field="description"),
            secret=self._new_secret(),
            previous_secret=None,
            previous_until=None,
            status="enabled",
            reason=None,
            failing_since=None,
            resume_at=0,
            created_at=self._context.now(),
        )

        def work(connection: Connection) -> None:
            if claim is not None:
                claim(connection)
            if store.count(connection, customer_id=owner) >= MAX_ENDPOINTS:
                raise errors.Conflict(f"there are {MAX_ENDPOINTS} endpoints already: delete one first")
            store.add(connection, row)

        self._context.database.transact(work)
        return WithSecret(row, row.secret)

    def list(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[EndpointInfo]:
        """The endpoints of a customer, or the operator's own, newest first."""
        owner = self._owner(caller, customer)
        most, below = check_limit(limit), position_of("endpoints", cursor)
        with self._context.database.read() as connection:
            rows = store.page(connection, customer_id=owner, below=below, limit=most + 1)
        return page_of("endpoints", rows, limit=most, position=lambda row: row.id)

    def get(self, caller: Caller, endpoint: str) -> EndpointInfo:
        """One endpoint. Raises ``NotFound``, also for another customer's."""
        with self._context.database.read() as connection:
            return self._find(connection, caller, endpoint)

    def update(
        self,
        caller: Caller,
        endpoint: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        description: str | None = None,
    ) -> EndpointInfo:
        """Change what is named; the rest stays."""
        values: dict[str, object] = {}
        if url is not None:
            values["url"] = self._check_url(url)
        if types is not None:
            values["types"] = check_types(types)
        if description is not None:
            values["description"] = check_text(description, field="description")
        return self._change(caller, endpoint, lambda _row: values)

    def enable(self, caller: Caller, endpoint: str) -> EndpointInfo:
        """Send there again; what happened meanwhile is replayed only when asked for."""
        return self._context.database.transact(
            lambda connection: self.enable_within(connection, caller, endpoint)
        )

    def enable_within(self, connection: Connection, caller: Caller, endpoint: str) -> EndpointInfo:
        """As ``enable``, inside the caller's transaction."""
        fresh: dict[str, object] = {
            "status": "enabled",
            "reason": None,
            "failing_since": None,
            "resume_at": 0,
        }
        return self._change_within(connection, caller, endpoint, lambda _row: fresh)

    def disable(self, caller: Caller, endpoint: str) -> EndpointInfo:
        """Send nothing there until it is enabled again; what waited is dropped. Repeating it changes nothing."""

        def work(connection: Connection) -> EndpointRow:
            row = self._find(connection, caller, endpoint, lock=True)
            if store.disable(connection, row.id, reason=BY_HAND):
                deliveries.drop(connection, row.id, reason="the endpoint was disabled")
            return store.by_id(connection, row.id) or row

        return self._context.database.transact(work)

    def rotate(self, caller: Caller, endpoint: str, *, claim: Claim | None = None) -> WithSecret:
        """A new secret, shown this once. The one before signs too for a day, so that receivers can be changed meanwhile.

        ``claim`` takes the form that asks for it, in the same transaction.
        """
        secret = self._new_secret()
        until = self._context.now() + BOTH_SIGN_FOR

        def work(connection: Connection) -> EndpointInfo:
            if claim is not None:
                claim(connection)
            return self._change_within(
                connection,
                caller,
                endpoint,
                lambda row: {"secret": secret, "previous_secret": row.secret, "previous_until": until},
            )

        return WithSecret(self._context.database.transact(work), secret)

    def delete(self, caller: Caller, endpoint: str) -> None:
        """Send nothing there any more, for good."""

        def work(connection: Connection) -> None:
            row = self._find(connection, caller, endpoint, lock=True)
            deliveries.drop(connection, row.id, reason="the endpoint was deleted")
            store.remove(connection, row.id)

        self._context.database.transact(work)

    # --- sending ---------------------------------------------------------------------------------------------------

    def ping(self, caller: Caller, endpoint: str) -> Listed:
        """Send a test event to this endpoint alone. It has the number 0, so that no receiver misses one."""
        context = self._context

        def work(connection: Connection) -> Listed | None:
            row = self._find(connection, caller, endpoint)
            _check_enabled(row)
            now = context.now()
            data = notifications.data_text({"endpoint": to_text("whe", row.id)})
            told = NotificationRow(context.new_id(), row.customer_id, 0, events.PING, now, data)
            notifications.insert(connection, told, fanned_out=True)
            number = context.new_id()
            deliveries.add(connection, deliveries.delivery_values(number, told, now=now, endpoint=row))
            return deliveries.by_id(connection, number)

        made = context.database.transact(work)
        assert made is not None
        return made

    def deliveries(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        everybody: bool = False,
        endpoint: str | None = None,
        status: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Listed]:
        """What was sent for a customer, by webhook and e-mail, or to the operator's own endpoints, newest first.

        ``everybody``: all that was sent, for services and admins.
        """
        if everybody and not caller.is_service:
            raise errors.NotAllowed("the deliveries of all customers are for services and admins")
        owner = self._owner(caller, customer)
        if status is not None and status not in STATUSES:
            raise errors.ValidationFailed([("status", f"expected one of {', '.join(STATUSES)}")])
        most, below = check_limit(limit), position_of("deliveries", cursor)
        with self._context.database.read() as connection:
            number = None
            if endpoint is not None:
                row = self._find(connection, caller, endpoint)
                number, owner = row.id, row.customer_id
            rows = deliveries.page(
                connection,
                owner_id=owner,
                everybody=everybody,
                endpoint_id=number,
                status=status,
                below=below,
                limit=most + 1,
            )
        return page_of("deliveries", rows, limit=most, position=lambda each: each.delivery.id)

    def delivery(self, caller: Caller, delivery: str) -> Listed:
        """One delivery with what it tells. Raises ``NotFound``, also for another customer's."""
        with self._context.database.read() as connection:
            return self._find_delivery(connection, caller, delivery)

    def replay_delivery(self, caller: Caller, delivery: str) -> Listed:
        """Send one delivery again, whatever came of it before."""
        return self._context.database.transact(
            lambda connection: self.replay_delivery_within(connection, caller, delivery)
        )

    def replay_delivery_within(self, connection: Connection, caller: Caller, delivery: str) -> Listed:
        """As ``replay_delivery``, inside the caller's transaction."""
        found = self._find_delivery(connection, caller, delivery)
        if found.delivery.endpoint_id is not None:
            row = store.by_id(connection, found.delivery.endpoint_id)
            if row is None:
                raise errors.Conflict("the endpoint was deleted")
            _check_enabled(row)
        deliveries.again(connection, [found.delivery.id], now=self._context.now())
        again = deliveries.by_id(connection, found.delivery.id)
        assert again is not None
        return again

    def replay(
        self, caller: Caller, endpoint: str, *, since: Micros | None = None, after_sequence: int | None = None
    ) -> Replay:
        """Send an endpoint again what happened since a moment, or after a customer's number, oldest first."""
        return self._context.database.transact(
            lambda connection: self.replay_within(
                connection, caller, endpoint, since=since, after_sequence=after_sequence
            )
        )

    def replay_within(
        self,
        connection: Connection,
        caller: Caller,
        endpoint: str,
        *,
        since: Micros | None = None,
        after_sequence: int | None = None,
    ) -> Replay:
        """As ``replay``, inside the caller's transaction."""
        if (since is None) == (after_sequence is None):
            raise errors.ValidationFailed(
                [("since", "expected either since or after_sequence, and not both")]
            )
        row = self._find(connection, caller, endpoint)
        _check_enabled(row)
        if row.customer_id is None and after_sequence is not None:
            message = "expected since: the operator's endpoints have the numbers of many customers"
            raise errors.ValidationFailed([("after_sequence", message)])
        types = [each for each in events.types_of(row.types) if each != events.PING]
        queued, last = deliveries.replay(
            connection,
            row,
            types=types,
            since=since,
            after_sequence=after_sequence,
            new_id=self._context.new_id,
            now=self._context.now(),
            limit=REPLAYED_AT_ONCE,
        )
        if last is None:
            return Replay(queued, complete=True, last_sequence=None, last_at=None)
        return Replay(queued, complete=False, last_sequence=last.sequence, last_at=last.at)

    # --- checks ----------------------------------------------------------------------------------------------------

    def _owner(self, caller: Caller, customer: str | None) -> int | None:
        """Whose endpoints are meant; None are the operator's own."""
        _refuse_limited(caller)
        if customer is None and caller.is_service:
            return None
        return self._customers.resolve(caller, customer)

    def _find(
        self, connection: Connection, caller: Caller, endpoint: str, *, lock: bool = False
    ) -> EndpointRow:
        """An endpoint that the caller may manage; others are not found."""
        number = from_text("whe", endpoint)
        row = None if number is None else store.by_id(connection, number, lock=lock)
        if row is None or not _may_manage(caller, row.customer_id):
            raise errors.NotFound("endpoint", endpoint)
        _refuse_limited(caller)
        return row

    def _find_delivery(self, connection: Connection, caller: Caller, delivery: str) -> Listed:
        number = from_text("whd", delivery)
        found = None if number is None else deliveries.by_id(connection, number)
        if found is None or not _may_manage(caller, found.delivery.owner_id):
            raise errors.NotFound("delivery", delivery)
        _refuse_limited(caller)
        return found

    def _change(
        self, caller: Caller, endpoint: str, values_of: Callable[[EndpointRow], dict[str, object]]
    ) -> EndpointInfo:
        return self._context.database.transact(
            lambda connection: self._change_within(connection, caller, endpoint, values_of)
        )

    def _change_within(
        self,
        connection: Connection,
        caller: Caller,
        endpoint: str,
        values_of: Callable[[EndpointRow], dict[str, object]],
    ) -> EndpointInfo:
        row = self._find(connection, caller, endpoint, lock=True)
        values = values_of(row)
        if values:
            store.change(connection, row.id, values)
        return store.by_id(connection, row.id) or row

    def _new_secret(self) -> str:
        return "whsec_" + base64.b64encode(self._random_bytes(SECRET_BYTES)).decode()

    def _check_url(self, url: str) -> str:
        """A URL that may be called. Whether it still may is looked at again at every call."""
        text = check_text(url, field="url", most=LONGEST_URL) or ""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        schemes = ("https",) if self._https_only else ("https", "http")
        if (
            parts.scheme not in schemes
            or not host
            or not text.isascii()
            or not text.isprintable()
            or " " in text
        ):
            raise _wrong_url(
                f"expected an address that begins with {' or '.join(f'{each}://' for each in schemes)}"
            )
        if parts.username is not None or parts.password is not None:
            raise _wrong_url("expected no user and no password in it: receivers check the signature")
        if parts.fragment:
            raise _wrong_url("expected no fragment in it: it is never sent")
        if "%" in host:  # the zone of an IPv6 address: an interface of this machine
            raise _wrong_url(f"expected a public address: {host} is not one")
        refused = self._check_host(host, port or {"https": 443, "http": 80}[parts.scheme])
        if refused is not None:
            raise _wrong_url(f"expected a public address: {refused}")
        return text


def check_types(types: Sequence[str]) -> tuple[str, ...]:
    """The types that a receiver asks for, or patterns such as ``balance.*``; each once, in the order given."""
    for each in types:
        if not events.is_pattern(each) or each == events.PING:
            known = ", ".join(name for name in events.EVENT_TYPES if name != events.PING)
            raise errors.ValidationFailed(
                [("types", f"expected patterns like balance.* or some of: {known}; found {each[:100]}")]
            )
    return tuple(dict.fromkeys(types))


def _wrong_url(message: str) -> errors.ValidationFailed:
    return errors.ValidationFailed([("url", message)])


def _may_manage(caller: Caller, owner: int | None) -> bool:
    return caller.is_service or (owner is not None and owner == caller.customer_id)


def _refuse_limited(caller: Caller) -> None:
    if caller.key_has_budget:
        raise errors.NotAllowed("a key with a budget manages no webhooks")


def _check_enabled(row: EndpointRow) -> None:
    if row.status != "enabled":
        raise errors.Conflict("the endpoint is disabled: enable it first")
