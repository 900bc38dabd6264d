"""What time alone makes happen to a customer: holds that end, lots that expire, periods that begin, grants that take effect.

``settle`` books everything that is due by the book's ``now``, in the order of its own moments, each at its own moment: as
if the system had never been down. It is safe to run at any time, and again. Nothing is drawn from a wallet before it.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from tallystick.core.book import Book
from tallystick.core.catalog import Economy, Plan
from tallystick.core.decimals import to_decimal
from tallystick.core.events import HOLD_EXPIRED
from tallystick.core.holdings import NEVER, DueWork, GrantTerms, Hold, Lot, Membership, Wallet
from tallystick.core.ids import to_text
from tallystick.core.operations import resolve_hold
from tallystick.core.plans import carry_over, next_period, period_containing
from tallystick.core.tasks import time_out
from tallystick.core.times import format_rfc3339
from tallystick.core.words import BREAKAGE, COVER, LOT

# One settling books at most this many events; what is left is due still, and the next settling goes on.
MAX_EVENTS: Final = 400

# At the same moment: credits come back from holds first, then lots expire, then the new month begins, then grants start.
HOLD, EXPIRY, RENEWAL, START = range(4)


class Event(NamedTuple):
    """One thing that is due: when, in which order at the same moment, and to what."""

    at: int
    order: int
    subject: Hold | Lot | Membership | GrantTerms


def settle(
    book: Book, customer_id: int, plan_of: Callable[[str], Plan | None], priority: Callable[[str], int]
) -> dict[str, int]:
    """Book all that is due for one customer; gives how many events of each kind were booked.

    ``plan_of`` gives a plan of the active economy or None; ``priority`` the burn priority of a category.
    """
    wallets = [wallet for (owner, _), wallet in book.wallets.items() if owner == customer_id]
    due = book.due.get(customer_id) or DueWork()
    membership = book.memberships.get(customer_id)
    counts: dict[str, int] = {}
    now = book.now
    complete = False
    for _ in range(MAX_EVENTS):
        event = next_event(wallets, due, membership, plan_of)
        if event is None or event.at > now:
            complete = due.read_until is None
            break
        if due.read_until is not None and (event.at, event.order) > due.read_until:
            break
        book.now = event.at
        name = _book_event(book, event, due, plan_of, priority)
        counts[name] = counts.get(name, 0) + 1
    book.now = now
    if not complete:
        book.unsettled.add(customer_id)
    for wallet in wallets:
        wallet.next_due_at = _next_due_at(wallet, wallets[0], due, membership, plan_of) if complete else now
        book.touched[wallet.id] = wallet
    return counts


def next_event(
    wallets: list[Wallet], due: DueWork, membership: Membership | None, plan_of: Callable[[str], Plan | None]
) -> Event | None:
    """The earliest event that waits, due or not."""
    events: list[Event] = [Event(hold.expires_at, HOLD, hold) for hold in due.holds if hold.status == "open"]
    events += [
        Event(terms.lot.effective_at, START, terms) for terms in due.scheduled if terms.booked_at is None
    ]
    for wallet in wallets:
        lot = _next_to_expire(wallet)
        if lot is not None and lot.expires_at is not None:
            events.append(Event(lot.expires_at, EXPIRY, lot))
    if membership is not None and _renews_by_itself(membership, plan_of):
        events.append(Event(membership.period_end, RENEWAL, membership))
    return min(events, key=lambda event: (event.at, event.order), default=None)


def _next_to_expire(wallet: Wallet) -> Lot | None:
    latest = wallet.moment(NEVER)  # While a wallet is frozen, what had not expired before does not.
    expiring = [
        lot
        for lot in wallet.lots
        if lot.expires_at is not None
        and lot.expires_at <= latest
        and lot.kind == LOT
        and not lot.voided
        and lot.available > 0
    ]
    return min(expiring, key=lambda lot: (lot.expires_at, lot.id), default=None)


def _renews(plan: Plan | None) -> bool:
    return plan is not None and any(allowance.amount_micros for allowance in plan.allowances)


def _renews_by_itself(membership: Membership, plan_of: Callable[[str], Plan | None]) -> bool:
    """A period that a subscription pays for is followed by the next when that is paid, and not by time alone."""
    return membership.paid_by is None and _renews(plan_of(membership.plan))


def plans_that_gained(before: Economy, after: Economy) -> list[str]:
    """Plans that had no allowance to grant and have one now: nobody watched the periods of their customers."""
    return [
        name
        for name, plan in after.plans.items()
        if name in before.plans and _renews(plan) and not _renews(before.plans[name])
    ]


def _next_due_at(
    wallet: Wallet,
    first: Wallet,
    due: DueWork,
    membership: Membership | None,
    plan_of: Callable[[str], Plan | None],
) -> int:
    """When this wallet must be settled next. What belongs to the customer as a whole is watched by its first wallet."""
    lot = _next_to_expire(wallet)
    moments = [NEVER if lot is None or lot.expires_at is None else lot.expires_at]
    if wallet is first:
        moments += [moment for moment in (due.next_hold_at, due.next_grant_at) if moment is not None]
        moments += [hold.expires_at for hold in due.holds if hold.status == "open"]
    if membership is not None and _renews_by_itself(membership, plan_of):
        moments.append(membership.period_end)
    return min(moments)


def _book_event(
    book: Book,
    event: Event,
    due: DueWork,
    plan_of: Callable[[str], Plan | None],
    priority: Callable[[str], int],
) -> str:
    subject = event.subject
    if isinstance(subject, Hold):
        transaction = book.begin("hold_expiry", subject.customer_id)
        transaction.subject_id, transaction.meter = subject.id, subject.meter
        placed = len(book.placed)
        if time_out(book, transaction, subject):
            due.holds += book.placed[placed:]
            return "task_timeout"
        resolve_hold(book, transaction, subject, {unit: 0 for unit, _ in subject.amounts}, "expired")
        data = {
            "hold": to_text("hold", subject.id),
            "meter": subject.meter,
            "amounts": {unit: to_decimal(amount) for unit, amount in subject.amounts},
            "expired_at": format_rfc3339(subject.expires_at),
        }
        book.tell(subject.customer_id, HOLD_EXPIRED, data)
        return "hold_expiry"
    if isinstance(subject, Lot):
        transaction = book.begin("expiry", subject.customer_id)
        wallet = book.wallet(subject.customer_id, subject.unit)
        transaction.subject_id, transaction.unit = subject.id, subject.unit
        transaction.amount = book.lapse(transaction, wallet, subject)
        return "expiry"
    if isinstance(subject, Membership):
        renew(book, subject, plan_of(subject.plan), priority)
        return "monthly_grant"
    lot = subject.lot
    transaction = book.begin("grant_start", lot.customer_id)
    transaction.subject_id, transaction.unit, transaction.amount = lot.id, lot.unit, subject.amount
    transaction.description = subject.reason
    book.book_grant(transaction, book.wallet(lot.customer_id, lot.unit), subject)
    due.scheduled.remove(subject)
    return "grant_start"


def renew(book: Book, membership: Membership, plan: Plan | None, priority: Callable[[str], int]) -> None:
    """Begin the next period: what rolls over stays, the rest of the old allowance expires, the new one is granted."""
    if plan is None:
        return
    start, end = next_period(plan.renews, membership.anchor_at, membership.period_end)
    if start < membership.period_end and plan.renews == "anniversary":
        # The economy moved this plan from calendar months: a period begins where the last one ended.
        membership.anchor_at = membership.period_end
        start, end = next_period(plan.renews, membership.anchor_at, membership.period_end)
    membership.period_start, membership.period_end, membership.granted = start, end, {}
    for allowance in plan.allowances:
        if not allowance.amount_micros:
            continue
        wallet = book.wallet(membership.customer_id, allowance.unit)
        trim_rollover(book, wallet, allowance.rollover_cap_micros)
        grant_allowance(book, membership, plan, allowance.unit, allowance.amount_micros, priority)
    book.changed_memberships[membership.customer_id] = membership


def rolling_lots(wallet: Wallet) -> list[Lot]:
    """The lots of allowances that roll over: only they have no expiry of their own."""
    return [
        lot
        for lot in wallet.lots
        if lot.category == "monthly_grant" and lot.expires_at is None and lot.kind != COVER
    ]


def trim_rollover(book: Book, wallet: Wallet, cap: int | None) -> None:
    """Expire what an ended period left beyond the cap."""
    if wallet.frozen_at is not None:
        return  # Nothing is lost meanwhile: the first period that begins after the thaw applies the cap.
    lots = rolling_lots(wallet)
    remaining = sum(lot.available for lot in lots)
    excess = remaining - carry_over(remaining, cap)
    if excess <= 0:
        return
    transaction = book.begin("expiry", wallet.customer_id)
    transaction.unit, transaction.amount = wallet.unit, excess
    breakage = book.system_account(wallet.unit, BREAKAGE)
    for lot in lots:
        take = min(excess, lot.available)
        if take > 0:
            lot.debits += take
            book.transfer(transaction, lot.id, breakage, take)
            book.tell_of_expiry(lot, take)
            excess -= take
    book.entry(transaction, wallet, "expiry", -transaction.amount, category="monthly_grant")


def grant_allowance(
    book: Book, membership: Membership, plan: Plan, unit: str, amount: int, priority: Callable[[str], int]
) -> None:
    """Grant ``amount`` of a plan's allowance for the current period, and remember that it was granted in it."""
    grant_for_period(
        book,
        membership.customer_id,
        plan,
        unit,
        amount,
        period=membership.period_name,
        period_end=membership.period_end,
        granted=membership.granted,
        priority=priority,
    )


