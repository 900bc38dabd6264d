"""A ledger that keeps everything in memory: the pure core, with what a store does around it in few lines."""

from collections import Counter
from collections.abc import Sequence

from tallystick.core import errors
from tallystick.core.book import Book
from tallystick.core.catalog import Economy
from tallystick.core.due import settle
from tallystick.core.holdings import DueWork, GrantTerms, Hold, Lot, Membership, PastCharge, Wallet
from tallystick.core.limits import Budget, period_start
from tallystick.core.membership import OpenCustomer
from tallystick.core.operations import ChargeResult, Operation, ResolveResult
from tallystick.store.results import Outcome
from tests.model.holdings import Limit

Totals = Counter[tuple[int, int]]  # account and column: debits, credits, pending debits, pending credits


class MemoryLedger:
    """Keeps what books changed, and checks the rules of double entry after each batch."""

    def __init__(self, economy: Economy) -> None:
        self.economy = economy
        self.wallets: dict[tuple[int, str], Wallet] = {}
        self.lots: dict[int, Lot] = {}
        self.holds: dict[int, Hold] = {}
        self.grants: dict[int, GrantTerms] = {}
        self.memberships: dict[int, Membership] = {}
        self.charges: dict[int, PastCharge] = {}
        self.hourly: dict[tuple[int, str, int], int] = {}
        self.limits: list[Limit] = []
        self.spent: Counter[tuple[int, int]] = Counter()
        self.totals: Totals = Counter()
        self.answers: dict[str, tuple[str | None, object]] = {}
        self._system: dict[tuple[str, str], int] = {}
        self._last_id = 0

    def new_id(self) -> int:
        """The next number."""
        self._last_id += 1
        return self._last_id

    def system_account(self, unit: str, code: str) -> int:
        """The id of a system account: below zero."""
        return self._system.setdefault((unit, code), -1 - len(self._system))

    def post(self, operations: Sequence[Operation], now: int) -> tuple[list[Outcome], Book]:
        """Apply a batch."""
        book = self._load(now)
        named = {each.customer_id for each in operations if not isinstance(each, OpenCustomer)}
        named.update(each.other_customer_id for each in operations if each.other_customer_id is not None)
        for customer_id in sorted(named.intersection(self.memberships)):
            book.due[customer_id] = self._due_work(customer_id, now)
            settle(book, customer_id, self.economy.plans.get, self.economy.priority)
        outcomes = [self._apply(book, operation) for operation in operations]
        self._save(book)
        return outcomes, book

    # --- what a store would load ---------------------------------------------------------------------------

    def _load(self, now: int) -> Book:
        book = Book(now=now, new_id=self.new_id, system_account=self.system_account)
        book.wallets, book.lots, book.holds = self.wallets, self.lots, self.holds
        book.grants, book.memberships, book.charges = self.grants, self.memberships, self.charges
        book.hourly = self.hourly
        for limit in self.limits:
            period_at = period_start(limit.per, now)
            budget = Budget(
                id=limit.id,
                level=limit.level,
                subject="",
                unit=limit.unit,
                limit=limit.amount or 0,
                per=limit.per,
                period_at=period_at,
                spent=self.spent[limit.id, period_at],
            )
            book.add_budget((limit.level, *limit.subject), budget)
        return book

    def _due_work(self, customer_id: int, now: int) -> DueWork:
        due = DueWork()
        holds = [
            each for each in self.holds.values() if each.customer_id == customer_id and each.status == "open"
        ]
        due.holds = sorted(
            (each for each in holds if each.expires_at <= now), key=lambda hold: (hold.expires_at, hold.id)
        )
        due.next_hold_at = min((each.expires_at for each in holds if each.expires_at > now), default=None)
        waiting = [
            terms
            for terms in self.grants.values()
            if terms.lot.customer_id == customer_id and terms.booked_at is None and terms.voided_at is None
        ]
        due.scheduled = sorted(
            (terms for terms in waiting if terms.lot.effective_at <= now),
            key=lambda terms: (terms.lot.effective_at, terms.lot.id),
        )
        later = [terms.lot.effective_at for terms in waiting if terms.lot.effective_at > now]
        due.next_grant_at = min(later, default=None)
        return due

    # --- what a store would do with it ---------------------------------------------------------------------

    def _apply(self, book: Book, operation: Operation) -> Outcome:
        key = operation.idempotency
        if key in self.answers:
            digest, result = self.answers[key]
            if digest != operation.request_digest:
                return Outcome(refusal=errors.IdempotencyKeyReused())
            return Outcome(result=result, replayed=True)
        before = state_of(book)
        try:
            result = operation.apply(book)
        except errors.Refusal as refusal:
            assert before == state_of(book), "a refused operation changed something"
            return Outcome(refusal=refusal)
        if key is not None:
            self.answers[key] = operation.request_digest, result
        if isinstance(result, ChargeResult) or (
            isinstance(result, ResolveResult) and result.status == "captured"
        ):
            self._note_charge(book, result)
        return Outcome(result=result)

    def _note_charge(self, book: Book, result: ChargeResult | ResolveResult) -> None:
        charge = PastCharge(
            id=result.id, customer_id=result.customer_id, unit=result.unit, meter=None, category=None
        )
        charge.draws = [(book.lots[number], amount) for number, _, amount in result.draws]
        charge.spends = result.spends
        self.charges[charge.id] = charge

    def _save(self, book: Book) -> None:
        for account, changes in book.deltas.items():
            for column, change in enumerate(changes):
                self.totals[account, column] += change
        for (budget_id, period_at), amount in book.budget_deltas.items():
            self.spent[budget_id, period_at] += amount
        for wallet in self.wallets.values():
            wallet.settle_lots()
        for lot in self.lots.values():
            lot.open = lot.stored_open = lot.credits > lot.debits  # as a store would load it

    # --- the rules -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Debits equal credits, no lot is overdrawn, lots are what their transfers say, holds what they reserve."""
        sums = [
            sum(amount for (_, each), amount in self.totals.items() if each == column) for column in range(4)
        ]
        assert sums[0] == sums[1]
        assert sums[2] == sums[3]
        held: Counter[int] = Counter()
        for hold in self.holds.values():
            if hold.status == "open":
                for lot, amount in hold.legs:
                    held[lot.id] += amount
        for lot in self.lots.values():
            assert lot.available >= 0
            totals = tuple(self.totals[lot.id, column] for column in (0, 1, 2))
            assert totals == (lot.debits, lot.credits, lot.held)
            assert held[lot.id] == lot.held
        for wallet in self.wallets.values():
            owed = self.totals[wallet.debt_account_id, 0] - self.totals[wallet.debt_account_id, 1]
            assert owed == wallet.debt
            assert wallet.balance == sum(lot.credits - lot.debits for lot in wallet.lots) - owed


def state_of(book: Book) -> tuple[object, ...]:
    """Everything that an operation could change."""
    return (
        len(book.transactions),
        len(book.transfers),
        len(book.entries),
        len(book.new_grants),
        {
            number: (lot.debits, lot.credits, lot.held, lot.voided, lot.expires_at)
            for number, lot in book.lots.items()
        },
        {
            place: (each.balance, each.sequence, each.debt, each.frozen_at)
            for place, each in book.wallets.items()
        },
        {number: hold.status for number, hold in book.holds.items()},
        {
            number: (each.plan, each.period_end, dict(each.granted))
            for number, each in book.memberships.items()
        },
        dict(book.hourly),
        dict(book.budget_deltas),
    )
