"""Where a figure comes from: one charge with its working, and a customer's wallets as of a moment.

A charge is explained from what was stored when it was made: its own economy version, its transfers and its
result. A balance as of a moment is worked out anew from the transfers, not from any total that is kept.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.holdings import Spend, Wallet
from tallystick.core.ids import from_text
from tallystick.core.operations import Limit
from tallystick.core.rating import RatedAmount, RatedLine, rate
from tallystick.services.context import Caller, Context
from tallystick.services.customers import Customers
from tallystick.services.due import settle_if_due
from tallystick.services.economies import Economies
from tallystick.store import explanations, grants, statements, wallets
from tallystick.store.explanations import Posted
from tallystick.store.results import decode_result, subject_text

Key = TypeVar("Key", bound=Hashable)

CHARGES: Final = ("charge", "capture")


@dataclass(frozen=True, slots=True)
class LotDraw:
    """What a grant gave to a charge, with its terms, and what went back to it since."""

    grant_id: int
    unit: str
    amount: int
    refunded: int
    category: str
    origin: str
    priority: int
    effective_at: int
    expires_at: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class PricePart:
    """What one meter cost in one unit. ``lines`` is the working at the prices of then.

    ``lines`` is empty and ``quantity`` None where the amount was named and not rated, and for further meters.
    """

    meter: str | None
    category: str | None
    unit: str
    amount: int
    quantity: int | None
    lines: tuple[RatedLine, ...]


@dataclass(frozen=True, slots=True)
class BudgetSpend:
    """What a budget counted of a charge, in the period that began at ``period_at``."""

    source: str
    unit: str
    amount: int
    period_at: int


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """A wallet's balance before and after the charge."""

    unit: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class RefundLine:
    """One refund of a charge."""

    id: int
    charge_id: int
    date: int
    amounts: tuple[tuple[str, int], ...]
    reason: str | None


@dataclass(frozen=True, slots=True)
class UnitRefund:
    """What of a charge in one unit went back, and what still can."""

    unit: str
    refunded: int
    refundable: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a charge cost what it did, and who paid. ``seal_ok`` says that nobody edited it afterwards."""

    economy: str | None
    economy_name: str | None
    prices: tuple[PricePart, ...]
    lots: tuple[LotDraw, ...]
    limit: Limit | None
    budgets: tuple[BudgetSpend, ...]
    balances: tuple[BalanceChange, ...]
    refunds: tuple[RefundLine, ...]
    seal_ok: bool


@dataclass(frozen=True, slots=True)
class ChargeView:
    """A charge or the capture of a hold. ``amounts`` and ``refunds`` are of every unit, the other figures in ``unit``."""

    id: int
    customer_id: int
    hold_id: int | None
    created_at: int
    meter: str | None
    category: str | None
    quantity: int | None
    unit: str
    amount: int
    amounts: tuple[tuple[str, int], ...]
    balance: int
    refunded: int
    refundable: int
    refunds: tuple[UnitRefund, ...]
    agent: str | None
    description: str | None
    metadata: Mapping[str, Any]
    explain: Explanation


@dataclass(frozen=True, slots=True)
class LotAsOf:
    """A grant as of a moment: what was left of it, and how much of that open holds had reserved."""

    grant_id: int
    category: str
    origin: str
    priority: int
    effective_at: int
    expires_at: int | None
    amount: int
    remaining: int
    held: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class WalletAsOf:
    """A wallet as of a moment: ``balance = available + held - debt``.

    ``entries`` is how many lines the statement had by then, and ``statement_agrees`` says that its balance is
    the one worked out from the transfers. ``frozen_at`` is since when the wallet was frozen, if it still is.
    """

    unit: str
    balance: int
    available: int
    held: int
    debt: int
    entries: int
    statement_agrees: bool
    frozen_at: int | None
    lots: tuple[LotAsOf, ...]


@dataclass(frozen=True, slots=True)
class CustomerAsOf:
    """A customer's wallets as of a moment."""

    customer_id: int
    at: int
    wallets: tuple[WalletAsOf, ...]


def _also(found: Posted) -> tuple[tuple[str, int], ...]:
    """The further meters of a charge, with their quantities."""
    if found.kind != "charge" or found.result is None:
        return ()
    also: tuple[tuple[str, int], ...] = decode_result(found.kind, found.result).also
    return also