def grant_for_period(
    book: Book,
    customer_id: int,
    plan: Plan,
    unit: str,
    amount: int,
    *,
    period: str,
    period_end: int,
    granted: dict[str, int],
    priority: Callable[[str], int],
    origin: str = "free",
    reference: str | None = None,
) -> None:
    """Grant ``amount`` of an allowance for one period, and add it to what that was ``granted``."""
    allowance = plan.allowance(unit)
    rolls_over = allowance is not None and allowance.rollover_cap_micros is not None
    wallet = book.wallet(customer_id, unit)
    transaction = book.begin("monthly_grant", customer_id)
    transaction.unit, transaction.amount = unit, amount
    total = granted.get(unit, 0) + amount
    # One period grants an allowance up to one total once, whatever process finds it due.
    transaction.idempotency = f"allowance:{customer_id}:{unit}:{period}:{total}"
    transaction.description = f"{plan.title} allowance"
    terms = book.grant(
        transaction,
        wallet,
        amount,
        category="monthly_grant",
        origin=origin,
        priority=priority("monthly_grant"),
        effective_at=book.now,
        expires_at=None if rolls_over else period_end,
        reason=transaction.description,
        reference=plan.name if reference is None else reference,
    )
    transaction.subject_id = terms.lot.id
    granted[unit] = total


def roll_forward(membership: Membership, plan: Plan | None, now: int) -> None:
    """Move the period of a plan without an allowance to the one that holds ``now``: nothing was due in between."""
    if membership.paid_by is None and membership.period_end <= now:
        renews = plan.renews if plan is not None else "calendar"
        membership.period_start, membership.period_end = period_containing(renews, membership.anchor_at, now)
        membership.granted = {}
