"""Statements, usage and payments in full, for finance: read oldest first in pages, however long they are.

An export ends where its list ended when it began: what is booked meanwhile belongs to the next one. Each page is a short
transaction of its own, so that a slow reader holds nothing up; entries never change, and a payment's line says how the
payment stood when its page was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.times import DAY, day_start, to_datetime
from tallystick.core.words import EARNED_CATEGORIES, total_of
from tallystick.services.billing import reference_of, wallet_in
from tallystick.services.checkouts import status_of
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.due import settle_if_due
from tallystick.services.requests import is_storable
from tallystick.store import exports as store
from tallystick.store import statements, wallets
from tallystick.store.payments import PaymentRow
from tallystick.store.statements import EntryRow

T = TypeVar("T")

PAGE_LINES: Final = 500
PAGE_DAYS: Final = 7  # of usage: each day has a line for each meter


@dataclass(frozen=True, slots=True)
class Export(Generic[T]):
    """A list in pages that can be gone through once. ``customer_id`` and ``unit`` are None where it has all of them.

    ``as_of`` is when it began, in microseconds.
    """

    customer_id: int | None
    unit: str | None
    as_of: int
    pages: Iterator[Sequence[T]]


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of a wallet's statement. ``number`` counts the wallet's lines from 1, without a gap.

    ``reference`` is the id of what it belongs to, ``grant_reference`` what that grant was given for: a payment's id, or
    the operator's own text. ``metadata`` is JSON text.
    """

    transaction_id: int
    number: int
    customer_id: int
    unit: str
    at: int
    type: str
    category: str | None
    meter: str | None
    amount: int
    balance_after: int
    description: str | None
    reference: str | None
    grant_reference: str | None
    agent: str | None
    metadata: str | None


@dataclass(frozen=True, slots=True)
class UsageLine:
    """A day (UTC) of one meter, in micro-units: ``spent = charged - refunded``. ``entries`` is how many lines it sums.

    Without a meter it is what was paid for, and earned by, work between customers, and other earnings.
    """

    date: str
    customer_id: int
    unit: str
    meter: str | None
    entries: int
    charged: int
    refunded: int
    earned: int

    @property
    def spent(self) -> int:
        """What was charged, less what went back."""
        return self.charged - self.refunded


@dataclass(frozen=True, slots=True)
class PaymentRecord:
    """A payment as it stood when it was read. ``external_id`` is the operator's own id of its customer."""

    row: PaymentRow
    status: str
    external_id: str | None


