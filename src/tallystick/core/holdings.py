"""What a ledger's book works on: lots, wallets, transactions, holds, grants and memberships, as they are loaded and written.

They are plain values with the few rules that belong to one of them alone; how credits move between them is the book's.
"""

from typing import Final

from tallystick.core.amounts import INT64_MAX
from tallystick.core.watch import Watch
from tallystick.core.words import COVER, LOT

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


class Task:
    """Work that one customer's agent does for another: what was agreed, how far it is, and what was paid.

    ``price`` was held in the wallet of ``payer_id``; ``hold_id`` is the hold in which what is left of it stands. A
    sub-task is paid from the hold of its parent, and ``requester_id`` is then the owner of the parent's agent. Amounts in
    micro-units.
    """

    __slots__ = (
        "accepted_at",
        "agent_id",
        "billing",
        "created_at",
        "disputable_until",
        "dispute_reason",
        "disputed_at",
        "economy",
        "ended_at",
        "expires_at",
        "fee",
        "hold_id",
        "id",
        "input",
        "output",
        "owner_id",
        "paid",
        "parent_id",
        "payer_id",
        "price",
        "reason",
        "refunded",
        "requester_id",
        "settlement_id",
        "status",
        "unit",
    )

    def __init__(
        self,
        *,
        id: int,  # noqa: A002 - the row's own name
        agent_id: int,
        owner_id: int,
        requester_id: int,
        payer_id: int,
        parent_id: int | None,
        unit: str,
        price: int,
        billing: str,
        input: str,  # noqa: A002 - the word of the contract
        economy: str | None,
        created_at: int,
        expires_at: int,
    ) -> None:
        self.id = id
        self.agent_id = agent_id
        self.owner_id = owner_id
        self.requester_id = requester_id
        self.payer_id = payer_id
        self.parent_id = parent_id
        self.unit = unit
        self.price = price
        self.billing = billing
        self.input = input
        self.economy = economy
        self.created_at = created_at
        self.expires_at = expires_at
        self.status = "created"
        self.hold_id: int | None = None
        self.accepted_at: int | None = None
        self.ended_at: int | None = None
        self.output: str | None = None
        self.reason: str | None = None
        self.settlement_id: int | None = None
        self.paid = 0
        self.fee = 0
        self.refunded = 0
        self.disputable_until: int | None = None
        self.disputed_at: int | None = None
        self.dispute_reason: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it may still be done."""
        return self.status in {"created", "accepted"}


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
