"""Balances, statements, usage and holds, as a customer reads them. What is due is booked first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.holdings import Wallet
from tallystick.core.ids import from_text, to_text
from tallystick.core.operations import ResolveResult
from tallystick.core.times import DAY, day_start, to_datetime
from tallystick.core.words import EARNED_CATEGORIES, ENTRY_TYPES, total_of
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.day_sums import DaySums
from tallystick.services.due import settle_if_due
from tallystick.services.grants import GrantView, view_of
from tallystick.services.pages import DEFAULT_LIMIT, Page, check_limit, page_of, position_of
from tallystick.store import explanations, grants, holds, memberships, refills, statements, wallets
from tallystick.store.results import decode_result

PERIODS: Final = {"7d": 7, "30d": 30, "90d": 90}
HOLD_STATUSES: Final = ("open", "captured", "released", "expired")

# What an entry belongs to: the prefix of its id, and whether that is the transaction itself or its subject.
_REFERENCES: Final = {
    "charge": ("chg", True),
    "capture": ("chg", True),
    "hold": ("hold", True),
    "release": ("hold", False),
    "hold_expiry": ("hold", False),
    "refund": ("chg", False),
    "grant": ("grant", False),
    "sign_up_grant": ("grant", False),
    "grant_start": ("grant", False),
    "monthly_grant": ("grant", False),
    "expiry": ("grant", False),
    "void": ("grant", False),
    "clawback": ("grant", False),
    "reinstatement": ("grant", False),
    "task_settlement": ("hold", False),
    "task_refund": ("task", False),
}


@dataclass(frozen=True, slots=True)
class Balance:
    """A wallet now, in micro-units: ``balance = available + held - debt``, the last entry's balance after it.

    ``balance = granted + purchased + earned - spent - expired - removed`` over its life. ``grants`` are the
    open ones in burn order; what is left of them is the balance and the debt together.
    """

    customer_id: int
    unit: str
    balance: int
    available: int
    held: int
    debt: int
    granted: int
    purchased: int
    earned: int
    spent: int
    expired: int
    removed: int
    tier: str | None
    unlimited: bool
    auto_refill: bool
    threshold: int | None
    next_grant_at: int | None
    frozen_at: int | None
    grants: tuple[GrantView, ...]

    @property
    def expires_next(self) -> tuple[int, int, int] | None:
        """When the next credits expire, how many of those that can be spent, and how many of those that are held.

        None where none do.
        """
        ending = [each for each in self.grants if each.expires_at is not None and each.remaining]
        first = min((each.expires_at for each in ending if each.expires_at is not None), default=None)
        if first is None:
            return None
        held = sum(each.held for each in ending if each.expires_at == first)
        return first, sum(each.remaining for each in ending if each.expires_at == first) - held, held


@dataclass(frozen=True, slots=True)
class EntryView:
    """One line of a statement: ``id`` is its transaction, ``reference`` the id of what it belongs to."""

    id: int
    number: int
    sequence: int
    unit: str
    date: int
    type: str
    category: str | None
    meter: str | None
    amount: int
    balance_after: int
    description: str | None
    reference: str | None
    metadata: Mapping[str, Any]
    agent: str | None


@dataclass(frozen=True, slots=True)
class Day:
    """What a day (UTC) spent, less what of that came back on whichever day, and earned.

    ``by_meter`` splits what was spent. Nothing is ever below zero.
    """

    date: str
    spent: int
    earned: int
    by_meter: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Totals:
    """The sum of the days."""

    spent: int
    earned: int
    by_meter: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Usage:
    """Some days of a wallet, oldest first, today last; days without entries are there too."""

    unit: str
    period: str
    start: int
    end: int
    days: tuple[Day, ...]
    totals: Totals


@dataclass(frozen=True, slots=True)
class HoldView:
    """A hold. ``charge_id`` is what it became when it was captured."""

    id: int
    customer_id: int
    status: str
    meter: str | None
    quantity: int
    unit: str
    amount: int
    amounts: tuple[tuple[str, int], ...]
    captured: int | None
    charge_id: int | None
    economy: str | None
    agent: str | None
    description: str | None
    metadata: Mapping[str, Any]
    expires_at: int
    created_at: int
    resolved_at: int | None


@dataclass(frozen=True, slots=True)
class HoldReceipt:
    """The charge that a hold became, as its capture was answered: ``balance`` is the one after it."""

    charge_id: int
    unit: str
    amount: int
    balance: int
    created_at: int


class Billing:
    """A customer's own figures."""

    def __init__(self, context: Context, customers: Customers) -> None:
        self._context = context
        self._customers = customers
        self._days = DaySums()

    def balance(self, caller: Caller, *, customer: str | None = None, unit: str | None = None) -> Balance:
        """What a wallet holds now, and in which grants. Touches the open lots only."""
        context = self._context
        economy = context.economy()
        customer_id = self._customers.resolve(caller, customer)
        # The clock is read before the settling: whatever is over by then has been booked.
        now = context.now()
        settle_if_due(context, customer_id)
        with context.database.read() as connection:
            wallet = wallet_in(wallets.of_customer(connection, customer_id), context, unit)
            wallets.load_lots(connection, wallet)
            rows = grants.open_lots(connection, customer_id, wallet.unit)
            membership = memberships.get(connection, customer_id)
            refill = refills.get(connection, customer_id)
            scheduled_at = grants.next_scheduled(connection, customer_id, wallet.unit)
        refilled = refill is not None and refill.enabled and refill.unit == wallet.unit
        plan = None if membership is None else economy.plans.get(membership.plan)
        allowance = None if plan is None else plan.allowance(wallet.unit)
        renews = membership is not None and allowance is not None and bool(allowance.amount_micros)
        coming = [scheduled_at, membership.period_end if membership is not None and renews else None]
        return Balance(
            customer_id=customer_id,
            unit=wallet.unit,
            balance=wallet.balance,
            available=wallet.available(now),
            held=wallet.held,
            debt=wallet.debt,
            granted=wallet.granted,
            purchased=wallet.purchased,
            earned=wallet.earned,
            spent=wallet.spent,
            expired=wallet.expired,
            removed=wallet.removed,
            tier=None if membership is None else membership.plan,
            unlimited=wallet.cover_id is not None,
            auto_refill=refilled,
            threshold=refill.threshold
            if refilled and refill is not None
            else economy.low_balance.warning_below(wallet.unit),
            next_grant_at=min((moment for moment in coming if moment is not None), default=None),
            frozen_at=wallet.frozen_at,
            grants=tuple(view_of(rows[lot.id], now) for lot in wallet.lots),
        )

    def transactions(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        unit: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name at every door
        start: int | None = None,
        end: int | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[EntryView]:
        """A wallet's statement, newest first; of one type, from ``start`` on and before ``end`` if given."""
        context = self._context
        customer_id = self._customers.resolve(caller, customer)
        most, before = check_limit(limit), position_of("entries", cursor)
        if type is not None and type not in ENTRY_TYPES:
            raise errors.ValidationFailed([("type", f"expected one of {', '.join(sorted(ENTRY_TYPES))}")])
        settle_if_due(context, customer_id)
        with context.database.read() as connection:
            wallet = wallet_in(wallets.of_customer(connection, customer_id), context, unit)
            after, upto = statements.span(connection, wallet.id, last=wallet.sequence, start=start, end=end)
            if before is not None:
                upto = min(upto, before - 1)
            rows = statements.page(
                connection, wallet.id, after=after, upto=upto, entry_type=type, limit=most + 1
            )
        page = page_of("entries", rows, limit=most, position=lambda row: row.sequence)
        return Page([_entry(row, wallet.unit) for row in page.items], page.has_more, page.next_cursor)

    def usage(
        self, caller: Caller, *, customer: str | None = None, unit: str | None = None, period: str = "30d"
    ) -> Usage:
        """What a wallet spent and earned on each of the last days (UTC), today included."""
        context = self._context
        customer_id = self._customers.resolve(caller, customer)
        if period not in PERIODS:
            raise errors.ValidationFailed([("period", f"expected one of {', '.join(PERIODS)}")])
        now = context.now()
        start = day_start(now) - (PERIODS[period] - 1) * DAY
        settle_if_due(context, customer_id)
        with context.database.read() as connection:
            wallet = wallet_in(wallets.of_customer(connection, customer_id), context, unit)
            rows = self._days.between(
                connection, wallet.id, last=wallet.sequence, start=start, end=day_start(now) + DAY
            )
        days = tuple(
            _day(at, [row for row in rows if row.counts_at == at])
            for at in range(start, day_start(now) + 1, DAY)
        )
        by_meter: dict[str, int] = {}
        for day in days:
            for meter, spent in day.by_meter.items():
                by_meter[meter] = by_meter.get(meter, 0) + spent
        totals = Totals(sum(day.spent for day in days), sum(day.earned for day in days), by_meter)
        return Usage(wallet.unit, period, start, now, days, totals)


class HoldsView:
    """A customer's holds."""

    def __init__(self, context: Context, customers: Customers) -> None:
        self._context = context
        self._customers = customers

    def list(
        self,
        caller: Caller,
        *,
        customer: str | None = None,
        status: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[HoldView]:
        """A customer's holds, newest first, of one status where it is given."""
        customer_id = self._customers.resolve(caller, customer)
        most, before = check_limit(limit), position_of("holds", cursor)
        if status is not None and status not in HOLD_STATUSES:
            raise errors.ValidationFailed([("status", f"expected one of {', '.join(HOLD_STATUSES)}")])
        settle_if_due(self._context, customer_id)
        with self._context.database.read() as connection:
            rows = holds.of_customer(connection, customer_id, status=status, before=before, limit=most + 1)
        page = page_of("holds", rows, limit=most, position=lambda row: row.id)
        return Page([_hold(row) for row in page.items], page.has_more, page.next_cursor)

    def get(self, caller: Caller, hold_id: str) -> tuple[HoldView, HoldReceipt | None]:
        """One hold as it is now, and the receipt of what captured it. Another customer's is not found."""
        number = from_text("hold", hold_id)
        with self._context.database.read() as connection:
            found = None if number is None else holds.outcome_of(connection, number)
        if (
            number is None
            or found is None
            or not (caller.is_service or found.customer_id == caller.customer_id)
        ):
            raise errors.NotFound("hold", hold_id)
        settle_if_due(self._context, found.customer_id)
        with self._context.database.read() as connection:
            row = holds.by_id(connection, number)
            assert row is not None
            return _hold(row), _receipt(connection, row)


def wallet_in(found: Mapping[str, Wallet], context: Context, unit: str | None) -> Wallet:
    """The wallet in ``unit`` or in the primary one; a unit that the economy dropped is still shown."""
    name = context.economy().primary_unit if unit is None else unit
    wallet = found.get(name)
    if wallet is None:
        context.economy().unit(name)
        raise errors.UnknownUnit(name)
    return wallet


def reference_of(row: statements.EntryRow) -> str | None:
    """The id of what an entry belongs to: a charge, a hold or a grant."""
    prefix, is_own = _REFERENCES.get(row.kind, ("", False))
    number = row.transaction_id if is_own else row.subject_id
    return to_text(prefix, number) if prefix and number is not None else None


def _entry(row: statements.EntryRow, unit: str) -> EntryView:
    return EntryView(
        id=row.transaction_id,
        number=row.number,
        sequence=row.sequence,
        unit=unit,
        date=row.at,
        type=row.type,
        category=row.category,
        meter=row.meter,
        amount=row.amount,
        balance_after=row.balance_after,
        description=row.description,
        reference=reference_of(row),
        metadata=_metadata(row.metadata),
        agent=row.agent,
    )


def _day(at: int, rows: list[statements.DayRow]) -> Day:
    spent = earned = 0
    by_meter: dict[str, int] = {}
    for row in rows:
        total, amount = total_of(row.type, row.amount)
        if total == "spent":
            spent += amount
            if row.meter is not None:
                by_meter[row.meter] = by_meter.get(row.meter, 0) + amount
        elif row.type in EARNED_CATEGORIES:
            earned += amount
    return Day(f"{to_datetime(at):%Y-%m-%d}", spent, earned, _settled(by_meter))


def _settled(by_meter: dict[str, int]) -> dict[str, int]:
    """A refund is booked on its charge's first meter: what exceeds that one's share was spent on the others."""
    over = -sum(spent for spent in by_meter.values() if spent < 0)
    settled = {}
    for meter, spent in sorted(by_meter.items(), key=lambda each: -each[1]):
        settled[meter] = max(spent - over, 0)
        over = max(over - max(spent, 0), 0)
    return {meter: settled[meter] for meter in by_meter}


def _hold(row: holds.HoldRow) -> HoldView:
    unit, amount = row.amounts[0]
    return HoldView(
        id=row.id,
        customer_id=row.customer_id,
        status=row.status,
        meter=row.meter,
        quantity=row.quantity,
        unit=unit,
        amount=amount,
        amounts=row.amounts,
        captured=row.captured,
        charge_id=row.resolved_by if row.is_charge else None,
        economy=row.economy,
        agent=row.agent,
        description=row.description,
        metadata=_metadata(row.metadata),
        expires_at=row.expires_at,
        created_at=row.created_at,
        resolved_at=row.resolved_at,
    )


def _receipt(connection: Connection, row: holds.HoldRow) -> HoldReceipt | None:
    if row.status != "captured" or row.resolved_by is None:
        return None
    posted = explanations.transaction(connection, row.resolved_by, kinds=("capture",))
    if posted is None or posted.result is None:
        return None
    result: ResolveResult = decode_result(posted.kind, posted.result)
    if result.hold_id == row.id:
        return HoldReceipt(result.id, result.unit, result.captured, result.balance, result.created_at)
    # It was captured with another hold, which the answer is about.
    unit = row.amounts[0][0]
    balances = {line.unit: line.balance_after for line in explanations.lines(connection, result.id)}
    return HoldReceipt(result.id, unit, row.captured or 0, balances[unit], result.created_at)


def _metadata(text: str | None) -> Mapping[str, Any]:
    return {} if text is None else msgspec.json.decode(text)