class Exports:
    """What a customer may read in pages, as a whole; services and admins name the customer."""

    def __init__(self, context: Context, customers: Customers) -> None:
        self._context = context
        self._customers = customers

    def transactions(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        unit: str | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> Export[StatementLine]:
        """A wallet's statement, from ``start`` on and before ``end`` if given."""
        return self._of_wallet(caller, self._statement, customer=customer, unit=unit, start=start, end=end)

    def usage(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        unit: str | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> Export[UsageLine]:
        """What a wallet spent and earned, by day (UTC) and meter; a day that is cut by a bound has what lies within."""
        return self._of_wallet(caller, self._usage, customer=customer, unit=unit, start=start, end=end)

    def payments(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        everybody: bool = False,
        unit: str | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> Export[PaymentRecord]:
        """A customer's payments that were ordered from ``start`` on and before ``end``, for every unit unless one is named.

        ``everybody``: those of all customers, for services and admins.
        """
        _check_span(start, end)
        if everybody and not caller.is_service:
            raise errors.NotAllowed("the payments of all customers are for services and admins")
        if everybody and customer is not None:
            raise errors.ValidationFailed([("customer", "expected none where all customers are asked for")])
        customer_id = None if everybody else self._customers.resolve(caller, customer)
        with self._context.database.read() as connection:
            self._check_unit(connection, unit)
            as_of = self._context.now()
            last = store.last_payment(connection, customer_id=customer_id)
        pages = self._payments(customer_id=customer_id, unit=unit, start=start, end=end, last=last)
        return Export(customer_id, unit, as_of, pages)

    def _check_unit(self, connection: Connection, unit: str | None) -> None:
        """Raises ``UnknownUnit`` for a unit that is none of the economy's, and for which nothing was ever paid."""
        if unit is None or unit in self._context.economy().units:
            return
        if not (is_storable(unit) and store.is_sold(connection, unit)):
            raise errors.UnknownUnit(unit)

    def _of_wallet(
        self,
        caller: Caller,
        read: Callable[[_Span], Iterator[Sequence[T]]],
        *,
        customer: str | None,
        unit: str | None,
        start: int | None,
        end: int | None,
    ) -> Export[T]:
        """Find where in the statement the export begins and ends; what is due is booked before."""
        _check_span(start, end)
        context = self._context
        customer_id = self._customers.resolve(caller, customer)
        as_of = context.now()
        settle_if_due(context, customer_id)
        with context.database.read() as connection:
            wallet = wallet_in(wallets.of_customer(connection, customer_id), context, unit)
            after, upto = statements.span(connection, wallet.id, last=wallet.sequence, start=start, end=end)
        span = _Span(customer_id, wallet.id, wallet.unit, after, upto)
        return Export(customer_id, wallet.unit, as_of, read(span))

    def _statement(self, span: _Span) -> Iterator[Sequence[StatementLine]]:
        after = span.after
        while after < span.upto:
            with self._context.database.read() as connection:
                rows = statements.onward(
                    connection, span.wallet_id, after=after, upto=span.upto, limit=PAGE_LINES
                )
                granted = {number for number in map(_grant_of, rows) if number is not None}
                given_for = store.grant_references(connection, granted) if granted else {}
            after = rows[-1].sequence
            yield [_statement_line(span, row, given_for) for row in rows]

    def _usage(self, span: _Span) -> Iterator[Sequence[UsageLine]]:
        after = span.after
        while after < span.upto:
            with self._context.database.read() as connection:
                first_at = store.entry_moment(connection, span.wallet_id, after + 1)
                upto = statements.count_before(
                    connection, span.wallet_id, last=span.upto, moment=day_start(first_at) + PAGE_DAYS * DAY
                )
                rows = store.usage(connection, span.wallet_id, after=after, upto=upto)
            after = upto
            yield _usage_lines(span, rows)

    def _payments(
        self, *, customer_id: int | None, unit: str | None, start: int | None, end: int | None, last: int
    ) -> Iterator[Sequence[PaymentRecord]]:
        after = 0
        while after < last:
            with self._context.database.read() as connection:
                rows = store.payments_onward(
                    connection,
                    customer_id=customer_id,
                    unit=unit,
                    start=start,
                    end=end,
                    after=after,
                    upto=last,
                    limit=PAGE_LINES,
                )
                names = store.external_ids(connection, {row.customer_id for row in rows})
            yield [PaymentRecord(row, status_of(row), names.get(row.customer_id)) for row in rows]
            after = rows[-1].id if len(rows) == PAGE_LINES else last


@dataclass(frozen=True, slots=True)
class _Span:
    """The lines of a wallet above ``after`` and up to ``upto``."""

    customer_id: int
    wallet_id: int
    unit: str
    after: int
    upto: int


def _check_span(start: int | None, end: int | None) -> None:
    if start is not None and end is not None and start >= end:
        raise errors.ValidationFailed([("to", "expected a moment after `from`")])


def _grant_of(row: EntryRow) -> int | None:
    """The grant that an entry belongs to."""
    return row.subject_id if (reference_of(row) or "").startswith("grant_") else None


def _statement_line(span: _Span, row: EntryRow, given_for: Mapping[int, str]) -> StatementLine:
    grant_id = _grant_of(row)
    return StatementLine(
        transaction_id=row.transaction_id,
        number=row.sequence,
        customer_id=span.customer_id,
        unit=span.unit,
        at=row.at,
        type=row.type,
        category=row.category,
        meter=row.meter,
        amount=row.amount,
        balance_after=row.balance_after,
        description=row.description,
        reference=reference_of(row),
        grant_reference=None if grant_id is None else given_for.get(grant_id),
        agent=row.agent,
        metadata=row.metadata,
    )


def _usage_lines(span: _Span, rows: Sequence[store.UsageRow]) -> list[UsageLine]:
    """The rows of some days, joined by day and meter, in this order. Days without any have no line."""
    sums: dict[tuple[int, str], list[int]] = {}
    for row in rows:
        total, amount = total_of(row.type, row.amount)
        if total != "spent" and row.type not in EARNED_CATEGORIES:
            continue
        sum_ = sums.setdefault((row.day_at, row.meter or ""), [0, 0, 0, 0])
        sum_[0] += row.count
        if total != "spent":
            sum_[3] += row.amount
        elif row.type == "refund":
            sum_[2] -= amount
        else:
            sum_[1] += amount
    return [
        UsageLine(
            f"{to_datetime(day_at):%Y-%m-%d}",
            span.customer_id,
            span.unit,
            meter or None,
            *sums[day_at, meter],
        )
        for day_at, meter in sorted(sums)
    ]
