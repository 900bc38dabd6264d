"""Plans that a subscription pays for: each bill that was paid brings its period, and its allowance once.

Bills may be told in any order, late and more than once. What decides is what a bill says of itself: the bills of one
subscription that end at one moment are for one period, and a period grants no more than the largest allowance that was
paid in it. Of two bills in one period the later one says the plan. Time alone begins no period while a subscription
pays: what was granted expires, and nothing new comes before the next bill is paid.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from tallystick.core.book import Book
from tallystick.core.catalog import Economy, Plan
from tallystick.core.due import grant_for_period, rolling_lots, trim_rollover
from tallystick.core.holdings import Membership, Transaction, paid_period
from tallystick.core.membership import (
    CoverChange,
    cover_changes,
    covers_of,
    enter_plan,
    set_covers,
    tell_plan,
)
from tallystick.core.operations import Operation
from tallystick.core.plans import allowance_top_up, period_containing

# So many earlier periods are remembered for bills that come late: a year of them.
REMEMBERED: Final = 12

Granted = dict[str, int]  # unit to micro-units


class PaidResult(NamedTuple):
    """A plan as it stands after a bill, or after the end of a subscription.

    ``granted`` is each grant that was made, with its unit and amount; ``was_paid_by`` and ``paid_by`` are the
    subscription before and after.
    """

    id: int
    customer_id: int
    plan: str
    previous: str
    was_paid_by: str | None
    paid_by: str | None
    period_start: int
    period_end: int
    granted: tuple[tuple[int, str, int], ...]
    created_at: int
    covers: tuple[CoverChange, ...] = ()


@dataclass(slots=True, kw_only=True)
class PaidPeriod(Operation):
    """A bill for ``plan`` and the time from ``start`` to ``end`` was paid; in the middle of a period, for its rest.

    ``running``: the subscription has not ended. ``newest``: the provider knows no later bill of it, which decides between
    two that begin at one moment. ``reference`` is what its grants are reached by.
    """

    kind: ClassVar[str] = "paid_period"
    plan: Plan
    catalog: Economy
    subscription: str
    start: int
    end: int
    running: bool
    newest: bool
    reference: str | None = None

    def apply(self, book: Book) -> PaidResult:
        """Grant what this period's allowance has beyond what it was granted; the plan and period follow, if newer."""
        membership = book.memberships[self.customer_id]
        change = _Change(book, membership)
        transaction = self.begin(book)
        transaction.description = f"{self.plan.title}: a bill was paid"
        is_ours = membership.paid_by == self.subscription
        if is_ours and self.end == membership.period_end:
            membership.period_start = min(membership.period_start, self.start)
            if self.running and (self.start, self.newest) > (membership.paid_from or 0, False):
                self._take_over(book, transaction, membership)
            self._grant(book, membership.granted)
        elif self.running and (self._is_first(membership) or self.end > self._latest(book, membership)):
            self._begin_period(book, transaction, membership, follows=is_ours)
        else:
            self._grant_late(book, membership, is_ours=is_ours)
        book.changed_memberships[self.customer_id] = membership
        return change.result(transaction)

    def _is_first(self, membership: Membership) -> bool:
        """Whether nothing pays for the plan yet: then a month that was paid counts, however late we hear of it."""
        return membership.paid_by is None

    def _latest(self, book: Book, membership: Membership) -> int:
        """What a bill must reach beyond to bring another period: its own subscription's last one, or the present."""
        return membership.period_end if membership.paid_by == self.subscription else book.now

    def _take_over(self, book: Book, transaction: Transaction, membership: Membership) -> None:
        """The bill's plan is the customer's from now on."""
        membership.paid_from = self.start
        if self.plan.name != membership.plan:
            membership.plan, membership.since = self.plan.name, book.now
        set_covers(book, transaction, self.customer_id, self.plan)

    def _begin_period(
        self, book: Book, transaction: Transaction, membership: Membership, *, follows: bool
    ) -> None:
        """What the subscription's last period left stays as far as it rolls over; other credits are not touched."""
        _remember(membership)
        if not follows:
            membership.anchor_at = self.start
            follows = any(name.startswith(paid_period(self.subscription, "")) for name in membership.before)
        membership.paid_by, membership.period_start, membership.period_end = (
            self.subscription,
            self.start,
            self.end,
        )
        membership.granted = membership.before.pop(membership.period_name, {})
        self._take_over(book, transaction, membership)
        for allowance in self.plan.allowances:
            if follows and allowance.amount_micros:
                trim_rollover(
                    book, book.wallet(self.customer_id, allowance.unit), allowance.rollover_cap_micros
                )
        self._grant(book, membership.granted)

    def _grant_late(self, book: Book, membership: Membership, *, is_ours: bool) -> None:
        """A bill of a period that is over, or of a subscription that is: it grants what it paid for, and no more.

        Before a newer period of the same subscription, only as much stays as rolls over into that one.
        """
        current = {
            unit: min(sum(lot.available for lot in rolling_lots(wallet)), membership.granted.get(unit, 0))
            for (owner, unit), wallet in book.wallets.items()
            if owner == self.customer_id
        }
        name = paid_period(self.subscription, self.end)
        granted = membership.before.pop(name, {})
        _keep(membership, name, granted)
        self._grant(book, granted)
        plan = self.catalog.plans.get(membership.plan)
        for unit, kept in current.items():
            allowance = None if plan is None else plan.allowance(unit)
            if is_ours and allowance is not None:
                wallet = book.wallet(self.customer_id, unit)
                trim_rollover(book, wallet, (allowance.rollover_cap_micros or 0) + kept)

    def _grant(self, book: Book, granted: Granted) -> None:
        for allowance in self.plan.allowances:
            amount = allowance_top_up(allowance.amount_micros, granted.get(allowance.unit, 0))
            if amount:
                grant_for_period(
                    book,
                    self.customer_id,
                    self.plan,
                    allowance.unit,
                    amount,
                    period=paid_period(self.subscription, self.end),
                    period_end=self.end,
                    granted=granted,
                    priority=self.catalog.priority,
                    origin="paid",
                    reference=self.reference,
                )


