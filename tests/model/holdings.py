"""What a customer has, in the model: lots, wallets, holds, budgets, a plan. Plain numbers and lists."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.model.calendar import DAY, months_after, start_of_day, start_of_month

Spend = tuple[int, str, int, int]  # budget, unit, start of its period, amount
Line = tuple[str, int, int]  # type, amount, balance after

FOREVER: Final = 1 << 62
TOTAL_OF_CREDIT: Final = {
    "purchase": "purchased",
    "auto_refill": "purchased",
    "task_credit": "earned",
    "reward": "earned",
    "referral": "earned",
}
TOTAL_OF_DEBIT: Final = {
    "usage": "spent",
    "task_debit": "spent",
    "expiry": "expired",
    "clawback": "removed",
    "adjustment": "removed",
}


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """The operation must be refused with this code, and these figures among its fields."""

    def __init__(self, code: str, **figures: object) -> None:
        super().__init__(code, figures)
        self.code = code
        self.figures = figures


class Mismatch(AssertionError):  # noqa: N818 - a finding
    """The ledger and the model disagree."""


@dataclass(slots=True, eq=False)
class Lot:
    """A grant. ``left`` is what was not taken yet, ``held`` the part of it that holds have reserved."""

    id: int
    unit: str
    category: str
    priority: int
    amount: int
    starts_at: int
    expires_at: int | None
    origin: str = "free"
    standing: bool = False  # the lot of an unlimited plan: it only ever gets what a charge or a hold takes
    started: bool = False
    voided: bool = False
    clawed_back: int = 0
    left: int = 0
    held: int = 0

    @property
    def free(self) -> int:
        """What nothing has reserved."""
        return self.left - self.held

    @property
    def turn(self) -> tuple[int, int, int]:
        """Burn order: priority, soonest expiry, oldest."""
        return self.priority, FOREVER if self.expires_at is None else self.expires_at, self.id


@dataclass(slots=True, eq=False)
class Wallet:
    """A customer's holdings in one unit, and the lines of its statement that nobody has looked at yet."""

    unit: str
    lots: list[Lot] = field(default_factory=list)
    debt: int = 0
    frozen_at: int | None = None
    standing: Lot | None = None
    balance: int = 0
    line_count: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    lines: list[Line] = field(default_factory=list)

    def is_over(self, lot: Lot, now: int) -> bool:
        """Whether nothing may be drawn from a lot; for the lots of a frozen wallet time stands still."""
        if self.frozen_at is not None:
            now = min(now, self.frozen_at)
        return lot.voided or lot.standing or (lot.expires_at is not None and lot.expires_at <= now)

    def available(self, now: int) -> int:
        """What a charge may draw."""
        return sum(lot.free for lot in self.lots if not self.is_over(lot, now))

    def write(self, kind: str, amount: int) -> None:
        """One line of the statement."""
        self.balance += amount
        self.line_count += 1
        self.lines.append((kind, amount, self.balance))
        if kind == "refund":
            self.totals["spent"] -= amount
        elif kind == "clawback":  # also when it comes back
            self.totals["removed"] -= amount
        elif amount < 0:
            self.totals[TOTAL_OF_DEBIT[kind]] -= amount
        elif amount > 0:
            self.totals[TOTAL_OF_CREDIT.get(kind, "granted")] += amount

    def take(self, amount: int, now: int) -> list[tuple[Lot, int]]:
        """Which lots give ``amount``, and how much each."""
        draws = []
        for lot in sorted(self.lots, key=lambda lot: lot.turn):
            part = 0 if self.is_over(lot, now) else min(lot.free, amount)
            if part > 0:
                draws.append((lot, part))
                amount -= part
        if amount:
            raise Mismatch("the model draws more than there is")
        return draws

    def put(self, lot: Lot, amount: int) -> None:
        """Pay into a lot."""
        if lot not in self.lots:
            self.lots.append(lot)
        lot.left += amount

    def credit(self, lot: Lot, amount: int, kind: str, now: int) -> None:
        """Pay into a lot: debt is repaid first, and what has lapsed already goes on."""
        self.put(lot, amount)
        self.write(kind, amount)
        if not lot.standing:  # What was granted for one charge alone pays nobody's debt.
            self.repay(lot)
        self.lapse(lot, now)

    def repay(self, lot: Lot) -> None:
        """What is owed is taken from the first credit that comes in."""
        repaid = min(self.debt, lot.free)
        if repaid:
            lot.left -= repaid
            self.debt -= repaid
            self.write("debt_repayment", 0)

    def lapse(self, lot: Lot, now: int) -> int:
        """Take what is free in a lot that is over out of the wallet."""
        amount = lot.free
        if amount == 0 or not self.is_over(lot, now):
            return 0
        lot.left -= amount
        self.write("adjustment" if lot.standing or lot.voided else "expiry", -amount)
        return amount

    def check(self) -> None:
        """A wallet's balance is the sum of its lots less its debt, and its lifetime totals say the same."""
        self.lots = [lot for lot in self.lots if lot.left]
        given = self.totals["granted"] + self.totals["purchased"] + self.totals["earned"]
        gone = self.totals["spent"] + self.totals["expired"] + self.totals["removed"]
        if not self.balance == sum(lot.left for lot in self.lots) - self.debt == given - gone:
            raise Mismatch(f"the model's own {self.unit} wallet does not add up")


