"""A customer's beginning and its plan: opening wallets, sign-up grants, and changes of plan that never grant twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from tallystick.core import errors
from tallystick.core.book import Book
from tallystick.core.catalog import Economy, Plan, SignUpGrant
from tallystick.core.decimals import to_decimal
from tallystick.core.due import grant_allowance, roll_forward
from tallystick.core.events import PLAN_CHANGED
from tallystick.core.holdings import NEVER, Membership, Transaction, Wallet
from tallystick.core.operations import Operation
from tallystick.core.plans import allowance_top_up, period_containing
from tallystick.core.times import add, format_rfc3339
from tallystick.core.watch import begin
from tallystick.core.words import COVER, UNLIMITED

CoverChange = tuple[
    str, int | None, int | None
]  # unit, the lot that covered its charges, the lot that does now


class PlanResult(NamedTuple):
    """A plan as it stands after a change; ``granted`` is what the change granted at once, per unit.

    ``covers`` names each unit whose standing lot changed, with the lots before and after: see ``Book.cover``.
    """

    id: int
    customer_id: int
    plan: str
    previous: str | None
    period_end: int
    granted: tuple[tuple[str, int], ...]
    created_at: int
    covers: tuple[CoverChange, ...] = ()


def open_wallet(book: Book, customer_id: int, unit: str) -> Wallet:
    """An empty wallet with its debt account; the store writes both. The customer may have budgets already."""
    wallet = Wallet(
        book.new_id(),
        customer_id,
        unit,
        book.new_id(),
        None,
        None,
        NEVER,
        any(each.has_budgets for (owner, _), each in book.wallets.items() if owner == customer_id),
        *(0,) * 9,
    )
    book.add_wallet(wallet)
    book.new_wallets.append(wallet)
    book.touched[wallet.id] = wallet
    return wallet


def watch_from_now(wallet: Wallet, economy: Economy, now: int) -> None:
    """Have a new wallet watched for the economy's thresholds."""
    wallet.set_watch(begin(economy.low_balance.of(wallet.unit), wallet.available(now)), wallet.refill_below)


@dataclass(slots=True, kw_only=True)
class OpenCustomer(Operation):
    """Give a new customer its wallets, what the economy grants at sign-up, and its first plan."""

    kind: ClassVar[str] = "sign_up"
    catalog: Economy

    def apply(self, book: Book) -> PlanResult:
        """Open everything; a sign-up grant is given once because a customer is opened once."""
        for unit in self.catalog.units:
            open_wallet(book, self.customer_id, unit)
        transaction = self.begin(book)
        for grant in self.catalog.sign_up:
            self._give(book, grant)
        plan = self.catalog.plan(self.catalog.default_plan)
        result = join_plan(book, transaction, plan, self.catalog.priority)
        for unit in self.catalog.units:
            wallet = book.wallet(self.customer_id, unit)
            watch_from_now(wallet, self.catalog, book.now)
        return result

    def _give(self, book: Book, grant: SignUpGrant) -> None:
        """A transaction of its own, so that the statement says what each was for."""
        transaction = book.begin("sign_up_grant", self.customer_id)
        transaction.caller, transaction.economy = self.caller, self.economy
        transaction.unit, transaction.amount = grant.unit, grant.amount_micros
        transaction.description = grant.description
        terms = book.grant(
            transaction,
            book.wallet(self.customer_id, grant.unit),
            grant.amount_micros,
            category=grant.category,
            origin="free",
            priority=self.catalog.priority(grant.category),
            effective_at=book.now,
            expires_at=None if grant.expires_after is None else add(book.now, grant.expires_after),
            reason=grant.description,
        )
        transaction.subject_id = terms.lot.id


@dataclass(slots=True, kw_only=True)
class ChangePlan(Operation):
    """Put a customer on another plan now. Credits that it has are never touched.

    Raises ``Conflict`` while a subscription pays for the plan: that has to be changed or ended instead.
    """

    kind: ClassVar[str] = "plan_change"
    plan: Plan
    catalog: Economy

    def apply(self, book: Book) -> PlanResult:
        """Grant what the new allowance has beyond all that this period was granted already."""
        membership = book.memberships[self.customer_id]
        is_paid = membership.paid_by is not None
        if is_paid and self.plan.name != membership.plan:
            raise errors.Conflict(
                f"the plan {membership.plan} is paid by a subscription: cancel that first, or have its owner change it"
            )
        previous = self.catalog.plans.get(membership.plan)
        roll_forward(membership, previous, book.now)
        covers = covers_of(book, self.customer_id)
        transaction = self.begin(book)
        transaction.description = f"{membership.plan} → {self.plan.name}"
        old_name = membership.plan
        if (previous is None or previous.renews != self.plan.renews) and old_name != self.plan.name:
            # A clock that went back does not bring back a period that was granted already.
            at = membership.anchor_at = max(book.now, membership.period_start)
            membership.period_start, membership.period_end = period_containing(self.plan.renews, at, at)
        if old_name != self.plan.name:
            membership.plan, membership.since = self.plan.name, book.now
        at_once = not (is_paid and membership.period_end <= book.now) and self.plan.starts == "now"
        granted = enter_plan(book, transaction, membership, self.plan, self.catalog.priority, at_once=at_once)
        tell_plan(book, membership, old_name, granted)
        return PlanResult(
            transaction.id,
            self.customer_id,
            self.plan.name,
            old_name,
            membership.period_end,
            granted,
            transaction.at,
            cover_changes(covers, covers_of(book, self.customer_id)),
        )


