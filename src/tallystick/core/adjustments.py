"""Operations of operators: grant, refund of a charge, void of a grant, clawback with debt, freeze and thaw of a wallet."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from tallystick.core import errors
from tallystick.core.book import Book
from tallystick.core.decimals import to_decimal
from tallystick.core.events import GRANT_CREATED, GRANT_VOIDED
from tallystick.core.holdings import MAX_BALANCE, GrantTerms, Lot, PastCharge, Wallet
from tallystick.core.ids import to_text
from tallystick.core.operations import Draw, Operation
from tallystick.core.times import format_rfc3339
from tallystick.core.words import CLAWBACK, COVER, REVENUE


class GrantResult(NamedTuple):
    """A grant as it was made; ``balance`` and ``available`` are those of its wallet afterwards."""

    id: int
    transaction_id: int
    customer_id: int
    unit: str
    amount: int
    category: str
    origin: str
    priority: int
    effective_at: int
    expires_at: int | None
    reason: str | None
    balance: int
    available: int
    created_at: int


class RefundResult(NamedTuple):
    """A refund: what went back now, and in all."""

    id: int
    charge_id: int
    customer_id: int
    unit: str
    amount: int
    amounts: tuple[tuple[str, int], ...]
    refunded: int
    refundable: int
    balance: int
    available: int
    draws: tuple[Draw, ...]
    reason: str | None
    created_at: int


class ClawbackResult(NamedTuple):
    """Credits taken back from a grant: ``removed`` from what was left of it, ``owed`` as new debt."""

    id: int
    grant_id: int
    customer_id: int
    unit: str
    amount: int
    removed: int
    owed: int
    debt: int
    balance: int
    available: int
    created_at: int


class ReinstateResult(NamedTuple):
    """Credits given back to a grant that they were clawed back from: ``repaid`` of them went to debt at once."""

    id: int
    grant_id: int
    customer_id: int
    unit: str
    amount: int
    repaid: int
    debt: int
    balance: int
    available: int
    created_at: int


class FreezeResult(NamedTuple):
    """Whether the wallet is frozen now, and since when.

    ``before`` is since when it was frozen until now, ``moved`` each lot whose expiry a thaw moved, with the new one.
    """

    id: int
    customer_id: int
    unit: str
    frozen_at: int | None
    created_at: int
    before: int | None = None
    moved: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True, kw_only=True)
class Grant(Operation):
    """Credits with terms of their own. A time to take effect in the future schedules it."""

    kind: ClassVar[str] = "grant"
    unit: str
    amount: int
    category: str
    origin: str
    priority: int
    effective_at: int | None = None
    expires_at: int | None = None
    reference: str | None = None
    cost_micros: int | None = None

    def apply(self, book: Book) -> GrantResult:
        """Pay the grant into a new lot, or schedule it."""
        wallet = book.wallet(self.customer_id, self.unit)
        starts_at = book.now if self.effective_at is None else self.effective_at
        if self.expires_at is not None and self.expires_at <= max(starts_at, book.now):
            raise errors.ValidationFailed([("expires_at", "expected a time after the grant takes effect")])
        if wallet.balance + self.amount > MAX_BALANCE:
            raise errors.AmountTooLarge
        transaction = self.begin(book)
        transaction.unit, transaction.amount = self.unit, self.amount
        terms = book.grant(
            transaction,
            wallet,
            self.amount,
            category=self.category,
            origin=self.origin,
            priority=self.priority,
            effective_at=starts_at,
            expires_at=self.expires_at,
            reason=self.description,
            reference=self.reference,
            cost_micros=self.cost_micros,
        )
        transaction.subject_id = terms.lot.id
        book.tell(self.customer_id, GRANT_CREATED, _told(terms.lot, self.amount, self.description))
        return GrantResult(
            terms.lot.id,
            transaction.id,
            self.customer_id,
            self.unit,
            self.amount,
            self.category,
            self.origin,
            self.priority,
            starts_at,
            self.expires_at,
            self.description,
            wallet.balance,
            wallet.available(book.now),
            transaction.at,
        )


@dataclass(slots=True, kw_only=True)
class Refund(Operation):
    """Give a charge back, whole or in part, to the lots that paid it, in reverse order of the draw."""

    kind: ClassVar[str] = "refund"
    unit: str | None = None
    amount: int | None = None

    def apply(self, book: Book) -> RefundResult:
        """Return ``amount`` of one unit, or everything that is left of every unit."""
        charge = book.charges.get(self.charge_id or 0)
        if charge is None:
            raise errors.NotFound("charge", to_text("chg", self.charge_id or 0))
        left = refundable(charge)
        unit = self.unit or charge.unit
        wanted = dict(left) if self.amount is None else {unit: self.amount}
        if not any(wanted.values()) or wanted.get(unit, 0) > left.get(unit, 0):
            raise errors.ExceedsRefundable(
                unit=unit, requested=wanted.get(unit, 0), refundable=left.get(unit, 0)
            )
        for each, amount in wanted.items():
            if book.wallet(self.customer_id, each).balance + amount > MAX_BALANCE:
                raise errors.AmountTooLarge
        transaction = self.begin(book)
        transaction.subject_id = charge.id
        transaction.unit, transaction.amount = unit, wanted.get(unit, 0)
        transaction.meter, transaction.category = charge.meter, charge.category
        draws: list[Draw] = []
        for each, amount in wanted.items():
            if amount:
                wallet = book.wallet(self.customer_id, each)
                draws += self._return(book, transaction_of=charge, wallet=wallet, amount=amount)
        wallet = book.wallet(self.customer_id, unit)
        after = refundable(charge)
        paid = sum(amount for lot, amount in charge.draws if lot.unit == unit)
        return RefundResult(
            transaction.id,
            charge.id,
            self.customer_id,
            unit,
            wanted.get(unit, 0),
            tuple(wanted.items()),
            paid - after.get(unit, 0),
            after.get(unit, 0),
            wallet.balance,
            wallet.available(book.now),
            tuple(draws),
            self.description,
            transaction.at,
        )

    def _return(self, book: Book, *, transaction_of: PastCharge, wallet: Wallet, amount: int) -> list[Draw]:
        charge, transaction = transaction_of, book.transactions[-1]
        revenue = book.system_account(wallet.unit, REVENUE)
        draws: list[Draw] = []
        left = amount
        gave = lots_of(charge)
        already = sum(charge.refunded.get(lot.id, 0) for lot, _ in gave if lot.unit == wallet.unit)
        for lot, paid in reversed(gave):
            take = min(left, paid - charge.refunded.get(lot.id, 0)) if lot.unit == wallet.unit else 0
            if take <= 0:
                continue
            book.open_lot(transaction, wallet, lot, take, revenue, entry_type="refund", meter=charge.meter)
            charge.refunded[lot.id] = charge.refunded.get(lot.id, 0) + take
            draws.append((lot.id, wallet.unit, take))
            left -= take
        give_back(book, charge, wallet.unit, already=already, amount=amount)
        return draws


def give_back(book: Book, charge: PastCharge, unit: str, *, already: int, amount: int) -> None:
    """Take a refund out of the budgets that counted the charge: what was counted last first, and nothing twice.

    A capture above its hold may have counted in one budget twice, in the hold's period and in its own.
    """
    skip: dict[int, int] = {}
    left: dict[int, int] = {}
    for budget_id, spent_unit, period_at, spent in reversed(charge.spends):
        if spent_unit != unit:
            continue
        passed = min(skip.get(budget_id, already), spent)
        skip[budget_id] = skip.get(budget_id, already) - passed
        back = min(left.get(budget_id, amount), spent - passed)
        left[budget_id] = left.get(budget_id, amount) - back
        if back:
            book.count_budget(budget_id, period_at, -back)


def lots_of(charge: PastCharge) -> list[tuple[Lot, int]]:
    """What each lot gave to the charge in all, in the order of the first draw."""
    gave: dict[int, int] = {}
    lots = {lot.id: lot for lot, _ in charge.draws}
    for lot, amount in charge.draws:
        gave[lot.id] = gave.get(lot.id, 0) + amount
    return [(lots[number], amount) for number, amount in gave.items()]


def refundable(charge: PastCharge) -> dict[str, int]:
    """What of a charge has not gone back yet, per unit."""
    left: dict[str, int] = {charge.unit: 0}
    for lot, amount in lots_of(charge):
        left[lot.unit] = left.get(lot.unit, 0) + amount - charge.refunded.get(lot.id, 0)
    return left


def _terms(book: Book, grant_id: int | None) -> GrantTerms:
    terms = book.grants.get(grant_id or 0)
    if terms is None or terms.lot.kind == COVER:
        raise errors.NotFound("grant", to_text("grant", grant_id or 0))
    return terms


def _told(lot: Lot, amount: int, reason: str | None) -> dict[str, object]:
    """What an event says about a grant, and how much of it came or went."""
    return {
        "grant": to_text("grant", lot.id),
        "unit": lot.unit,
        "amount": to_decimal(amount),
        "category": lot.category,
        "origin": lot.origin,
        "effective_at": format_rfc3339(lot.effective_at),
        "expires_at": None if lot.expires_at is None else format_rfc3339(lot.expires_at),
        "reason": reason,
    }


@dataclass(slots=True, kw_only=True)
class VoidGrant(Operation):
    """Take back what is left of a grant made by mistake; what a hold has reserved of it follows when the hold ends."""

    kind: ClassVar[str] = "void"

    def apply(self, book: Book) -> GrantResult:
        """Reverse the grant for its available amount."""
        terms = _terms(book, self.grant_id)
        if terms.voided_at is not None:
            raise errors.Conflict("the grant is voided already")
        lot = terms.lot
        wallet = book.wallet(lot.customer_id, lot.unit)
        transaction = self.begin(book)
        transaction.subject_id, transaction.unit = lot.id, lot.unit
        lot.voided = True
        terms.voided_at = transaction.at
        book.changed_grants[lot.id] = terms
        removed = book.lapse(transaction, wallet, lot)
        transaction.amount = removed
        book.tell(lot.customer_id, GRANT_VOIDED, _told(lot, removed, self.description))
        return GrantResult(
            lot.id,
            transaction.id,
            lot.customer_id,
            lot.unit,
            removed,
            lot.category,
            lot.origin,
            lot.priority,
            lot.effective_at,
            lot.expires_at,
            self.description,
            wallet.balance,
            wallet.available(book.now),
            transaction.at,
        )


@dataclass(slots=True, kw_only=True)
class ClawBack(Operation):
    """Take credits back from a grant whose payment was refunded or disputed; what was spent already becomes debt."""

    kind: ClassVar[str] = "clawback"
    amount: int

    def apply(self, book: Book) -> ClawbackResult:
        """Take what the lot still has; the rest is owed, and repaid first by the next credit."""
        terms = _terms(book, self.grant_id)
        if terms.voided_at is not None:
            raise errors.Conflict("the grant is voided: what was left of it is taken back already")
        lot = terms.lot
        left = terms.amount - terms.clawed_back
        if terms.booked_at is None or self.amount > left:
            raise errors.ExceedsRefundable(
                unit=lot.unit, requested=self.amount, refundable=left if terms.booked_at else 0
            )
        wallet = book.wallet(lot.customer_id, lot.unit)
        transaction = self.begin(book)
        transaction.subject_id, transaction.unit, transaction.amount = lot.id, lot.unit, self.amount
        account = book.system_account(lot.unit, CLAWBACK)
        removed = min(max(lot.available, 0), self.amount)
        if removed:
            lot.debits += removed
            book.transfer(transaction, lot.id, account, removed)
        owed = self.amount - removed
        if owed:
            wallet.debt += owed
            book.transfer(transaction, wallet.debt_account_id, account, owed)
        book.entry(transaction, wallet, "clawback", -self.amount, category=lot.category)
        terms.clawed_back += self.amount
        book.changed_grants[lot.id] = terms
        return ClawbackResult(
            transaction.id,
            lot.id,
            lot.customer_id,
            lot.unit,
            self.amount,
            removed,
            owed,
            wallet.debt,
            wallet.balance,
            wallet.available(book.now),
            transaction.at,
        )


@dataclass(slots=True, kw_only=True)
class Reinstate(Operation):
    """Give back to a grant what was clawed back from it: its payment stands after all. Debt is repaid first."""

    kind: ClassVar[str] = "reinstatement"
    amount: int

    def apply(self, book: Book) -> ReinstateResult:
        """Return at most what was clawed back; a lot that has lapsed meanwhile gives it on, as with any credit."""
        terms = _terms(book, self.grant_id)
        lot = terms.lot
        if self.amount > terms.clawed_back:
            raise errors.ExceedsRefundable(unit=lot.unit, requested=self.amount, refundable=terms.clawed_back)
        wallet = book.wallet(lot.customer_id, lot.unit)
        transaction = self.begin(book)
        transaction.subject_id, transaction.unit, transaction.amount = lot.id, lot.unit, self.amount
        owed = wallet.debt
        account = book.system_account(lot.unit, CLAWBACK)
        book.open_lot(transaction, wallet, lot, self.amount, account, entry_type="clawback")
        terms.clawed_back -= self.amount
        book.changed_grants[lot.id] = terms
        return ReinstateResult(
            transaction.id,
            lot.id,
            lot.customer_id,
            lot.unit,
            self.amount,
            owed - wallet.debt,
            wallet.debt,
            wallet.balance,
            wallet.available(book.now),
            transaction.at,
        )


@dataclass(slots=True, kw_only=True)
class SetFrozen(Operation):
    """Freeze a wallet, so that nothing is drawn and nothing is lost, or thaw it.

    While a wallet is frozen its lots do not expire; on thaw each open lot's expiry moves by the time that it was frozen.
    """

    kind: ClassVar[str] = "freeze"
    unit: str
    frozen: bool

    def apply(self, book: Book) -> FreezeResult:
        """Set or clear the moment since when the wallet is frozen; setting it twice changes nothing."""
        wallet = book.wallet(self.customer_id, self.unit)
        before = wallet.frozen_at
        moved: tuple[tuple[int, int], ...] = ()
        transaction = self.begin(book, "freeze" if self.frozen else "thaw")
        transaction.unit = self.unit
        if self.frozen and wallet.frozen_at is None:
            wallet.frozen_at = transaction.at
        elif not self.frozen and wallet.frozen_at is not None:
            moved = self._thaw(book, wallet)
        book.touched[wallet.id] = wallet
        return FreezeResult(
            transaction.id, self.customer_id, self.unit, wallet.frozen_at, transaction.at, before, moved
        )

    def _thaw(self, book: Book, wallet: Wallet) -> tuple[tuple[int, int], ...]:
        since = wallet.frozen_at or book.now
        moved: list[tuple[int, int]] = []
        for lot in wallet.lots:
            is_open = lot.credits > lot.debits
            if is_open and lot.expires_at is not None and lot.expires_at > since and not lot.voided:
                # A lot that came while the wallet was frozen was frozen for less time.
                lot.expires_at += max(book.now - max(since, lot.effective_at), 0)
                book.moved_expiry[lot.id] = lot
                moved.append((lot.id, lot.expires_at))
                wallet.due_by(lot.expires_at)
        wallet.frozen_at = None
        wallet.lots.sort(key=lambda lot: lot.burn_key())
        return tuple(moved)
