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
from typing import Any, Final

from tallystick.core import errors
from tallystick.core.amounts import INT64_MAX
from tallystick.core.decimals import to_decimal
from tallystick.core.events import BUDGET_MARKS, BUDGET_REACHED, GRANT_EXPIRED, Event
from tallystick.core.ids import to_text
from tallystick.core.limits import Budget
from tallystick.core.times import format_rfc3339
from tallystick.core.watch import Watch
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

NEVER: Final = INT64_MAX
MAX_BALANCE: Final = INT64_MAX // 2


class Lot:
    """A grant as a ledger account, with the terms that decide when it is drawn. Amounts in micro-units."""

    __slots__ = (
        "category",
        "credits",
        "customer_id",
        "debits",
        "effective_at",
        "expires_at",
        "held",
        "id",
        "kind",
        "open",
        "origin",
        "priority",
        "stored_open",
        "unit",
        "voided",
    )

    def __init__(
        self,
        id: int,  # noqa: A002 - the row's own name
        customer_id: int,
        unit: str,
        kind: str,
        category: str,
        origin: str,
        priority: int,
        effective_at: int,
        expires_at: int | None,
        voided: bool,  # noqa: FBT001 - a row, read by position
        debits: int,
        credits: int,  # noqa: A002 - the ledger's word
        held: int,
    ) -> None:
        self.id = id
        self.customer_id = customer_id
        self.unit = unit
        self.kind = kind
        self.category = category
        self.origin = origin
        self.priority = priority
        self.effective_at = effective_at
        self.expires_at = expires_at
        self.voided = voided
        self.debits = debits
        self.credits = credits
        self.held = held
        self.open = self.stored_open = credits > debits

    @property
    def available(self) -> int:
        """What can still be drawn, in micro-units."""
        return self.credits - self.debits - self.held

    def lapsed(self, now: int) -> bool:
        """Whether nothing may be drawn from this lot any more."""
        return self.voided or self.kind == COVER or (self.expires_at is not None and self.expires_at <= now)

    def burn_key(self) -> tuple[int, int, int]:
        """Burn order: priority, then soonest expiry, then oldest."""
        expires_at = self.expires_at
        return (self.priority, NEVER if expires_at is None else expires_at, self.id)


class Wallet:
    """A customer's holdings in one unit: the open lots in burn order, the debt, and the totals of its statement."""

    __slots__ = (
        "_stored_state",
        "balance",
        "ceiling",
        "cover_id",
        "customer_id",
        "debt",
        "debt_account_id",
        "earned",
        "expired",
        "floor",
        "frozen_at",
        "granted",
        "has_budgets",
        "id",
        "last_at",
        "lots",
        "next_due_at",
        "purchased",
        "refill_below",
        "removed",
        "sequence",
        "spent",
        "stamp",
        "unit",
        "watch",
    )

    def __init__(
        self,
        id: int,  # noqa: A002 - the row's own name
        customer_id: int,
        unit: str,
        debt_account_id: int,
        cover_id: int | None,
        frozen_at: int | None,
        next_due_at: int,
        has_budgets: bool,  # noqa: FBT001 - a row, read by position
        sequence: int,
        last_at: int,
        balance: int,
        granted: int,
        purchased: int,
        earned: int,
        spent: int,
        expired: int,
        removed: int,
        told_below: int | None = None,
        watch_below: int | None = None,
        watch_above: int | None = None,
        refill_below: int | None = None,
        stamp: int | None = None,
    ) -> None:
        self.id = id
        self.customer_id = customer_id
        self.unit = unit
        self.debt_account_id = debt_account_id
        self.cover_id = cover_id
        self.frozen_at = frozen_at
        self.next_due_at = next_due_at
        self.has_budgets = has_budgets
        self.sequence = sequence
        self.last_at = last_at
        self.balance = balance
        self.granted = granted
        self.purchased = purchased
        self.earned = earned
        self.spent = spent
        self.expired = expired
        self.removed = removed
        self.stamp = stamp  # what the store knows the row's version by
        self.debt = 0
        self.lots: list[Lot] = []
        self._stored_state = (cover_id, frozen_at, next_due_at)
        self.set_watch(Watch(told_below, watch_below, watch_above), refill_below)

    def set_watch(self, watch: Watch, refill_below: int | None) -> None:
        """What the available amount is compared with after every change: see ``Book.alerts``."""
        self.watch = watch
        self.refill_below = refill_below
        self.floor = max(watch.below or 0, refill_below or 0)
        self.ceiling = NEVER if watch.above is None else watch.above

    def moment(self, now: int) -> int:
        """The time that its lots live in: ``now``, but it stands still while the wallet is frozen."""
        return now if self.frozen_at is None else min(now, self.frozen_at)

    def available(self, now: int) -> int:
        """What a charge may draw at ``now``: lapsed lots do not count, held amounts neither."""
        if self.frozen_at is not None:
            now = self.moment(now)
        total = 0
        for lot in self.lots:
            expires_at = lot.expires_at
            if (expires_at is None or expires_at > now) and not lot.voided and lot.kind == LOT:
                total += lot.credits - lot.debits - lot.held
        return total

    @property
    def held(self) -> int:
        """What open holds have reserved."""
        return sum(lot.held for lot in self.lots)

    def state_changed(self) -> bool:
        """Whether anything but the statement's totals differs from what was loaded."""
        return (self.cover_id, self.frozen_at, self.next_due_at) != self._stored_state

    def settle_lots(self) -> None:
        """After a commit: what is in memory is what is stored, and only open lots stay."""
        for lot in self.lots:
            if lot.credits <= lot.debits:
                self.lots = [each for each in self.lots if each.credits > each.debits]
                break
        for lot in self.lots:
            lot.open = lot.stored_open = True
        self._stored_state = (self.cover_id, self.frozen_at, self.next_due_at)

    def due_by(self, at: int | None) -> None:
        """Something of this wallet becomes due at ``at``; the wallet is settled no later than then."""
        if at is not None and at < self.next_due_at:
            self.next_due_at = at