def tell_plan(book: Book, membership: Membership, previous: str, granted: Sequence[tuple[str, int]]) -> None:
    """Tell of a plan that is another than before, with what came at once, per unit."""
    if membership.plan != previous:
        data = {
            "plan": membership.plan,
            "previous": previous,
            "period_end": format_rfc3339(membership.period_end),
            "granted": {unit: to_decimal(amount) for unit, amount in granted},
        }
        book.tell(membership.customer_id, PLAN_CHANGED, data)


def join_plan(book: Book, transaction: Transaction, plan: Plan, priority: Callable[[str], int]) -> PlanResult:
    """A customer's first plan."""
    customer_id = transaction.customer_id
    start, end = period_containing(plan.renews, book.now, book.now)
    membership = Membership(
        customer_id=customer_id,
        plan=plan.name,
        since=book.now,
        anchor_at=book.now,
        period_start=start,
        period_end=end,
        granted={},
    )
    book.memberships[customer_id] = membership
    covers = covers_of(book, customer_id)
    granted = enter_plan(book, transaction, membership, plan, priority, at_once=plan.starts == "now")
    changes = cover_changes(covers, covers_of(book, customer_id))
    return PlanResult(transaction.id, customer_id, plan.name, None, end, granted, book.now, changes)


def covers_of(book: Book, customer_id: int) -> dict[str, int | None]:
    """The standing lot of each unit that an unlimited plan covers; None for the others."""
    return {unit: wallet.cover_id for (owner, unit), wallet in book.wallets.items() if owner == customer_id}


def cover_changes(before: dict[str, int | None], after: dict[str, int | None]) -> tuple[CoverChange, ...]:
    """What a change of plan did to the standing lots."""
    return tuple((unit, before[unit], lot_id) for unit, lot_id in after.items() if before[unit] != lot_id)


def enter_plan(
    book: Book,
    transaction: Transaction,
    membership: Membership,
    plan: Plan,
    priority: Callable[[str], int],
    *,
    at_once: bool,
) -> tuple[tuple[str, int], ...]:
    """Apply a plan's allowances to the current period; gives what was granted."""
    granted: list[tuple[str, int]] = []
    set_covers(book, transaction, membership.customer_id, plan)
    for allowance in plan.allowances:
        if not allowance.amount_micros:
            continue
        unit = allowance.unit
        book.wallet(membership.customer_id, unit).due_by(membership.period_end)
        amount = allowance_top_up(allowance.amount_micros, membership.granted.get(unit, 0)) if at_once else 0
        if amount:
            grant_allowance(book, membership, plan, unit, amount, priority)
            granted.append((unit, amount))
    book.changed_memberships[membership.customer_id] = membership
    return tuple(granted)


def set_covers(book: Book, transaction: Transaction, customer_id: int, plan: Plan) -> None:
    """A unit that the plan has without limit gets a standing lot; the others are drawn from what there is."""
    for (owner, unit), wallet in book.wallets.items():
        if owner != customer_id:
            continue
        allowance = plan.allowance(unit)
        unlimited = allowance is not None and allowance.amount_micros is None
        if unlimited and wallet.cover_id is None:
            open_cover(book, transaction, wallet)
        elif not unlimited:
            wallet.cover_id = None
        book.touched[wallet.id] = wallet


def open_cover(book: Book, transaction: Transaction, wallet: Wallet) -> None:
    """The standing lot of an unlimited plan: every charge is granted into it and drawn from it."""
    lot = book.new_lot(
        wallet,
        kind=COVER,
        category="monthly_grant",
        origin="free",
        priority=0,
        effective_at=book.now,
        expires_at=None,
    )
    terms = book.record_grant(transaction, lot, 0)
    terms.reason, terms.booked_at = UNLIMITED, book.now
    wallet.cover_id = lot.id