class Explain:
    """Explain a charge to its owner, and a balance to an admin."""

    def __init__(self, context: Context, customers: Customers, economies: Economies) -> None:
        self._context = context
        self._customers = customers
        self._economies = economies

    def charge(self, caller: Caller, charge_id: str) -> ChargeView:
        """A charge or capture with all that is behind it. Another customer's is not found."""
        number = from_text("chg", charge_id)
        if number is None:
            raise errors.NotFound("charge", charge_id)
        with self._context.database.read() as connection:
            found = explanations.transaction(connection, number, kinds=CHARGES)
            if found is None or not (caller.is_service or found.customer_id == caller.customer_id):
                raise errors.NotFound("charge", charge_id)
            return self._view(connection, found)

    def _view(self, connection: Connection, found: Posted) -> ChargeView:
        unit, amount = found.unit or "", found.amount or 0
        booked = explanations.lines(connection, found.id)
        usage = [line for line in booked if line.type == "usage"]
        amounts = _totals((line.unit, -line.amount) for line in usage)
        lots, refunds, refunded = _lots(connection, found)
        balances = _balances(booked)
        limit, spends = self._limit_and_spends(connection, found)
        economy = None if found.economy is None else self._economies.at(found.economy)
        explanation = Explanation(
            economy=found.economy,
            economy_name=None if economy is None else economy.name,
            prices=self._prices(found, usage),
            lots=lots,
            limit=limit,
            budgets=_budgets(connection, spends),
            balances=balances,
            refunds=refunds,
            seal_ok=explanations.seal_holds(connection, found),
        )
        return ChargeView(
            id=found.id,
            customer_id=found.customer_id,
            hold_id=found.subject_id,
            created_at=found.at,
            meter=found.meter,
            category=found.category,
            quantity=found.quantity,
            unit=unit,
            amount=amount,
            amounts=tuple(amounts.items()),
            balance=next((each.after for each in balances if each.unit == unit), 0),
            refunded=refunded.get(unit, 0),
            refundable=amount - refunded.get(unit, 0),
            refunds=tuple(
                UnitRefund(each, refunded.get(each, 0), cost - refunded.get(each, 0))
                for each, cost in amounts.items()
            ),
            agent=found.agent,
            description=found.description,
            metadata={} if found.metadata is None else msgspec.json.decode(found.metadata),
            explain=explanation,
        )

    def _prices(self, found: Posted, usage: list[explanations.Line]) -> tuple[PricePart, ...]:
        """Rate the quantity again by the economy of then: where that gives the amount, it is the working."""
        rated: dict[tuple[str, str], list[tuple[int, RatedAmount]]] = {}
        if found.economy is not None and found.meter and found.quantity:
            economy = self._economies.at(found.economy)
            for name, quantity in ((found.meter, found.quantity), *_also(found)):
                for each in rate(economy.meter(name), quantity):
                    rated.setdefault((name, each.unit), []).append((quantity, each))
        parts = []
        for line in usage:
            waiting = rated.get((line.meter or "", line.unit), [])
            quantity, same = waiting.pop(0) if waiting else (0, None)
            known = same is not None and same.amount_micros == -line.amount
            parts.append(
                PricePart(
                    meter=line.meter or None,
                    category=line.category,
                    unit=line.unit,
                    amount=-line.amount,
                    quantity=quantity if known else None,
                    lines=same.lines if same is not None and known else (),
                )
            )
        return tuple(parts)

    def _limit_and_spends(
        self, connection: Connection, found: Posted
    ) -> tuple[Limit | None, tuple[Spend, ...]]:
        """The hourly limit that counted the call (for a capture, its hold) and what each budget counted."""
        result = None if found.result is None else decode_result(found.kind, found.result)
        if found.kind == "charge":
            return (None, ()) if result is None else (result.limit, result.spends)
        hold = explanations.transaction(connection, found.subject_id or 0, kinds=("hold",))
        made = None if hold is None or hold.result is None else decode_result("hold", hold.result)
        return None if made is None else made.limit, () if result is None else result.spends

    def customer(self, caller: Caller, customer: str, at: int | None = None) -> CustomerAsOf:
        """Each wallet of a customer as of a moment that has passed, with the lots behind it. For admins."""
        if not caller.is_admin:
            raise errors.NotAllowed("this is for admins")
        customer_id = self._customers.resolve(caller, customer)
        now = self._context.now()
        moment = now if at is None else at
        if moment > now:
            raise errors.ValidationFailed([("at", "expected a moment that has passed")])
        settle_if_due(self._context, customer_id)
        with self._context.database.read() as connection:
            lots = grants.all_of_customer(connection, customer_id)
            held = explanations.held_at(connection, customer_id, moment)
            found = wallets.of_customer(connection, customer_id).values()
            views = tuple(_wallet_at(connection, wallet, lots, held, moment) for wallet in found)
        return CustomerAsOf(customer_id, moment, views)


