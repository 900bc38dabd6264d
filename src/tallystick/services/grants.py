"""Grants and wallets, for operators: give credits, take them back, freeze and thaw."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from tallystick.core import errors
from tallystick.core.adjustments import (
    ClawBack,
    ClawbackResult,
    FreezeResult,
    Grant,
    GrantResult,
    SetFrozen,
    VoidGrant,
)
from tallystick.core.amounts import parse_amount
from tallystick.core.decimals import format_amount
from tallystick.core.ids import from_text
from tallystick.core.operations import Operation
from tallystick.core.words import GRANT_CATEGORIES, origin_of
from tallystick.services.context import Answer, Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.due import settle_if_due
from tallystick.services.operator_outcomes import clawed_back, froze, granted, thawed, voided
from tallystick.services.operator_record import Deed, commit
from tallystick.services.pages import DEFAULT_LIMIT, Page, check_limit, page_of, position_of
from tallystick.services.pricing import require_service
from tallystick.services.requests import check_metadata, check_reason, check_text, idempotency_fields
from tallystick.store import grants as store
from tallystick.store import payments

Number = Decimal | int | str
Status: TypeAlias = Literal["scheduled", "active", "used", "expired", "voided"]

ORIGINS: Final = ("free", "paid")
PRIORITY_MAX: Final = 1000
LATEST_MICROS: Final = (
    253_402_300_799_999_999  # the end of the year 9999, past which no door can write a time
)


@dataclass(frozen=True, slots=True)
class GrantView:
    """A grant as its owner sees it. ``remaining`` includes what is ``held``; amounts in micro-units."""

    id: int
    customer_id: int
    unit: str
    category: str
    origin: str
    status: Status
    amount: int
    remaining: int
    held: int
    priority: int
    effective_at: int
    expires_at: int | None
    reason: str | None
    reference: str | None
    created_at: int


class Grants:
    """Make, list, void and claw back grants."""

    def __init__(self, context: Context, customers: Customers) -> None:
        self._context = context
        self._customers = customers

    def create(
        self,
        caller: Caller,
        *,
        customer: str | None,
        amount: Number,
        category: str,
        unit: str | None = None,
        origin: str | None = None,
        expires_at: int | None = None,
        effective_at: int | None = None,
        priority: int | None = None,
        reason: str | None = None,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None,
    ) -> Answer[GrantResult]:
        """Give a customer credits with terms of their own, now or from ``effective_at`` on.

        For services and admins: nobody can grant credits to themselves.
        """
        operation = self.order(
            caller,
            customer=customer,
            amount=amount,
            category=category,
            unit=unit,
            origin=origin,
            expires_at=expires_at,
            effective_at=effective_at,
            priority=priority,
            reason=reason,
            reference=reference,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )
        outcome = commit(self._context, caller, operation, deed_of(operation, priority=priority))
        return Answer(outcome.value(), outcome.replayed)

    def order(
        self,
        caller: Caller,
        *,
        customer: str | None,
        amount: Number,
        category: str,
        unit: str | None = None,
        origin: str | None = None,
        expires_at: int | None = None,
        effective_at: int | None = None,
        priority: int | None = None,
        reason: str | None = None,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None,
    ) -> Grant:
        """The operation that ``create`` posts, for whoever posts it with rows of its own."""
        require_service(caller)
        economy = self._context.economy()
        chosen = _one_of("category", category, GRANT_CATEGORIES)
        micros = parse_amount(amount)
        name = economy.primary_unit if unit is None else economy.unit(unit).name
        content = (
            customer,
            micros,
            category,
            name,
            origin,
            expires_at,
            effective_at,
            priority,
            reason,
            reference,
            *(() if metadata is None else (metadata,)),
        )
        return Grant(
            customer_id=self._customers.resolve(caller, customer),
            caller=caller.name,
            economy=economy.version,
            unit=name,
            amount=micros,
            category=chosen,
            origin=origin_of(chosen) if origin is None else _one_of("origin", origin, ORIGINS),
            priority=economy.priority(chosen)
            if priority is None
            else _whole("priority", priority, PRIORITY_MAX),
            effective_at=None
            if effective_at is None
            else _whole("effective_at", effective_at, LATEST_MICROS),
            expires_at=None if expires_at is None else _whole("expires_at", expires_at, LATEST_MICROS),
            description=check_reason(reason),
            reference=check_text(reference, field="reference"),
            metadata=check_metadata(metadata),
            **idempotency_fields(caller, idempotency_key, "grant", content),
        )

    def list(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        unit: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[GrantView]:
        """A customer's grants, newest first: scheduled, open, used up, expired and voided ones."""
        customer_id = self._customers.resolve(caller, customer)
        most, before = check_limit(limit), position_of("grants", cursor)
        name = None if unit is None else self._context.economy().unit(unit).name
        now = self._context.now()
        settle_if_due(self._context, customer_id)
        with self._context.database.read() as connection:
            rows = store.of_customer(connection, customer_id, unit=name, before=before, limit=most + 1)
        page = page_of("grants", rows, limit=most, position=lambda row: row.id)
        return Page([view_of(row, now) for row in page.items], page.has_more, page.next_cursor)

    def void(
        self, caller: Caller, grant_id: str, *, reason: str | None = None, idempotency_key: str | None
    ) -> Answer[GrantResult]:
        """Take back what is left of a grant; what a hold has reserved of it follows when the hold ends."""
        require_service(caller)
        number, owner = self._owner(grant_id)
        operation = VoidGrant(
            customer_id=owner,
            caller=caller.name,
            grant_id=number,
            description=check_reason(reason),
            **idempotency_fields(caller, idempotency_key, "void", (grant_id, reason)),
        )
        return self._run(caller, "void_grant", operation, voided, subject=grant_id)

    def claw_back(
        self,
        caller: Caller,
        grant_id: str,
        *,
        amount: Number,
        reason: str | None = None,
        idempotency_key: str | None,
    ) -> Answer[ClawbackResult]:
        """Take credits back after a refund or dispute of their payment; what was spent becomes debt."""
        require_service(caller)
        number, owner = self._owner(grant_id)
        micros = parse_amount(amount)
        operation = ClawBack(
            customer_id=owner,
            caller=caller.name,
            grant_id=number,
            amount=micros,
            description=check_reason(reason),
            **idempotency_fields(caller, idempotency_key, "clawback", (grant_id, micros, reason)),
        )
        terms = {"amount": format_amount(operation.amount)}
        return self._run(caller, "claw_back", operation, clawed_back, subject=grant_id, terms=terms)

    def _owner(self, grant_id: str) -> tuple[int, int]:
        number = from_text("grant", grant_id)
        if number is not None:
            with self._context.database.read() as connection:
                row = store.by_id(connection, number)
            if row is not None:
                return number, row.customer_id
        raise errors.NotFound("grant", grant_id)

    def _run(
        self,
        caller: Caller,
        action: str,
        operation: Operation,
        tell: Callable[[Any], str],
        *,
        subject: str | None = None,
        terms: Mapping[str, str | None] | None = None,
    ) -> Answer[Any]:
        deed = Deed(
            action=action,
            customer_id=operation.customer_id,
            subject=subject,
            terms=terms or {},
            reason=operation.description,
            tell=tell,
        )
        outcome = commit(self._context, caller, operation, deed)
        return Answer(outcome.value(), outcome.replayed)