class Transaction:
    """One row of the journal: what was asked, by whom, and what came of it."""

    __slots__ = (
        "agent",
        "amount",
        "at",
        "caller",
        "category",
        "customer_id",
        "description",
        "economy",
        "id",
        "idempotency",
        "idempotency_key",
        "kind",
        "metadata",
        "meter",
        "quantity",
        "request_digest",
        "result",
        "subject_id",
        "unit",
    )

    def __init__(self, *, id: int, kind: str, at: int, customer_id: int) -> None:  # noqa: A002
        self.id = id
        self.kind = kind
        self.at = at
        self.customer_id = customer_id
        self.caller: str | None = None
        self.agent: str | None = None
        self.idempotency: str | None = None
        self.idempotency_key: str | None = None
        self.request_digest: str | None = None
        self.unit: str | None = None
        self.amount: int | None = None
        self.meter: str | None = None
        self.category: str | None = None
        self.quantity: int | None = None
        self.economy: str | None = None
        self.subject_id: int | None = None
        self.description: str | None = None
        self.metadata: str | None = None
        self.result: str | None = None


# Rows as the store writes them: (transaction, number, debit, credit, amount, phase, hold) and
# (transaction, number, wallet, sequence, at, type, category, meter, amount, balance after).
Transfer = tuple[int, int, int, int, int, int, int | None]
Entry = tuple[int, int, int, int, int, str, str | None, str | None, int, int]
Spend = tuple[int, str, int, int]  # budget id, unit, start of its period, amount in micro-units


class Hold:
    """A hold: its terms, and the legs that are still pending."""

    __slots__ = (
        "amounts",
        "category",
        "customer_id",
        "economy",
        "expires_at",
        "id",
        "legs",
        "maker",
        "meter",
        "quantity",
        "resolved_at",
        "resolved_by",
        "spends",
        "status",
    )

    def __init__(self, *, id: int, customer_id: int, status: str, maker: str, expires_at: int) -> None:  # noqa: A002
        self.id = id
        self.customer_id = customer_id
        self.status = status
        self.maker = maker
        self.expires_at = expires_at
        self.meter: str | None = None
        self.category: str | None = None
        self.quantity = 0
        self.economy: str | None = None
        self.amounts: tuple[tuple[str, int], ...] = ()
        self.legs: list[tuple[Lot, int]] = []
        self.spends: tuple[Spend, ...] = ()
        self.resolved_at: int | None = None
        self.resolved_by: int | None = None


class GrantTerms:
    """What a grant's row says beside its account: where it came from, and how far it has come.

    ``booked_at`` is None until the grant takes effect: only then are its credits in the wallet.
    """

    __slots__ = (
        "amount",
        "booked_at",
        "clawed_back",
        "cost_micros",
        "created_at",
        "first_expires_at",
        "lot",
        "reason",
        "reference",
        "transaction_id",
        "voided_at",
    )

    def __init__(self, *, lot: Lot, amount: int, created_at: int, transaction_id: int) -> None:
        self.lot = lot
        self.amount = amount
        self.created_at = created_at
        self.transaction_id = transaction_id
        self.first_expires_at = lot.expires_at
        self.booked_at: int | None = None
        self.voided_at: int | None = None
        self.clawed_back = 0
        self.reason: str | None = None
        self.reference: str | None = None
        self.cost_micros: int | None = None


