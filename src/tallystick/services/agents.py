"""Agents: what customers offer to do for a price per task. Everybody may look for them; their owners change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.amounts import parse_amount
from tallystick.core.ids import from_text
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.pages import Page, check_limit, page_of, position_of
from tallystick.services.pricing import Number
from tallystick.services.requests import check_name, check_text
from tallystick.store import agents as store
from tallystick.store.agents import AgentRow, Wanted

T = TypeVar("T")

STATUSES: Final = ("active", "paused")
MAX_NAME: Final = 100
MAX_DESCRIPTION: Final = 2000
MAX_CAPABILITIES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What of an agent is to be different; None stays as it is."""

    name: str | None = None
    description: str | None = None
    price_per_task: Number | None = None
    capabilities: Sequence[str] | None = None
    status: str | None = None


class Agents:
    """Register, find and change agents."""

    def __init__(self, context: Context, customers: Customers) -> None:
        self._context = context
        self._customers = customers

    def register(
        self,
        caller: Caller,
        *,
        name: str,
        price_per_task: Number,
        description: str | None = None,
        capabilities: Sequence[str] = (),
        unit: str | None = None,
        customer: str | None = None,
    ) -> Answer[AgentRow]:
        """Offer an agent. An owner's agents differ by their names: a repeat gives the same one.

        Raises ``Conflict`` where the owner has an agent of this name with other terms.
        """
        economy = self._context.economy()
        now = self._context.now()
        wanted = AgentRow(
            id=self._context.new_id(),
            customer_id=self._customers.resolve(caller, customer),
            name=check_name(name, field="name", most=MAX_NAME),
            description=check_text(description or None, field="description", most=MAX_DESCRIPTION),
            unit=economy.unit(unit).name if unit is not None else economy.primary_unit,
            price=_price(price_per_task),
            capabilities=_capabilities(capabilities),
            status="active",
            created_at=now,
            updated_at=now,
        )

        def work(connection: Connection) -> Answer[AgentRow]:
            found = store.by_name(connection, wanted.customer_id, wanted.name)
            if found is None:
                store.add(connection, wanted)
                return Answer(wanted)
            if _terms(found) != _terms(wanted):
                raise errors.Conflict(
                    f"this owner has an agent {wanted.name} with other terms: change that one"
                )
            return Answer(found, replayed=True)

        return self._unless_taken(work)

    def _unless_taken(self, work: Callable[[Connection], T]) -> T:
        """Do it again where another request has just taken the name."""
        database = self._context.database
        try:
            return database.transact(work)
        except Exception as error:
            if database.driver.is_conflict(getattr(error, "orig", None)):
                return database.transact(work)
            raise

    def get(self, agent: str) -> AgentRow:
        """An agent by its id. Raises ``NotFound``."""
        number = from_text("agent", agent)
        with self._context.database.read() as connection:
            row = None if number is None else store.by_id(connection, number)
        if row is None:
            raise errors.NotFound("agent", agent)
        return row

    def change(self, caller: Caller, agent: str, changes: Changes) -> AgentRow:
        """Change an agent: tasks that were made before keep their price. For its owner, services and admins."""
        number = from_text("agent", agent)

        def work(connection: Connection) -> AgentRow:
            row = None if number is None else store.by_id(connection, number, lock=True)
            if row is None:
                raise errors.NotFound("agent", agent)
            if not caller.is_service and row.customer_id != caller.customer_id:
                raise errors.NotAllowed("an agent is changed by its owner")
            changed = _changed(row, changes)
            if changed == row:
                return row
            same = store.by_name(connection, row.customer_id, changed.name)
            if same is not None and same.id != row.id:
                raise errors.Conflict(f"this owner has another agent {changed.name}")
            changed = replace(changed, updated_at=self._context.now())
            store.put(connection, changed)
            return changed

        return self._unless_taken(work)

    def find(
        self,
        caller: Caller,
        *,
        text: str | None = None,
        capability: str | None = None,
        max_price: Number | None = None,
        unit: str | None = None,
        status: str | None = None,
        owner: str | None = None,
        of_others: bool = False,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[AgentRow]:
        """Agents, newest first: by a text of name or description, a capability, a highest price, their owner.

        ``owner`` is a customer, or ``me``; ``of_others`` leaves the caller's own out. Everybody may know of every agent.
        """
        if status is not None and status not in STATUSES:
            raise errors.ValidationFailed([("status", f"expected one of {', '.join(STATUSES)}")])
        economy = self._context.economy()
        wanted = Wanted(
            customer_id=self._owner(caller, owner),
            not_customer_id=caller.customer_id if of_others else None,
            status=status,
            text=check_text(text or None, field="q", most=MAX_NAME),
            capability=None
            if capability is None
            else check_name(capability, field="capability", most=MAX_NAME),
            unit=None if unit is None else economy.unit(unit).name,
            max_price=None
            if max_price is None
            else parse_amount(max_price, field="max_price", allow_zero=True),
        )
        limit = check_limit(limit)
        before = position_of("agents", cursor)
        with self._context.database.read() as connection:
            found = store.listed(connection, wanted, before=before, limit=limit + 1)
        return page_of("agents", found, limit=limit, position=lambda row: row.id)

    def _owner(self, caller: Caller, owner: str | None) -> int | None:
        if owner is None:
            return None
        if owner == "me":
            return self._customers.resolve(caller, None)
        number = from_text("cust", owner)
        return self._customers.resolve(caller, owner) if number is None else number


def _changed(row: AgentRow, changes: Changes) -> AgentRow:
    if changes.status is not None and changes.status not in STATUSES:
        raise errors.ValidationFailed([("status", f"expected one of {', '.join(STATUSES)}")])
    description = changes.description
    return replace(
        row,
        name=row.name if changes.name is None else check_name(changes.name, field="name", most=MAX_NAME),
        description=row.description
        if description is None
        else check_text(description or None, field="description", most=MAX_DESCRIPTION),
        price=row.price if changes.price_per_task is None else _price(changes.price_per_task),
        capabilities=row.capabilities
        if changes.capabilities is None
        else _capabilities(changes.capabilities),
        status=row.status if changes.status is None else changes.status,
    )


def _terms(row: AgentRow) -> tuple[object, ...]:
    return row.description, row.unit, row.price, row.capabilities


def _price(price: Number) -> int:
    return parse_amount(price, field="price_per_task", allow_zero=True)


def _capabilities(words: Sequence[str]) -> tuple[str, ...]:
    if len(words) > MAX_CAPABILITIES:
        raise errors.ValidationFailed([("capabilities", f"expected at most {MAX_CAPABILITIES}")])
    return tuple(dict.fromkeys(check_name(word, field="capabilities", most=MAX_NAME) for word in words))