def _totals(pairs: Iterable[tuple[Key, int]]) -> dict[Key, int]:
    totals: dict[Key, int] = {}
    for key, amount in pairs:
        totals[key] = totals.get(key, 0) + amount
    return totals


def _lots(
    connection: Connection, found: Posted
) -> tuple[tuple[LotDraw, ...], tuple[RefundLine, ...], dict[str, int]]:
    """The lots that paid, the refunds, and what was refunded per unit."""
    made, returned = explanations.refunds(connection, [found.id])
    back = _totals((leg.grant_id, leg.amount) for leg in returned)
    drawn = _totals(
        ((leg.grant_id, leg.unit), leg.amount) for leg in explanations.draws(connection, found.id)
    )
    terms = grants.by_ids(connection, [grant_id for grant_id, _ in drawn])
    lots = tuple(
        LotDraw(
            grant_id=grant_id,
            unit=unit,
            amount=amount,
            refunded=back.get(grant_id, 0),
            category=terms[grant_id].category,
            origin=terms[grant_id].origin,
            priority=terms[grant_id].priority,
            effective_at=terms[grant_id].effective_at,
            expires_at=terms[grant_id].expires_at,
            reason=terms[grant_id].reason,
        )
        for (grant_id, unit), amount in drawn.items()
    )
    return lots, refund_lines(made, returned), _totals((leg.unit, leg.amount) for leg in returned)


def refund_lines(
    made: Sequence[explanations.Posted], returned: Sequence[explanations.Leg]
) -> tuple[RefundLine, ...]:
    """Refunds with what each gave back by unit."""
    amounts: dict[int, dict[str, int]] = {}
    for leg in returned:
        sums = amounts.setdefault(leg.transaction_id, {})
        sums[leg.unit] = sums.get(leg.unit, 0) + leg.amount
    return tuple(
        RefundLine(
            id=row.id,
            charge_id=row.subject_id or 0,
            date=row.at,
            amounts=tuple(amounts.get(row.id, {}).items()),
            reason=row.description,
        )
        for row in made
    )


def _balances(booked: list[explanations.Line]) -> tuple[BalanceChange, ...]:
    """The balance of each wallet before the first of its entries and after the last."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for line in booked:
        first.setdefault(line.unit, line.balance_after - line.amount)
        last[line.unit] = line.balance_after
    return tuple(BalanceChange(unit, before, last[unit]) for unit, before in first.items())


def _budgets(connection: Connection, spends: tuple[Spend, ...]) -> tuple[BudgetSpend, ...]:
    subjects = explanations.budget_subjects(connection, [number for number, *_ in spends])
    found = []
    for number, unit, period_at, amount in spends:
        level, subject = subjects.get(number, ("removed", number))
        found.append(BudgetSpend(f"budget:{level}:{subject_text(level, subject)}", unit, amount, period_at))
    return tuple(found)


def _wallet_at(
    connection: Connection, wallet: Wallet, lots: list[grants.GrantRow], held: Mapping[int, int], moment: int
) -> WalletAsOf:
    entries = statements.count_before(connection, wallet.id, last=wallet.sequence, moment=moment + 1)
    net = explanations.posted_until(connection, wallet.id, entries)
    views = tuple(
        LotAsOf(
            grant_id=lot.id,
            category=lot.category,
            origin=lot.origin,
            priority=lot.priority,
            effective_at=lot.effective_at,
            expires_at=lot.expires_at,
            amount=lot.amount,
            remaining=net[lot.id],
            held=held.get(lot.id, 0),
            reason=lot.reason,
        )
        for lot in sorted(lots, key=_burn_key)
        if lot.unit == wallet.unit and net.get(lot.id, 0) > 0
    )
    debt = -net.get(wallet.debt_account_id, 0)
    remaining, reserved = sum(lot.remaining for lot in views), sum(lot.held for lot in views)
    return WalletAsOf(
        unit=wallet.unit,
        balance=remaining - debt,
        available=remaining - reserved,
        held=reserved,
        debt=debt,
        entries=entries,
        statement_agrees=remaining - debt == explanations.balance_at(connection, wallet.id, entries),
        frozen_at=None if wallet.frozen_at is None or wallet.frozen_at > moment else wallet.frozen_at,
        lots=views,
    )


def _burn_key(lot: grants.GrantRow) -> tuple[int, bool, int, int]:
    return (lot.priority, lot.expires_at is None, lot.expires_at or 0, lot.id)
