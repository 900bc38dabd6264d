"""The ledger in memory: the wallets that one batch touches, and the rules by which transfers move them.

A service loads a Book, applies operations to it, and the store writes what changed. Invariants, kept by every method:

- a transfer changes exactly two accounts by the same amount, so debits equal credits, posted and pending;
- a lot's available amount, ``credits - debits - held``, is never negative;
- a wallet's balance is the sum of its lots' ``credits - debits`` less its debt, and its entries have no gaps;
- a method either does all of its work or raises before it changed anything.

The account shape (four totals, pending and posted) follows TigerBeetle's.
"""

from bisect import insort
from collections.abc import Callable, Mapping
from typing import Any

from tallystick.core import errors
from tallystick.core.decimals import to_decimal
from tallystick.core.events import BUDGET_MARKS, BUDGET_REACHED, GRANT_EXPIRED, Event
from tallystick.core.holdings import (
    NEVER,
    DueWork,
    Entry,
    GrantTerms,
    Hold,
    Lot,
    Membership,
    PastCharge,
    Task,
    Transaction,
    Transfer,
    Wallet,
)
from tallystick.core.ids import to_text
from tallystick.core.limits import Budget
from tallystick.core.times import format_rfc3339
from tallystick.core.words import (
    BREAKAGE,
    COVER,
    LOT,
    PENDING,
    POST_PENDING,
    POSTED,
    UNLIMITED,
    VOID_PENDING,
    source_account,
    total_of,
)


