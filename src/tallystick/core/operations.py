"""What can be asked of the ledger: one class per operation, applied to a loaded Book. Pure decisions, no I/O.

``apply`` checks everything first and raises a refusal with the book unchanged, or does all of it and returns the result
that the caller gets and that a repeat gets again. Refusals are checked in a fixed order: frozen wallet, hourly limit,
budgets from the narrowest to the widest, credits.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from tallystick.core import errors
from tallystick.core.book import Book
from tallystick.core.holdings import Hold, Spend, Transaction, Wallet
from tallystick.core.ids import to_text
from tallystick.core.limits import Budget, check_hourly, hour_of
from tallystick.core.words import REVENUE

Draw = tuple[int, str, int]  # grant id, unit, amount in micro-units
Count = tuple[str, int]  # meter, calls that its hourly limit counted


class Part(NamedTuple):
    """One meter's price in one unit, within a charge or a hold."""

    meter: str
    category: str
    unit: str
    amount: int


class Limit(NamedTuple):
    """What the hourly limit of a meter allows after this call."""

    limit: int
    remaining: int
    reset_at: int


class ChargeResult(NamedTuple):
    """A charge as it was made. Amounts and quantities in micro-units, times in microseconds."""

    id: int
    customer_id: int
    meter: str | None
    quantity: int
    unit: str
    amount: int
    amounts: tuple[tuple[str, int], ...]
    balance: int
    available: int
    draws: tuple[Draw, ...]
    limit: Limit | None
    economy: str | None
    created_at: int
    spends: tuple[Spend, ...] = ()
    counts: tuple[Count, ...] = ()
    also: tuple[tuple[str, int], ...] = ()


class HoldResult(NamedTuple):
    """A hold as it was made."""

    id: int
    customer_id: int
    meter: str | None
    quantity: int
    unit: str
    amount: int
    amounts: tuple[tuple[str, int], ...]
    expires_at: int
    available: int
    balance: int
    draws: tuple[Draw, ...]
    limit: Limit | None
    economy: str | None
    created_at: int
    spends: tuple[Spend, ...] = ()
    counts: tuple[Count, ...] = ()
    also: tuple[tuple[str, int], ...] = ()


class ResolveResult(NamedTuple):
    """What became of a hold: how much was captured and how much went back."""

    id: int
    hold_id: int
    customer_id: int
    status: str
    unit: str
    captured: int
    released: int
    amounts: tuple[tuple[str, int], ...]
    balance: int
    available: int
    draws: tuple[Draw, ...]
    economy: str | None
    created_at: int
    spends: tuple[Spend, ...] = ()
    also_hold_id: int | None = None


@dataclass(slots=True, kw_only=True)
class Operation(ABC):
    """Who asks, for which customer, and the key that makes a repeat harmless."""

    kind: ClassVar[str] = ""
    customer_id: int
    caller: str
    key_id: int | None = None
    key_has_budget: bool = False
    agent: str | None = None
    idempotency: str | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None
    description: str | None = None
    metadata: str | None = None
    economy: str | None = None
    # What the store must load beside the customer's wallets and open lots.
    other_customer_id: int | None = None
    hold_id: int | None = None
    also_hold_id: int | None = None
    charge_id: int | None = None
    grant_id: int | None = None
    task_id: int | None = None
    with_payment: ClassVar[bool] = False  # of the task: what moved when it was settled
    hourly: tuple[tuple[str, int, int], ...] = ()  # (meter, limit, count)

    @abstractmethod
    def apply(self, book: Book) -> object:
        """Do all of it and give the result, or raise a refusal with the book unchanged."""

    def begin(self, book: Book, kind: str | None = None) -> Transaction:
        """The journal row of this operation."""
        transaction = book.begin(kind or self.kind, self.customer_id)
        transaction.caller = self.caller
        transaction.agent = self.agent
        transaction.idempotency = self.idempotency
        transaction.idempotency_key = self.idempotency_key
        transaction.request_digest = self.request_digest
        transaction.description = self.description
        transaction.metadata = self.metadata
        transaction.economy = self.economy
        return transaction