@dataclass(slots=True, eq=False)
class Hold:
    """A hold, and what each lot has reserved for it."""

    id: int
    customer_id: int
    maker: str
    expires_at: int
    amounts: dict[str, int]
    legs: list[tuple[Lot, int]]
    spends: list[Spend]
    economy: str | None
    status: str = "open"


@dataclass(slots=True, eq=False)
class Paid:
    """A charge or a capture: what each lot gave, in the order of the draw, and what went back since."""

    customer_id: int
    unit: str
    draws: list[tuple[Lot, int]]
    spends: list[Spend]  # what is still counted, the last at the end
    returned: Counter[int] = field(default_factory=Counter)

    def by_lot(self) -> dict[int, tuple[Lot, int]]:
        """What each lot gave in all, in the order of its first draw."""
        gave: dict[int, tuple[Lot, int]] = {}
        for lot, part in self.draws:
            gave[lot.id] = lot, gave.get(lot.id, (lot, 0))[1] + part
        return gave


@dataclass(slots=True, eq=False)
class Limit:
    """A budget, and what each of its periods has spent."""

    id: int
    level: str
    subject: tuple[int, str]  # a customer or key, and the agent's name where it is an agent's
    unit: str
    amount: int | None  # None once it was removed: what it has counted stays
    per: str
    spent: Counter[int] = field(default_factory=Counter)

    def is_for(self, level: str, subject: tuple[int, str]) -> bool:
        """Whether it bounds this customer, key or agent."""
        return self.amount is not None and (self.level, self.subject) == (level, subject)

    def period(self, now: int) -> int:
        """The start of the day or month."""
        return start_of_day(now) if self.per == "day" else start_of_month(now)

    def ends_at(self, now: int) -> int:
        """When the next period begins."""
        start = self.period(now)
        return start + DAY if self.per == "day" else months_after(start, 1)


@dataclass(slots=True, eq=False)
class Customer:
    """Everything of one customer."""

    id: int
    wallets: dict[str, Wallet]
    plan: str
    anchor_at: int
    period: tuple[int, int]
    granted: Counter[str] = field(default_factory=Counter)
    payer: str | None = None  # the subscription that pays
    paid_since: int = 0  # where the latest bill of the period begins
    earlier: dict[object, Counter[str]] = field(default_factory=dict)  # what earlier periods were granted
    holds: list[Hold] = field(default_factory=list)
    scheduled: list[Lot] = field(default_factory=list)
