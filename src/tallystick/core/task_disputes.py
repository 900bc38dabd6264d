"""Disputes of completed tasks: within a window, decided once, and paid back whole, in part, or not at all.

- What goes back comes from the platform's fee in proportion, and from the owner; both sides make up the amount exactly.
- What was paid for stays so: credits come back to the lots that gave them, and as free ones where free ones paid.
- The budgets that counted the price have the room of what comes back again, in the period that counted it. A sub-task's
  price comes back to what its parent holds while that goes on, and the budgets go on counting it there.
"""

from dataclasses import dataclass
from typing import ClassVar

from tallystick.core import errors
from tallystick.core.amounts import pro_rata_floor
from tallystick.core.book import Book
from tallystick.core.holdings import MAX_BALANCE, Lot, Spend, Task, Wallet
from tallystick.core.settlement import new_grant
from tallystick.core.tasks import Legs, TaskResult, TaskStep, hold_more, open_parent
from tallystick.core.words import FEES, LOT


@dataclass(slots=True, kw_only=True)
class DisputeTask(TaskStep):
    """Whoever asked says that a completed task was not what was agreed, within the window."""

    kind: ClassVar[str] = "task_dispute"
    with_payment: ClassVar[bool] = True
    reason: str
    refund_at_once: bool = False

    def apply(self, book: Book) -> TaskResult:
        """Note the dispute; where the economy says so, pay everything back at once."""
        task = self.task(book, "completed")
        if task.disputed_at is not None:
            raise errors.Conflict("this task was disputed before, and that was decided")
        if not task.paid:
            raise errors.Conflict("nothing was paid for this task, so that nothing can come back")
        if book.now >= (task.disputable_until or 0):
            raise errors.DisputeWindowClosed(task.disputable_until or 0)
        if self.refund_at_once:
            task.dispute_reason = self.reason
            return _pay_back(self, book, task, task.paid)
        transaction = self.step(book, task, self.kind)
        task.status, task.disputed_at, task.dispute_reason = "disputed", transaction.at, self.reason
        return self.done(book, task, transaction)


@dataclass(slots=True, kw_only=True)
class ResolveDispute(TaskStep):
    """What goes back of a disputed task's price: all of it, a part, or nothing. That is final."""

    kind: ClassVar[str] = "task_dispute_end"
    with_payment: ClassVar[bool] = True
    amount: int

    def apply(self, book: Book) -> TaskResult:
        """Pay back what was decided."""
        task = self.task(book, "disputed")
        if self.amount > task.paid:
            raise errors.ExceedsRefundable(unit=task.unit, requested=self.amount, refundable=task.paid)
        if self.amount:
            return _pay_back(self, book, task, self.amount)
        transaction = self.step(book, task, self.kind)
        task.status = "completed"
        return self.done(book, task, transaction)


def _pay_back(operation: TaskStep, book: Book, task: Task, amount: int) -> TaskResult:
    """Return ``amount`` of the price to the lots that gave it, last drawn first: the fee's share from the platform.

    The share is rounded down, so that what is finer than a micro-unit stays with the platform. What the owner has spent of
    its earnings already is taken from what else it has, and owed beyond that. Nobody knows what a debt will be repaid
    with: so what is owed, or comes from free credits, comes back as free credits. The parent of a sub-task, while it goes
    on, holds what came back, whatever the payer owes.
    """
    wallet, owner = book.wallet(task.payer_id, task.unit), book.wallet(task.owner_id, task.unit)
    if wallet.balance + amount > MAX_BALANCE:
        raise errors.AmountTooLarge
    transaction = operation.step(book, task, "task_refund")
    transaction.amount = amount
    fees = book.system_account(task.unit, FEES)
    of_fee = pro_rata_floor(amount, task.paid, task.fee)
    left = {True: of_fee, False: amount - of_fee}
    parent = open_parent(book, task, transaction.at)
    come_back: Legs = []
    for lot, account, moved in reversed(book.payments[task.id]):
        from_fees = account == fees
        take = min(moved, left[from_fees])
        if not take:
            continue
        left[from_fees] -= take
        sources = [(fees, lot.origin, take)] if from_fees else _from_owner(book, owner, account, lot, take)
        for source, origin, part in sources:
            target = lot
            if lot.origin not in {origin, "free"}:
                target = new_grant(
                    book,
                    transaction,
                    wallet,
                    part,
                    category=lot.category,
                    origin="free",
                    priority=lot.priority,
                    expires_at=lot.expires_at,
                )
            pay_in = book.open_lot if parent is None else book.credit
            pay_in(transaction, wallet, target, part, source, entry_type="refund")
            come_back.insert(0, (target, part))
    if amount > of_fee:
        book.entry(transaction, owner, "clawback", of_fee - amount, category="task_credit")
    task.status, task.refunded = "refunded", amount
    if task.disputed_at is None:
        task.disputed_at = transaction.at
    spends = _uncounted(book, task, amount)
    if parent is None:
        for budget_id, _, period_at, back in spends:
            book.count_budget(budget_id, period_at, -back)
    else:
        hold_more(book, transaction, parent, come_back, spends)
    return operation.done(book, task, transaction, spends=spends)


def _uncounted(book: Book, task: Task, amount: int) -> tuple[Spend, ...]:
    """What each budget that counted the task's price has again, in the period in which it counted it."""
    hold = book.holds[task.hold_id or 0]  # The last one, which the settlement captured.
    return tuple((number, unit, at, min(amount, counted)) for number, unit, at, counted in hold.spends)


def _from_owner(
    book: Book, owner: Wallet, earned_id: int, paid_by: Lot, amount: int
) -> list[tuple[int, str, int]]:
    """From what the settlement was earned into, then from what else there is, of the same origin first; the rest is owed.

    Gives accounts with the origin of what they give, and how much.
    """
    now = owner.moment(book.now)
    others = [lot for lot in owner.lots if lot.id != earned_id and lot.kind == LOT and not lot.lapsed(now)]
    others.sort(key=lambda lot: lot.origin != paid_by.origin)  # in burn order otherwise
    parts: list[tuple[int, str, int]] = []
    for lot in (book.lots[earned_id], *others):
        take = min(max(lot.available, 0), amount)
        if take and not lot.voided:
            lot.debits += take
            amount -= take
            parts.append((lot.id, lot.origin, take))
    if amount:
        owner.debt += amount
        parts.append((owner.debt_account_id, "free", amount))
    return parts