@dataclass(slots=True, kw_only=True)
class PricedOperation(Operation):
    """A charge or a hold: priced parts, limits and budgets."""

    parts: tuple[Part, ...]
    meter: str | None = None
    quantity: int = 0
    also: tuple[tuple[str, int], ...] = ()  # further meters with their quantities
    budgets: Sequence[Budget] = ()

    def wallets_of(self, book: Book) -> list[tuple[Wallet, int]]:
        """Each unit's wallet with the sum of this operation's parts in it, after all checks."""
        parts = self.parts
        self.budgets = ()  # A batch that the database refused is applied again.
        totals = {parts[0].unit: parts[0].amount}
        for part in parts[1:]:
            totals[part.unit] = totals.get(part.unit, 0) + part.amount
        wallets = [(book.wallet(self.customer_id, unit), amount) for unit, amount in totals.items()]
        for wallet, _ in wallets:
            if wallet.frozen_at is not None:
                raise errors.WalletFrozen(wallet.unit)
        if self.hourly:
            self.check_hourly(book)
        if book.budgets:
            self.budgets = book_budgets(book, self)
            for budget in self.budgets:
                amount = totals.get(budget.unit, 0)
                if amount:
                    budget.check(amount)
        for wallet, amount in wallets:
            if wallet.cover_id is None:
                require(book, wallet, amount)
        return wallets

    def check_hourly(self, book: Book) -> None:
        """Refuse past an hourly limit; the balance has no say in it."""
        for meter, limit, count in self.hourly:
            window_at = hour_of(book.now)
            used = book.hourly.get((self.customer_id, meter, window_at), 0)
            check_hourly(meter=meter, limit=limit, used=used, count=count, window_at=window_at, now=book.now)

    def counts(self) -> tuple[Count, ...]:
        """How many calls of each limited meter this operation counts."""
        return tuple((meter, count) for meter, _, count in self.hourly)

    def count(self, book: Book, totals: list[tuple[Wallet, int]]) -> tuple[Limit | None, tuple[Spend, ...]]:
        """Note this call in its hourly limits and budgets; gives the first limit's state and what each budget spent."""
        state: Limit | None = None
        for meter, limit, count in self.hourly:
            window_at = hour_of(book.now)
            used = book.count_hourly(self.customer_id, meter, window_at, count)
            if state is None:
                state = Limit(limit, limit - used, window_at + 3_600_000_000)
        return state, count_spends(book, self.budgets, {wallet.unit: amount for wallet, amount in totals})


def book_budgets(book: Book, operation: Operation) -> list[Budget]:
    """The budgets that bound this operation, narrowest first: key, agent, customer."""
    found: list[Budget] = []
    if operation.key_id is not None:
        found += book.budgets.get(("key", operation.key_id, ""), ())
    if operation.agent is not None:
        found += book.budgets.get(("agent", operation.customer_id, operation.agent), ())
    found += book.budgets.get(("customer", operation.customer_id, ""), ())
    return found


def count_spends(book: Book, budgets: Sequence[Budget], amounts: dict[str, int]) -> tuple[Spend, ...]:
    """Count what is spent, per unit in micro-units, in each budget of that unit; gives what each one counted."""
    spends = []
    for budget in budgets:
        amount = amounts.get(budget.unit, 0)
        if amount:
            book.count_budget(budget.id, budget.period_at, amount)
            spends.append((budget.id, budget.unit, budget.period_at, amount))
    return tuple(spends)


def require(book: Book, wallet: Wallet, amount: int) -> None:
    """Refuse when the wallet cannot give ``amount`` now; the figures shown are the ones that decided."""
    available = wallet.available(book.now)
    if available < amount:
        book.refuse(wallet, available)
        raise errors.InsufficientCredits(
            unit=wallet.unit,
            required=amount,
            available=available,
            limit_source=f"wallet:{wallet.unit}",
        )


@dataclass(slots=True, kw_only=True)
class Charge(PricedOperation):
    """Price a usage and draw the credits now."""

    kind: ClassVar[str] = "charge"

    def apply(self, book: Book) -> ChargeResult:
        """Draw every part, in all units or in none."""
        totals = self.wallets_of(book)
        transaction = self.begin(book)
        transaction.meter = self.meter
        transaction.quantity = self.quantity
        first = self.parts[0]
        transaction.category = first.category
        transaction.unit = first.unit
        draws: list[Draw] = []
        for part in self.parts:
            amount = part.amount
            wallet = book.wallets[self.customer_id, part.unit]
            if amount:
                revenue = book.system_account(part.unit, REVENUE)
                for lot, take in book.spend(transaction, wallet, amount, revenue):
                    draws.append((lot.id, part.unit, take))
            book.entry(transaction, wallet, "usage", -amount, category=part.category, meter=part.meter)
        limit, spends = self.count(book, totals) if self.hourly or self.budgets else (None, ())
        wallet, amount = totals[0]
        transaction.amount = amount
        return ChargeResult(
            transaction.id,
            self.customer_id,
            self.meter,
            self.quantity,
            wallet.unit,
            amount,
            tuple([(each.unit, total) for each, total in totals]),
            wallet.balance,
            wallet.available(book.now),
            tuple(draws),
            limit,
            self.economy,
            transaction.at,
            spends,
            self.counts() if self.hourly else (),
            self.also,
        )