class Membership:
    """A customer's plan, its current period, and what of the allowance was granted in it (unit to micro-units).

    ``paid_by`` is the subscription whose bills pay for it, by the provider's id: while there is one, no period begins by
    time alone. ``paid_from`` is the start of what the newest bill of the period pays, so that an older one does not bring
    its plan back. ``before`` keeps what earlier periods were granted, by ``period_name``, for bills that come late.
    """

    __slots__ = (
        "anchor_at",
        "before",
        "customer_id",
        "granted",
        "paid_by",
        "paid_from",
        "period_end",
        "period_start",
        "plan",
        "since",
    )

    def __init__(
        self,
        *,
        customer_id: int,
        plan: str,
        since: int,
        anchor_at: int,
        period_start: int,
        period_end: int,
        granted: dict[str, int],
        paid_by: str | None = None,
        paid_from: int | None = None,
        before: dict[str, dict[str, int]] | None = None,
    ) -> None:
        self.customer_id = customer_id
        self.plan = plan
        self.since = since
        self.anchor_at = anchor_at
        self.period_start = period_start
        self.period_end = period_end
        self.granted = granted
        self.paid_by = paid_by
        self.paid_from = paid_from
        self.before: dict[str, dict[str, int]] = {} if before is None else before

    @property
    def period_name(self) -> str:
        """What the current period is known by: its start, or the subscription that pays it and its end."""
        return str(self.period_start) if self.paid_by is None else paid_period(self.paid_by, self.period_end)


def paid_period(subscription: str, end: int | str) -> str:
    """What a paid period is known by: bills of one subscription that end at one moment are for one period."""
    return f"{subscription}@{end}"


class DueWork:
    """What the store found due for one customer beside its lots: scheduled grants, and holds whose time is up.

    ``next_hold_at`` and ``next_grant_at`` are the earliest moments of those that are not due yet. Where there was more
    than one settling takes, ``read_until`` is the moment and kind of the last that was read.
    """

    __slots__ = ("holds", "next_grant_at", "next_hold_at", "read_until", "scheduled")

    def __init__(self) -> None:
        self.holds: list[Hold] = []
        self.scheduled: list[GrantTerms] = []
        self.next_hold_at: int | None = None
        self.next_grant_at: int | None = None
        self.read_until: tuple[int, int] | None = None


class PastCharge:
    """A charge or capture as loaded for a refund: what each lot gave, in order, and what went back already."""

    __slots__ = ("amounts", "category", "customer_id", "draws", "id", "meter", "refunded", "spends", "unit")

    def __init__(
        self,
        *,
        id: int,  # noqa: A002 - the row's own name
        customer_id: int,
        unit: str,
        meter: str | None,
        category: str | None,
    ) -> None:
        self.id = id
        self.customer_id = customer_id
        self.unit = unit
        self.meter = meter
        self.category = category
        self.draws: list[tuple[Lot, int]] = []
        self.refunded: dict[int, int] = {}
        self.spends: tuple[Spend, ...] = ()


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

    def draw(self, wallet: Wallet, amount: int) -> list[tuple[Lot, int]]:
        """The lots that give ``amount``, in burn order. Nothing is changed; the caller checked that there is enough."""
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
        draws = self.draw(wallet, amount)
        for lot, take in draws:
            lot.debits += take
            self.transfer(transaction, lot.id, to_account, take)
        return draws

    def reserve(
        self, transaction: Transaction, wallet: Wallet, amount: int, to_account: int
    ) -> list[tuple[Lot, int]]:
        """Hold ``amount`` of the wallet's lots for ``to_account``: pending transfers that a later transaction resolves."""
        draws = self.draw(wallet, amount)
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
        lot.credits += amount
        self.transfer(transaction, from_account, lot.id, amount)
        self.entry(transaction, wallet, entry_type, amount, meter=meter)
        self.enter_burn_order(wallet, lot)
        if lot.kind != COVER:  # What goes back to issuance at once pays nobody's debt.
            self.repay_debt(transaction, wallet, lot)
        self.lapse(transaction, wallet, lot)
        if lot.expires_at is not None and lot.available > 0:
            wallet.due_by(lot.expires_at)

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