@dataclass(slots=True, kw_only=True)
class EndPaidPlan(Operation):
    """A subscription has ended: the customer goes to ``plan``, and time goes on from the end of what was paid.

    What is there stays. In a period that is not over nothing is granted twice. Where something else pays meanwhile, or
    nothing does, it changes nothing.
    """

    kind: ClassVar[str] = "paid_plan_end"
    plan: Plan
    catalog: Economy
    subscription: str

    def apply(self, book: Book) -> PaidResult:
        """Begin a period of the plan where the paid one ended, or now if it was to last longer."""
        membership = book.memberships[self.customer_id]
        change = _Change(book, membership)
        transaction = self.begin(book)
        transaction.description = f"{membership.plan} → {self.plan.name}: the subscription has ended"
        if membership.paid_by == self.subscription:
            self._leave(book, transaction, membership)
        return change.result(transaction)

    def _leave(self, book: Book, transaction: Transaction, membership: Membership) -> None:
        _remember(membership)
        # Its last bills may have come late, when it had ended already.
        prefix = paid_period(self.subscription, "")
        end = max(int(name[len(prefix) :]) for name in membership.before if name.startswith(prefix))
        # A clock that went back does not bring back a period that was granted already.
        at = end if end <= book.now else max(book.now, membership.period_start)
        granted = _most(membership.granted, membership.before[paid_period(self.subscription, end)])
        if end <= book.now:
            granted = {}
        membership.paid_by = membership.paid_from = None
        if self.plan.name != membership.plan:
            membership.plan, membership.since = self.plan.name, book.now
        membership.anchor_at = at
        membership.period_start, membership.period_end = period_containing(self.plan.renews, at, at)
        membership.granted = _most(granted, membership.before.get(membership.period_name, {}))
        enter_plan(
            book,
            transaction,
            membership,
            self.plan,
            self.catalog.priority,
            at_once=self.plan.starts == "now",
        )


class _Change:
    """What was before, to tell what became of it."""

    def __init__(self, book: Book, membership: Membership) -> None:
        self._book = book
        self._membership = membership
        self._previous, self._paid_by = membership.plan, membership.paid_by
        self._covers = covers_of(book, membership.customer_id)
        self._grants = len(book.new_grants)

    def result(self, transaction: Transaction) -> PaidResult:
        """The plan as it stands now, and what was granted since; another plan is told of."""
        membership = self._membership
        granted = [terms for terms in self._book.new_grants[self._grants :] if terms.amount]
        tell_plan(
            self._book, membership, self._previous, [(terms.lot.unit, terms.amount) for terms in granted]
        )
        return PaidResult(
            transaction.id,
            membership.customer_id,
            membership.plan,
            self._previous,
            self._paid_by,
            membership.paid_by,
            membership.period_start,
            membership.period_end,
            tuple((terms.lot.id, terms.lot.unit, terms.amount) for terms in granted),
            transaction.at,
            cover_changes(self._covers, covers_of(self._book, membership.customer_id)),
        )


def _most(one: Granted, other: Granted) -> Granted:
    """The larger amount of each unit."""
    return {unit: max(one.get(unit, 0), other.get(unit, 0)) for unit in {**one, **other}}


def _remember(membership: Membership) -> None:
    """The current period is followed by another: keep what it was granted."""
    _keep(membership, membership.period_name, dict(membership.granted))


def _keep(membership: Membership, name: str, granted: Granted) -> None:
    before = membership.before
    before.pop(name, None)
    before[name] = granted
    for oldest in list(before)[: max(len(before) - REMEMBERED, 0)]:
        del before[oldest]
