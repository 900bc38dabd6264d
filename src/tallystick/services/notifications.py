"""Notifications as their customer sees them, and what of them it wants by e-mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.core import errors, events
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.mail import is_address
from tallystick.services.pages import DEFAULT_LIMIT, Page, check_limit, page_of, position_of
from tallystick.store import customers as customer_store
from tallystick.store import notifications as store
from tallystick.store.notifications import NotificationRow

NotificationInfo = NotificationRow


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a customer gets by e-mail. ``available``: there is a mail server, and an address to send it to."""

    customer_id: int
    email: bool
    types: tuple[str, ...]
    address: str | None
    available: bool


class Notifications:
    """List what happened; read and set preferences. ``mails``: the operator has a mail server."""

    def __init__(self, context: Context, customers: Customers, *, mails: bool) -> None:
        self._context = context
        self._customers = customers
        self._mails = mails

    def list(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        event_type: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[NotificationRow]:
        """What happened to a customer, newest first; services and admins who name nobody see everybody's."""
        owner = None
        if customer is not None or not caller.is_service:
            owner = self._customers.resolve(caller, customer)
        if event_type is not None and not events.is_pattern(event_type):
            raise errors.ValidationFailed([("type", "expected a type of event, or a pattern like balance.*")])
        types = None if event_type is None else events.types_of([event_type])
        most, below = check_limit(limit), position_of("notifications", cursor)
        with self._context.database.read() as connection:
            rows = store.page(connection, customer_id=owner, types=types, below=below, limit=most + 1)
        return page_of("notifications", rows, limit=most, position=lambda row: row.id)

    def preferences(self, caller: Caller, *, customer: str | None = None) -> Preferences:
        """What a customer gets by e-mail."""
        return self._preferences(self._customers.resolve(caller, customer))

    def set_preferences(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        email: bool | None = None,
        types: Sequence[str] | None = None,
    ) -> Preferences:
        """Turn e-mail on or off, or choose its types; what is not named stays. No types at all are all of them."""
        number = self._customers.resolve(caller, customer)
        for each in types or ():
            if each not in events.MAILED_TYPES:
                known = ", ".join(events.MAILED_TYPES)
                raise errors.ValidationFailed([("types", f"expected some of: {known}; found {each[:100]}")])
        before = self._preferences(number)
        chosen = before.types if types is None else tuple(dict.fromkeys(types))
        if set(chosen) == set(events.MAILED_TYPES):
            chosen = ()  # also those that a later version adds
        wanted = before.email if email is None else email
        self._context.database.transact(
            lambda connection: store.set_preferences(connection, number, email=wanted, types=chosen)
        )
        return self._preferences(number)

    def _preferences(self, number: int) -> Preferences:
        with self._context.database.read() as connection:
            email, types = store.preferences(connection, [number]).get(number, (True, ()))
            row = customer_store.by_id(connection, number)
        address = None if row is None or row.email is None or not is_address(row.email) else str(row.email)
        return Preferences(
            customer_id=number,
            email=email,
            types=types or events.MAILED_TYPES,
            address=address,
            available=self._mails and address is not None,
        )