@dataclass(slots=True, kw_only=True)
class PlaceHold(PricedOperation):
    """Reserve now what a later capture takes. ``maker`` alone, or an admin, may resolve it."""

    kind: ClassVar[str] = "hold"
    maker: str
    expires_at: int

    def apply(self, book: Book) -> HoldResult:
        """Reserve every part, in all units or in none."""
        totals = self.wallets_of(book)
        transaction = self.begin(book)
        transaction.meter = self.meter
        transaction.quantity = self.quantity
        first = self.parts[0]
        transaction.category = first.category
        transaction.unit = first.unit
        hold = Hold(
            id=transaction.id,
            customer_id=self.customer_id,
            status="open",
            maker=self.maker,
            expires_at=self.expires_at,
        )
        draws: list[Draw] = []
        for wallet, amount in totals:
            book.touched[wallet.id] = wallet
            if not amount:
                continue
            revenue = book.system_account(wallet.unit, REVENUE)
            taken = book.reserve(transaction, wallet, amount, revenue)
            hold.legs += taken
            draws += [(lot.id, wallet.unit, take) for lot, take in taken]
        limit, spends = self.count(book, totals)
        wallet, amount = totals[0]
        wallet.due_by(self.expires_at)
        transaction.amount = amount
        hold.meter, hold.category, hold.quantity = self.meter, first.category, self.quantity
        hold.economy, hold.spends = self.economy, spends
        hold.amounts = tuple((each.unit, total) for each, total in totals)
        book.place_hold(hold)
        return HoldResult(
            transaction.id,
            self.customer_id,
            self.meter,
            self.quantity,
            wallet.unit,
            amount,
            hold.amounts,
            self.expires_at,
            wallet.available(book.now),
            wallet.balance,
            tuple(draws),
            limit,
            self.economy,
            transaction.at,
            spends,
            self.counts() if self.hourly else (),
            self.also,
        )


@dataclass(slots=True, kw_only=True)
class Resolve(Operation):
    """Capture a hold for ``amounts`` (unit and micro-units), or release it where ``amounts`` is None.

    Below the hold the rest is released; above it the difference is drawn like a charge, all of it or nothing. ``parts``
    say for which meters, where the statement has a line for each. ``also_hold_id`` is captured with it, both or neither.
    """

    kind: ClassVar[str] = "capture"
    maker: str
    is_admin: bool = False
    amounts: tuple[tuple[str, int], ...] | None = None
    quantity: int | None = None
    parts: tuple[Part, ...] = ()
    also_amounts: tuple[tuple[str, int], ...] = ()
    also_parts: tuple[Part, ...] = ()
    status: str = "released"

    def apply(self, book: Book) -> ResolveResult:
        """Post what was used, void the rest, draw what was used beyond."""
        hold = self._open(book, self.hold_id)
        if self.amounts is None:
            wanted = {unit: 0 for unit, _ in hold.amounts}
            status = self.status
        else:
            wanted = dict(self.amounts)
            status = "captured"
        resolved = [(hold, wanted, self.parts)]
        if self.also_hold_id is not None:
            also = self._open(book, self.also_hold_id)
            if also is hold or also.customer_id != hold.customer_id:
                raise errors.NotFound("hold", to_text("hold", also.id))
            resolved.append((also, dict(self.also_amounts), self.also_parts))
        extra = self._check_extra(book, resolved)
        transaction = self.begin(book, "capture" if status == "captured" else "release")
        transaction.subject_id = hold.id
        transaction.meter, transaction.category = hold.meter, hold.category
        transaction.quantity = hold.quantity if self.quantity is None else self.quantity
        transaction.economy = hold.economy
        draws: list[Draw] = []
        spends: list[Spend] = []
        totals: dict[str, int] = {}
        for each, used, parts in resolved:
            draws += resolve_hold(book, transaction, each, used, status, parts=parts)
            spends += [
                (number, spent, at, min(amount, used.get(spent, 0)))
                for number, spent, at, amount in each.spends
            ]
            for unit, amount in used.items():
                totals[unit] = totals.get(unit, 0) + amount
        spends += count_spends(book, book_budgets(book, self), extra)
        unit = hold.amounts[0][0]
        wallet = book.wallet(self.customer_id, unit)
        captured = wanted.get(unit, 0)
        transaction.unit, transaction.amount = unit, captured
        return ResolveResult(
            transaction.id,
            hold.id,
            self.customer_id,
            status,
            unit,
            captured,
            max(hold.amounts[0][1] - captured, 0),
            tuple(totals.items()),
            wallet.balance,
            wallet.available(book.now),
            tuple(draws),
            hold.economy,
            transaction.at,
            tuple(spend for spend in spends if spend[3]),
            self.also_hold_id,
        )

    def _open(self, book: Book, number: int | None) -> Hold:
        hold = book.holds.get(number or 0)
        if hold is None or not (self.is_admin or hold.maker == self.maker):
            raise errors.NotFound("hold", to_text("hold", number or 0))
        if hold.status != "open":
            raise errors.HoldNotOpen(hold.status)
        return hold

    def _check_extra(
        self, book: Book, resolved: list[tuple[Hold, dict[str, int], tuple[Part, ...]]]
    ) -> dict[str, int]:
        """What is captured beyond the holds must be there, or nothing is captured; gives it per unit.

        It is spent like a charge made now: in the budgets of now and in their current periods, not in those of a hold.
        """
        beyond: dict[str, int] = {}
        for hold, wanted, _ in resolved:
            held = dict(hold.amounts)
            for unit, amount in wanted.items():
                extra = amount - held.get(unit, 0)
                if extra > 0:
                    beyond[unit] = beyond.get(unit, 0) + extra
        for unit, extra in beyond.items():
            wallet = book.wallet(self.customer_id, unit)
            if wallet.frozen_at is not None:
                raise errors.WalletFrozen(unit)
            for budget in book_budgets(book, self):
                if budget.unit == unit:
                    budget.check(extra)
            if wallet.cover_id is None:
                require(book, wallet, extra)
        return beyond