class Book:
    """What one batch loaded and what it has changed so far.

    ``now`` is the batch's moment; ``new_id`` makes ids; ``system_account(unit, code)`` gives the id of a system account.
    """

    def __init__(
        self, *, now: int, new_id: Callable[[], int], system_account: Callable[[str, str], int]
    ) -> None:
        self.now = now
        self.new_id = new_id
        self.system_account = system_account
        self.wallets: dict[tuple[int, str], Wallet] = {}
        self.lots: dict[int, Lot] = {}
        self.transactions: list[Transaction] = []
        self.transfers: list[Transfer] = []
        self.entries: list[Entry] = []
        self.new_grants: list[GrantTerms] = []
        self.changed_grants: dict[int, GrantTerms] = {}
        self.grants: dict[int, GrantTerms] = {}
        self.moved_expiry: dict[int, Lot] = {}
        self.new_wallets: list[Wallet] = []
        self.due: dict[int, DueWork] = {}
        self.memberships: dict[int, Membership] = {}
        self.changed_memberships: dict[int, Membership] = {}
        self.deltas: dict[int, list[int]] = {}
        self.touched: dict[int, Wallet] = {}
        self.hourly: dict[tuple[int, str, int], int] = {}
        self.hourly_deltas: dict[tuple[int, str, int], int] = {}
        self.budgets: dict[tuple[str, int, str], list[Budget]] = {}
        self.budgets_by_id: dict[int, Budget] = {}
        self.budget_deltas: dict[tuple[int, int], int] = {}
        self.holds: dict[int, Hold] = {}
        self.placed: list[Hold] = []
        self.resolved: list[Hold] = []
        self.charges: dict[int, PastCharge] = {}
        self.tasks: dict[int, Task] = {}
        self.new_tasks: list[Task] = []
        self.changed_tasks: dict[int, Task] = {}
        self.payments: dict[
            int, list[tuple[Lot, int, int]]
        ] = {}  # of a task: lot, account that it paid, amount
        self.missing: set[int] = set()
        self.settled: dict[str, int] = {}
        self.unsettled: set[int] = set()
        self.wanting: dict[int, Wallet] = {}
        self.alerted = False
        self.events: list[Event] = []
        self.stamps: Any = None  # the store's, of the wallets that it wrote

    # --- what others are told ---------------------------------------------------------------------------------------

    def tell(
        self, customer_id: int | None, event_type: str, data: Mapping[str, object], *, once: str | None = None
    ) -> None:
        """Something that others want to know; the store writes it in the transaction of its cause."""
        self.events.append(Event(customer_id, event_type, self.now, data, once))

    def tell_of_expiry(self, lot: Lot, amount: int) -> None:
        """So much of a grant was lost."""
        data = {
            "grant": to_text("grant", lot.id),
            "unit": lot.unit,
            "amount": to_decimal(amount),
            "category": lot.category,
        }
        self.tell(lot.customer_id, GRANT_EXPIRED, data)

    # --- what was loaded -------------------------------------------------------------------------------------------

    def wallet(self, customer_id: int, unit: str) -> Wallet:
        """The customer's wallet in ``unit``."""
        wallet = self.wallets.get((customer_id, unit))
        if wallet is None:
            raise errors.UnknownUnit(unit)
        return wallet

    def add_wallet(self, wallet: Wallet) -> None:
        """A wallet read from the store, before its lots."""
        self.wallets[wallet.customer_id, wallet.unit] = wallet

    def add_lot(self, lot: Lot) -> None:
        """A lot read from the store; lots with nothing left are known, but do not stand in the burn order."""
        if lot.id in self.lots:
            return
        self.lots[lot.id] = lot
        if lot.open:
            insort(self.wallet(lot.customer_id, lot.unit).lots, lot, key=Lot.burn_key)

    # --- the journal -----------------------------------------------------------------------------------------------

    def begin(self, kind: str, customer_id: int, *, at: int | None = None) -> Transaction:
        """A new transaction in the journal; the caller fills in what it is about."""
        transaction = Transaction(
            id=self.new_id(), kind=kind, at=self.now if at is None else at, customer_id=customer_id
        )
        self.transactions.append(transaction)
        return transaction

    def transfer(
        self,
        transaction: Transaction,
        debit_id: int,
        credit_id: int,
        amount: int,
        phase: int = POSTED,
        hold_id: int | None = None,
    ) -> None:
        """Move ``amount`` micro-units from one account to another; the four totals of both are folded."""
        transfers = self.transfers
        number = 0
        if transfers:
            last = transfers[-1]
            if last[0] == transaction.id:
                number = last[1] + 1
        transfers.append((transaction.id, number, debit_id, credit_id, amount, phase, hold_id))
        deltas = self.deltas
        debit = deltas.get(debit_id)
        if debit is None:
            debit = deltas[debit_id] = [0, 0, 0, 0]
        credit = deltas.get(credit_id)
        if credit is None:
            credit = deltas[credit_id] = [0, 0, 0, 0]
        if phase == POSTED:
            debit[0] += amount
            credit[1] += amount
        elif phase == PENDING:
            debit[2] += amount
            credit[3] += amount
        elif phase == POST_PENDING:
            debit[0] += amount
            debit[2] -= amount
            credit[1] += amount
            credit[3] -= amount
        else:
            debit[2] -= amount
            credit[3] -= amount

    def entry(
        self,
        transaction: Transaction,
        wallet: Wallet,
        entry_type: str,
        amount: int,
        *,
        category: str | None = None,
        meter: str | None = None,
    ) -> None:
        """One line of the wallet's statement: the signed amount, and the balance after it."""
        entries = self.entries
        number = 0
        if entries:
            last = entries[-1]
            if last[0] == transaction.id:
                number = last[1] + 1
        at = max(transaction.at, wallet.last_at)  # A clock that went back does not reorder a statement.
        wallet.last_at = at
        wallet.sequence += 1
        wallet.balance += amount
        if entry_type == "usage":
            wallet.spent -= amount
        else:
            total, change = total_of(entry_type, amount)
            setattr(wallet, total, getattr(wallet, total) + change)
        entries.append(
            (
                transaction.id,
                number,
                wallet.id,
                wallet.sequence,
                at,
                entry_type,
                category,
                meter,
                amount,
                wallet.balance,
            )
        )
        self.touched[wallet.id] = wallet

    # --- watching --------------------------------------------------------------------------------------------------

    def refuse(self, wallet: Wallet, available: int) -> None:
        """Note that something was refused for want of credits: it changes nothing, but may be what a refill waits for."""
        if wallet.refill_below is not None and available < wallet.refill_below:
            self.wanting[wallet.id] = wallet

    def alerts(self) -> list[Wallet]:
        """Wallets that have left the figures they are watched for, and those that want a refill.

        A frozen wallet says nothing before its thaw. Under an unlimited plan a balance can only recover.
        """
        found = list(self.wanting.values())
        now = self.now
        for wallet in self.touched.values():
            floor, ceiling = wallet.floor, wallet.ceiling
            if (not floor and ceiling == NEVER) or wallet.frozen_at is not None:
                continue
            if wallet.cover_id is None:
                if floor <= wallet.available(now) < ceiling:
                    continue
            elif ceiling == NEVER:
                continue
            if wallet.id not in self.wanting:
                found.append(wallet)
        return found

    # --- limits and holds ------------------------------------------------------------------------------------------

    def count_hourly(self, customer_id: int, meter: str, window_at: int, count: int) -> int:
        """Count calls against an hourly limit; gives the calls of this window, these included."""
        key = (customer_id, meter, window_at)
        used = self.hourly[key] = self.hourly.get(key, 0) + count
        self.hourly_deltas[key] = self.hourly_deltas.get(key, 0) + count
        return used

    def add_budget(self, where: tuple[str, int, str], budget: Budget) -> None:
        """A budget read from the store; ``where`` is its level, the customer's or key's id, and the agent's name."""
        self.budgets.setdefault(where, []).append(budget)
        self.budgets_by_id[budget.id] = budget

    def count_budget(self, budget_id: int, period_at: int, amount: int) -> None:
        """Add to (or, negative, take from) what a budget's period has spent; later operations of the batch see it."""
        key = (budget_id, period_at)
        self.budget_deltas[key] = self.budget_deltas.get(key, 0) + amount
        budget = self.budgets_by_id.get(budget_id)
        if budget is not None and budget.period_at == period_at:
            before = budget.spent
            budget.spent = before + amount
            if amount > 0:
                self._tell_of_budget(budget, before)

    def _tell_of_budget(self, budget: Budget, before: int) -> None:
        """A budget that reached a mark is told of, once in its period for each mark."""
        passed = [mark for mark in BUDGET_MARKS if before * 100 < budget.limit * mark <= budget.spent * 100]
        if passed:
            data = {
                "budget": to_text("budget", budget.id),
                "level": budget.level,
                "subject": budget.subject,
                "unit": budget.unit,
                "limit": to_decimal(budget.limit),
                "spent": to_decimal(budget.spent),
                "percent": passed[-1],
                "per": budget.per,
                "resets_at": format_rfc3339(budget.resets_at()),
            }
            once = f"budget:{budget.id}:{budget.period_at}:{passed[-1]}"
            self.tell(budget.customer_id, BUDGET_REACHED, data, once=once)

    def place_hold(self, hold: Hold) -> None:
        """A new hold; a later operation of the same batch may resolve it."""
        self.holds[hold.id] = hold
        self.placed.append(hold)

    # --- drawing ---------------------------------------------------------------------------------------------------

    def draw(self, transaction: Transaction, wallet: Wallet, amount: int) -> list[tuple[Lot, int]]:
        """The lots that give ``amount``, in burn order; under an unlimited plan the standing lot, which is filled first.

        Nothing is taken from them yet; the caller checked that there is enough.
        """
        if wallet.cover_id is not None:
            return [(self.cover(transaction, wallet, amount), amount)]
        now = self.now
        taken: list[tuple[Lot, int]] = []
        for lot in wallet.lots:
            free = lot.credits - lot.debits - lot.held
            if free <= 0 or lot.lapsed(now):
                continue
            if free >= amount:
                taken.append((lot, amount))
                return taken
            taken.append((lot, free))
            amount -= free
        message = f"wallet {wallet.id} was asked for more than its available amount"
        raise AssertionError(message)

    def spend(
        self, transaction: Transaction, wallet: Wallet, amount: int, to_account: int
    ) -> list[tuple[Lot, int]]:
        """Draw ``amount`` from the wallet's lots into ``to_account``; entries are the caller's."""
        draws = self.draw(transaction, wallet, amount)
        for lot, take in draws:
            lot.debits += take
            self.transfer(transaction, lot.id, to_account, take)
        return draws

    def reserve(
        self, transaction: Transaction, wallet: Wallet, amount: int, to_account: int
    ) -> list[tuple[Lot, int]]:
        """Hold ``amount`` of the wallet's lots for ``to_account``: pending transfers that a later transaction resolves."""
        draws = self.draw(transaction, wallet, amount)
        for lot, take in draws:
            self.pend(transaction, lot, to_account, take)
        return draws

    def pend(self, transaction: Transaction, lot: Lot, to_account: int, amount: int) -> None:
        """Reserve ``amount`` of one lot."""
        lot.held += amount
        self.transfer(transaction, lot.id, to_account, amount, PENDING, transaction.id)

    def cover(self, transaction: Transaction, wallet: Wallet, amount: int) -> Lot:
        """Under an unlimited plan: a grant of exactly ``amount`` in the standing lot, so that usage stays visible."""
        if wallet.cover_id is None:
            message = f"wallet {wallet.id} has no unlimited plan"
            raise AssertionError(message)
        lot = self.lots.get(wallet.cover_id)
        if lot is None:
            # Closed lots are not loaded; what it moved before does not matter to what moves now.
            lot = Lot(
                wallet.cover_id,
                wallet.customer_id,
                wallet.unit,
                COVER,
                "monthly_grant",
                "free",
                0,
                0,
                None,
                False,  # noqa: FBT003 - not voided
                0,
                0,
                0,
            )
            self.lots[lot.id] = lot
        self.enter_burn_order(wallet, lot)
        lot.credits += amount
        self.transfer(transaction, self.system_account(wallet.unit, f"issuance:{UNLIMITED}"), lot.id, amount)
        self.entry(transaction, wallet, "monthly_grant", amount, category=UNLIMITED)
        return lot

    # --- crediting -------------------------------------------------------------------------------------------------

    def open_lot(
        self,
        transaction: Transaction,
        wallet: Wallet,
        lot: Lot,
        amount: int,
        from_account: int,
        *,
        entry_type: str,
        meter: str | None = None,
    ) -> None:
        """Pay ``amount`` into a lot of the wallet, with its entry; debt is repaid first, and a lapsed lot gives it on."""
        self.credit(transaction, wallet, lot, amount, from_account, entry_type=entry_type, meter=meter)
        if lot.kind != COVER:  # What goes back to issuance at once pays nobody's debt.
            self.repay_debt(transaction, wallet, lot)
        self.lapse(transaction, wallet, lot)
        if lot.expires_at is not None and lot.available > 0:
            wallet.due_by(lot.expires_at)

    def credit(
        self,
        transaction: Transaction,
        wallet: Wallet,
        lot: Lot,
        amount: int,
        from_account: int,
        *,
        entry_type: str,
        meter: str | None = None,
    ) -> None:
        """Pay ``amount`` into a lot of the wallet, with its entry; whatever is to become of it is the caller's."""
        lot.credits += amount
        self.transfer(transaction, from_account, lot.id, amount)
        self.entry(transaction, wallet, entry_type, amount, meter=meter)
        self.enter_burn_order(wallet, lot)

    def enter_burn_order(self, wallet: Wallet, lot: Lot) -> None:
        """A lot that has credits again, or for the first time, may be drawn."""
        if not lot.open:
            lot.open = True
            insort(wallet.lots, lot, key=Lot.burn_key)

    def repay_debt(self, transaction: Transaction, wallet: Wallet, lot: Lot) -> None:
        """What the wallet owes is taken from the first credit that comes in; the balance has counted it already."""
        amount = min(wallet.debt, lot.available)
        if amount <= 0:
            return
        wallet.debt -= amount
        lot.debits += amount
        self.transfer(transaction, lot.id, wallet.debt_account_id, amount)
        self.entry(transaction, wallet, "debt_repayment", 0)

    def lapse(self, transaction: Transaction, wallet: Wallet, lot: Lot, *, at: int | None = None) -> int:
        """Book what is available in a lapsed lot out of the wallet: to breakage, or back to issuance. Gives the amount."""
        amount = lot.available
        if amount <= 0 or not lot.lapsed(wallet.moment(self.now if at is None else at)):
            return 0
        lot.debits += amount
        if lot.kind == COVER:
            to_account, entry_type = self.system_account(wallet.unit, f"issuance:{UNLIMITED}"), "adjustment"
        elif lot.voided:
            to_account, entry_type = (
                self.system_account(wallet.unit, source_account(lot.category)),
                "adjustment",
            )
        else:
            to_account, entry_type = self.system_account(wallet.unit, BREAKAGE), "expiry"
            self.tell_of_expiry(lot, amount)
        self.transfer(transaction, lot.id, to_account, amount)
        self.entry(transaction, wallet, entry_type, -amount, category=lot.category)
        return amount

    def grant(
        self,
        transaction: Transaction,
        wallet: Wallet,
        amount: int,
        *,
        category: str,
        origin: str,
        priority: int,
        effective_at: int,
        expires_at: int | None,
        reason: str | None = None,
        reference: str | None = None,
        cost_micros: int | None = None,
    ) -> GrantTerms:
        """A new lot of the wallet; one that takes effect later is scheduled, and paid when its time comes."""
        lot = self.new_lot(
            wallet,
            category=category,
            origin=origin,
            priority=priority,
            effective_at=effective_at,
            expires_at=expires_at,
        )
        terms = self.record_grant(transaction, lot, amount)
        terms.reason, terms.reference, terms.cost_micros = reason, reference, cost_micros
        if effective_at > transaction.at:
            wallet.due_by(effective_at)
            self.touched[wallet.id] = wallet
        else:
            self.book_grant(transaction, wallet, terms)
        return terms

    def record_grant(self, transaction: Transaction, lot: Lot, amount: int) -> GrantTerms:
        """The row that says where a lot comes from."""
        terms = GrantTerms(lot=lot, amount=amount, created_at=transaction.at, transaction_id=transaction.id)
        self.new_grants.append(terms)
        self.grants[lot.id] = terms
        return terms

    def book_grant(self, transaction: Transaction, wallet: Wallet, terms: GrantTerms) -> None:
        """Pay a grant's credits into its lot."""
        lot = terms.lot
        terms.booked_at = transaction.at
        self.changed_grants[lot.id] = terms
        source = self.system_account(wallet.unit, source_account(lot.category))
        self.open_lot(transaction, wallet, lot, terms.amount, source, entry_type=lot.category)

    # --- resolving holds -------------------------------------------------------------------------------------------

    def post_held(
        self, transaction: Transaction, lot: Lot, amount: int, to_account: int, hold_id: int
    ) -> None:
        """Turn ``amount`` of a pending transfer into a posted one."""
        lot.held -= amount
        lot.debits += amount
        self.transfer(transaction, lot.id, to_account, amount, POST_PENDING, hold_id)

    def void_held(
        self, transaction: Transaction, lot: Lot, amount: int, to_account: int, hold_id: int
    ) -> None:
        """Give ``amount`` of a pending transfer back to its lot."""
        lot.held -= amount
        self.transfer(transaction, lot.id, to_account, amount, VOID_PENDING, hold_id)

    def new_lot(
        self,
        wallet: Wallet,
        *,
        category: str,
        origin: str,
        priority: int,
        effective_at: int,
        expires_at: int | None,
        kind: str = LOT,
    ) -> Lot:
        """An empty lot of the wallet; the store writes its account and its terms."""
        lot = Lot(
            self.new_id(),
            wallet.customer_id,
            wallet.unit,
            kind,
            category,
            origin,
            priority,
            effective_at,
            expires_at,
            False,  # noqa: FBT003 - not voided
            0,
            0,
            0,
        )
        self.lots[lot.id] = lot
        return lot
