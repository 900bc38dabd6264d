"""Customers: opened once with what the economy grants at sign-up, and named by their id or the operator's own id."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import from_text, to_text
from tallystick.core.membership import OpenCustomer
from tallystick.services.context import SYSTEM, Answer, Caller, Context
from tallystick.services.pages import DEFAULT_LIMIT, Page, check_limit, page_of, position_of
from tallystick.services.requests import check_metadata, check_text, is_storable
from tallystick.store import customers as store
from tallystick.store import users

MAX_CACHED: Final = 100_000


@dataclass(frozen=True, slots=True)
class Customer:
    """Who is billed."""

    id: int
    external_id: str | None
    email: str | None
    metadata: Mapping[str, Any]
    created_at: int


class Customers:
    """Create and find customers."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def resolve(self, caller: Caller, customer: str | None) -> int:
        """The customer that a request is about: the caller's own, or, for services and admins, the one that is named.

        Another customer is as unknown to a user as one that does not exist.
        """
        if customer is None:
            if caller.customer_id is None:
                raise errors.ValidationFailed([("customer", "expected the id or external_id of a customer")])
            return caller.customer_id
        known = self._context.customer_ids
        number = known.get(customer)
        if number is None:
            number = self._find(customer)
            if len(known) >= MAX_CACHED:
                known.clear()
            known[customer] = number
        if not caller.is_service and number != caller.customer_id:
            raise errors.UnknownCustomer(customer)
        return number

    def address(self, caller: Caller, customer: str | None) -> int:
        """As ``resolve``, for operations of the ledger, which finds out by itself whether there is a customer of an id."""
        number = None if customer is None else from_text("cust", customer)
        if customer is None or number is None:
            return self.resolve(caller, customer)
        if not caller.is_service and number != caller.customer_id:
            raise errors.UnknownCustomer(customer)
        return number

    async def look_up(self, customer: str | None) -> None:
        """Let ``address`` find a customer in memory, so that a coroutine need not wait for the database in its loop."""
        if (
            customer is not None
            and customer not in self._context.customer_ids
            and from_text("cust", customer) is None
        ):
            await asyncio.to_thread(self.resolve, SYSTEM, customer)

    def _find(self, customer: str) -> int:
        if not customer or len(customer) > 255 or not is_storable(customer):  # noqa: PLR2004 - as for creation
            raise errors.UnknownCustomer(customer.replace("\x00", "?").encode(errors="replace").decode())
        with self._context.database.read() as connection:
            number = from_text("cust", customer)
            row = None if number is None else store.by_id(connection, number)
            row = row or store.by_external_id(connection, customer)
            user_id = None if row is not None else from_text("usr", customer)
            user = None if user_id is None else users.by_id(connection, user_id)
            row = row if user is None else store.by_id(connection, user.customer_id)
        if row is None:
            raise errors.UnknownCustomer(customer)
        return int(row.id)

    def create(
        self,
        caller: Caller,
        *,
        external_id: str,
        email: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Answer[Customer]:
        """A customer for an operator who has users of their own. A repeat gives the same customer."""
        if not caller.is_service:
            raise errors.NotAllowed("this is for services and admins")
        name = check_text(external_id, field="external_id", most=255)
        if name is None or from_text("cust", name) is not None:
            raise errors.ValidationFailed([("external_id", "expected an id of your own")])
        address = check_text(email, field="email", most=320)
        text = check_metadata(metadata) or "{}"

        def work(connection: Connection) -> Answer[Customer]:
            row = store.by_external_id(connection, name)
            if row is not None:
                return Answer(_customer(row), replayed=True)
            number = self.open(connection, external_id=name, email=address, metadata=text)
            return Answer(_customer(store.by_id(connection, number)))

        try:
            return self._context.database.transact(work)
        except Exception as error:
            if self._context.database.driver.is_conflict(getattr(error, "orig", None)):
                return self._context.database.transact(work)  # Another request created it meanwhile.
            raise

    def open(
        self, connection: Connection, *, external_id: str | None, email: str | None, metadata: str = "{}"
    ) -> int:
        """A new customer with wallets, sign-up grants and the default plan, inside the caller's transaction."""
        context = self._context
        number = context.new_id()
        now = context.now()
        store.add(
            connection, number=number, external_id=external_id, email=email, metadata=metadata, created_at=now
        )
        operation = OpenCustomer(
            customer_id=number, caller="system", catalog=context.economy(), economy=context.economy().version
        )
        [outcome] = context.ledger.post(connection, [operation], now=now)
        outcome.value()
        return number

    def get(self, caller: Caller, customer: str | None) -> Customer:
        """A customer's own record."""
        number = self.resolve(caller, customer)
        with self._context.database.read() as connection:
            row = store.by_id(connection, number)
        if row is None:
            raise errors.UnknownCustomer(customer or to_text("cust", number))
        return _customer(row)

    def search(
        self, caller: Caller, words: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[Customer]:
        """Customers by an id of ours, or by a part of their external id, e-mail or metadata, such as a name; newest first.

        Without words, all of them. For services and admins.
        """
        if not caller.is_service:
            raise errors.NotAllowed("this is for services and admins")
        most, below = check_limit(limit), position_of("customers", cursor)
        asked = check_text(words.strip() or None, field="words", most=255) or ""
        if from_text("cust", asked) is not None or from_text("usr", asked) is not None:
            try:
                return Page([self.get(caller, asked)], has_more=False, next_cursor=None)
            except errors.UnknownCustomer:
                return Page([], has_more=False, next_cursor=None)
        with self._context.database.read() as connection:
            rows = [_customer(row) for row in store.search(connection, asked, below=below, limit=most + 1)]
        return page_of("customers", rows, limit=most, position=lambda each: each.id)


def _customer(row: Any) -> Customer:  # noqa: ANN401 - a row of customers
    return Customer(row.id, row.external_id, row.email, msgspec.json.decode(row.metadata), row.created_at)