def resolve_hold(
    book: Book,
    transaction: Transaction,
    hold: Hold,
    wanted: dict[str, int],
    status: str,
    *,
    parts: Sequence[Part] = (),
) -> list[Draw]:
    """Post ``wanted`` per unit from the hold's legs, in their order, and void the rest. The extra was checked before."""
    draws: list[Draw] = []
    remaining = dict(wanted)
    for lot, held in hold.legs:
        revenue = book.system_account(lot.unit, REVENUE)
        take = min(held, remaining.get(lot.unit, 0))
        if take:
            book.post_held(transaction, lot, take, revenue, hold.id)
            remaining[lot.unit] -= take
            draws.append((lot.id, lot.unit, take))
        if take < held:
            book.void_held(transaction, lot, held - take, revenue, hold.id)
    for unit, held_amount in hold.amounts:
        wallet = book.wallet(hold.customer_id, unit)
        extra = remaining.get(unit, 0)
        if extra:
            draws += _draw_extra(book, transaction, wallet, extra)
        captured = wanted.get(unit, 0)
        if status == "captured":
            whole = (hold.category, hold.meter, captured)
            for category, meter, amount in _lines_of(parts, unit) or [whole]:
                book.entry(transaction, wallet, "usage", -amount, category=category, meter=meter)
        book.touched[wallet.id] = wallet
        for budget_id, spent_unit, period_at, _ in hold.spends:
            if spent_unit == unit and captured < held_amount:
                book.count_budget(budget_id, period_at, captured - held_amount)
    _lapse_legs(book, transaction, hold)
    hold.status, hold.resolved_at, hold.resolved_by = status, transaction.at, transaction.id
    book.resolved.append(hold)
    return draws


def _lines_of(parts: Sequence[Part], unit: str) -> list[tuple[str | None, str | None, int]]:
    """What the statement says of the parts in one unit: category, meter and amount of each."""
    return [(each.category, each.meter, each.amount) for each in parts if each.unit == unit]


def _lapse_legs(book: Book, transaction: Transaction, hold: Hold) -> None:
    """What came back to a lot whose time is over leaves the wallet; what still has time is watched again."""
    for lot, _ in hold.legs:
        wallet = book.wallet(lot.customer_id, lot.unit)
        book.lapse(transaction, wallet, lot)
        if lot.expires_at is not None and lot.available > 0:
            wallet.due_by(lot.expires_at)


def _draw_extra(book: Book, transaction: Transaction, wallet: Wallet, extra: int) -> list[Draw]:
    revenue = book.system_account(wallet.unit, REVENUE)
    return [(lot.id, wallet.unit, take) for lot, take in book.spend(transaction, wallet, extra, revenue)]