class Wallets:
    """Freeze and thaw."""

    def __init__(self, context: Context, customers: Customers) -> None:
        self._context = context
        self._customers = customers

    def freeze(
        self, caller: Caller, *, customer: str | None, unit: str | None = None, reason: str | None = None
    ) -> FreezeResult:
        """Let nothing be drawn from a wallet and nothing in it expire; a repeat is harmless."""
        return self._set(caller, customer=customer, unit=unit, reason=reason, frozen=True)

    def thaw(
        self, caller: Caller, *, customer: str | None, unit: str | None = None, reason: str | None = None
    ) -> FreezeResult:
        """Let a wallet be drawn from again; each grant lives on for the time that it lost."""
        return self._set(caller, customer=customer, unit=unit, reason=reason, frozen=False)

    def _set(
        self, caller: Caller, *, customer: str | None, unit: str | None, reason: str | None, frozen: bool
    ) -> FreezeResult:
        operation = self.order(caller, customer=customer, unit=unit, reason=reason, frozen=frozen)
        if frozen:
            self._context.database.transact(
                lambda connection: payments.keep_frozen(connection, operation.customer_id, operation.unit)
            )

        def tell(result: FreezeResult) -> str | None:
            changed = (result.before is None) == frozen
            return (froze if frozen else thawed)(result) if changed else None

        deed = Deed(
            action="freeze" if frozen else "thaw",
            customer_id=operation.customer_id,
            terms={"unit": operation.unit},
            reason=reason,
            tell=tell,
        )
        result: FreezeResult = commit(self._context, caller, operation, deed).value()
        return result

    def order(
        self, caller: Caller, *, customer: str | None, unit: str | None, reason: str | None, frozen: bool
    ) -> SetFrozen:
        """The operation that freezing and thawing post, for whoever posts it with rows of its own."""
        require_service(caller)
        economy = self._context.economy()
        return SetFrozen(
            customer_id=self._customers.resolve(caller, customer),
            caller=caller.name,
            unit=economy.primary_unit if unit is None else economy.unit(unit).name,
            frozen=frozen,
            description=check_reason(reason),
        )


def deed_of(operation: Grant, *, priority: int | None = None) -> Deed:
    """A grant for the operators' record, with all of its terms that were asked for, and its origin in any case."""
    numbers = {
        "priority": priority,
        "effective_at": operation.effective_at,
        "expires_at": operation.expires_at,
    }
    return Deed(
        action="grant",
        customer_id=operation.customer_id,
        terms={
            "amount": format_amount(operation.amount),
            "unit": operation.unit,
            "category": operation.category,
            "origin": operation.origin,
            **{name: None if value is None else str(value) for name, value in numbers.items()},
        },
        reason=operation.description,
        tell=granted,
    )


def view_of(row: store.GrantRow, now: int) -> GrantView:
    """A grant's row as its owner sees it."""
    return GrantView(
        id=row.id,
        customer_id=row.customer_id,
        unit=row.unit,
        category=row.category,
        origin=row.origin,
        status=_status(row, now),
        amount=row.amount,
        remaining=row.remaining,
        held=row.held,
        priority=row.priority,
        effective_at=row.effective_at,
        expires_at=row.expires_at,
        reason=row.reason,
        reference=row.reference,
        created_at=row.created_at,
    )


def _status(row: store.GrantRow, now: int) -> Status:
    if row.voided_at is not None:
        return "voided"
    if row.booked_at is None:
        return "scheduled"
    if row.remaining > 0:
        return "active"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "used"


def _one_of(field: str, value: object, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise errors.ValidationFailed([(field, f"expected one of {', '.join(sorted(known))}")])
    return value


def _whole(field: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise errors.ValidationFailed([(field, f"expected a whole number from 0 to {most}")])
    return value
