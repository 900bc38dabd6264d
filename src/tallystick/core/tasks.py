"""Tasks: one customer's agent works for another. The price is held when the task is made, and paid when it is completed.

- A task is created, accepted, then completed; or it failed, was cancelled, or timed out, and what was held comes back. A
  completed task may be disputed: see ``core.task_disputes``.
- Every step is one operation under the lock of whoever pays, so that of two that cannot both be, one is refused.
- fee + payout = price, to the last micro-unit. Whoever hires an agent of its own moves nothing, nor does a price of 0.
- A sub-task is paid from what its parent holds: that hold is replaced by two, in the same transaction, and by one again
  where the sub-task came to nothing. So no task at any depth costs more than was held for the first.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from tallystick.core import errors
from tallystick.core.amounts import fee_of
from tallystick.core.book import Book
from tallystick.core.catalog import Fee
from tallystick.core.decimals import to_decimal
from tallystick.core.events import TASK_EVENTS
from tallystick.core.holdings import MAX_BALANCE, Hold, Lot, Spend, Task, Transaction
from tallystick.core.ids import to_text
from tallystick.core.operations import Operation, Part, PricedOperation, resolve_hold
from tallystick.core.settlement import pay
from tallystick.core.words import REVENUE

MAKER: Final = "task:"  # of a task's hold: nobody captures or releases it but the task's own steps
HELD, NOTHING, UNBILLED = "held", "nothing", "unbilled"

Legs = list[tuple[Lot, int]]


class TaskResult(NamedTuple):
    """A task after one of its steps. Amounts in micro-units; balances are those of whoever pays."""

    id: int
    transaction_id: int
    customer_id: int
    agent_id: int
    owner_id: int
    requester_id: int
    parent_id: int | None
    status: str
    billing: str
    unit: str
    price: int
    hold_id: int | None
    held: int
    paid: int
    fee: int
    refunded: int
    expires_at: int
    balance: int
    available: int
    created_at: int
    spends: tuple[Spend, ...] = ()


def _result(
    book: Book, task: Task, transaction: Transaction, *, spends: tuple[Spend, ...] = ()
) -> TaskResult:
    wallet = book.wallet(task.payer_id, task.unit)
    hold = open_hold(book, task)
    book.touched[wallet.id] = wallet
    return TaskResult(
        task.id,
        transaction.id,
        task.payer_id,
        task.agent_id,
        task.owner_id,
        task.requester_id,
        task.parent_id,
        task.status,
        task.billing,
        task.unit,
        task.price,
        task.hold_id,
        0 if hold is None else _amount(hold.legs),
        task.paid,
        task.fee,
        task.refunded,
        task.expires_at,
        wallet.balance,
        wallet.available(book.now),
        transaction.at,
        spends,
    )


def _named(task: Task) -> str:
    """What a statement's line says of the task, beside what its transaction is about."""
    return f'{{"task":"{to_text("task", task.id)}"}}'


def _amount(legs: Legs) -> int:
    return sum(take for _, take in legs)


def open_hold(book: Book, task: Task | None) -> Hold | None:
    """The hold in which a task's credits stand, while they do."""
    hold = None if task is None or task.hold_id is None else book.holds.get(task.hold_id)
    return hold if hold is not None and hold.status == "open" else None


# Who is told of a task's new status: the side that did not bring it about.
_OF_OWNER: Final = frozenset({"created", "cancelled", "timed_out", "disputed", "refunded"})
_OF_REQUESTER: Final = frozenset({"accepted", "completed", "failed", "timed_out", "refunded"})


def tell_of(book: Book, task: Task) -> None:
    """Tell whoever did not do it of a task's new status."""
    data = {
        "task": to_text("task", task.id),
        "agent": to_text("agent", task.agent_id),
        "status": task.status,
        "unit": task.unit,
        "price": to_decimal(task.price),
        "paid": to_decimal(task.paid),
        "fee": to_decimal(task.fee),
        "refunded": to_decimal(task.refunded),
        "reason": task.dispute_reason if task.status == "disputed" else task.reason,
    }
    told = [task.owner_id] if task.status in _OF_OWNER else []
    if task.status in _OF_REQUESTER and task.requester_id not in told:
        told.append(task.requester_id)
    for customer_id in told:
        book.tell(customer_id, TASK_EVENTS[task.status], data)


# --- creating ---------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class CreateTask(PricedOperation):
    """Hold a task's price, in the requester's wallet or within the parent's hold, and put the task down."""

    kind: ClassVar[str] = "task"
    agent_id: int
    owner_id: int
    requester_id: int
    input: str
    expires_at: int
    unbilled_allowed: bool = False
    refused: errors.Refusal | None = (
        None  # by the agent's terms of now: a repeat of what was done before is not
    )

    @property
    def part(self) -> Part:
        """The price."""
        return self.parts[0]

    def apply(self, book: Book) -> TaskResult:
        """Hold the price and make the task, or do neither."""
        if self.refused is not None:
            raise self.refused
        parent = None if self.task_id is None else _ready(book, self.task_id, "accepted")
        wallet = book.wallet(self.customer_id, self.part.unit)
        billing = self._billing(book, parent)
        transaction = self.begin(book)
        transaction.unit, transaction.amount = self.part.unit, self.part.amount
        task = Task(
            id=transaction.id,
            agent_id=self.agent_id,
            owner_id=self.owner_id,
            requester_id=self.requester_id,
            payer_id=self.customer_id,
            parent_id=self.task_id,
            unit=self.part.unit,
            price=self.part.amount,
            billing=billing,
            input=self.input,
            economy=self.economy,
            created_at=transaction.at,
            expires_at=self.expires_at if parent is None else min(self.expires_at, parent.expires_at),
        )
        transaction.metadata = _named(task)
        if billing == HELD and parent is not None:
            _take_from_parent(book, self, transaction, task, parent)
        elif billing == HELD:
            revenue = book.system_account(wallet.unit, REVENUE)
            legs = book.reserve(transaction, wallet, task.price, revenue)
            _, spends = self.count(book, [(wallet, task.price)])
            _put_hold(book, transaction, task, legs, spends)
        book.tasks[task.id] = task
        book.new_tasks.append(task)
        tell_of(book, task)
        return _result(book, task, transaction)

    def _billing(self, book: Book, parent: Task | None) -> str:
        """Whether the price is held. Raises the refusal of whatever cannot give it."""
        if not self.part.amount or self.owner_id in {self.customer_id, self.requester_id}:
            return NOTHING
        if parent is not None:
            self._require_of_parent(book, parent)
            return HELD
        try:
            self.wallets_of(book)
        except errors.InsufficientCredits:
            if not self.unbilled_allowed:
                raise
            return UNBILLED
        return HELD

    def _require_of_parent(self, book: Book, parent: Task) -> None:
        hold = open_hold(book, parent)
        left = 0 if hold is None else _amount(hold.legs)
        if parent.unit != self.part.unit or left < self.part.amount:
            raise errors.InsufficientCredits(
                unit=self.part.unit,
                required=self.part.amount,
                available=left if parent.unit == self.part.unit else 0,
                limit_source=f"task:{to_text('task', parent.id)}",
            )


def _put_hold(
    book: Book, transaction: Transaction, task: Task, legs: Legs, spends: tuple[Spend, ...]
) -> None:
    """A hold for what a task has, made by a transaction that has reserved it already."""
    hold = Hold(
        id=transaction.id,
        customer_id=task.payer_id,
        status="open",
        maker=f"{MAKER}{task.id}",
        expires_at=task.expires_at,
    )
    hold.economy, hold.legs, hold.spends = transaction.economy, legs, spends
    hold.amounts = ((task.unit, _amount(legs)),)
    hold.category, hold.quantity = transaction.category, 0
    transaction.quantity = 0
    book.place_hold(hold)
    task.hold_id = hold.id
    wallet = book.wallet(task.payer_id, task.unit)
    wallet.due_by(task.expires_at)
    book.touched[wallet.id] = wallet


def _take_from_parent(
    book: Book, operation: Operation, transaction: Transaction, task: Task, parent: Task
) -> None:
    """Replace the parent's hold by two: what the sub-task costs, and what is left. Budgets have counted both already."""
    hold = open_hold(book, parent)
    assert hold is not None
    revenue = book.system_account(task.unit, REVENUE)
    left = task.price
    taken: Legs = []
    kept: Legs = []
    for lot, held in hold.legs:
        take = min(left, held)
        left -= take
        if take:
            book.pend(transaction, lot, revenue, take)
            taken.append((lot, take))
        if held > take:
            kept.append((lot, held - take))
    _put_hold(book, transaction, task, taken, tuple((*spend[:3], task.price) for spend in hold.spends))
    spends = tuple((*spend[:3], spend[3] - task.price) for spend in hold.spends)
    _replace_hold(book, operation.caller, parent, hold, kept, spends)


def _replace_hold(
    book: Book, caller: str | None, task: Task, hold: Hold, legs: Legs, spends: tuple[Spend, ...]
) -> None:
    """End a task's hold, and make another for what the task has now."""
    transaction = book.begin("task_budget", task.payer_id)
    transaction.caller, transaction.economy, transaction.subject_id = caller, hold.economy, hold.id
    transaction.unit, transaction.amount = task.unit, _amount(legs)
    _void(book, transaction, hold, "released")
    revenue = book.system_account(task.unit, REVENUE)
    for lot, amount in legs:
        book.pend(transaction, lot, revenue, amount)
    _put_hold(book, transaction, task, legs, spends)
    book.changed_tasks[task.id] = task


def _void(book: Book, transaction: Transaction, hold: Hold, status: str) -> None:
    """End a hold whose credits go on to something else in the same transaction."""
    for lot, held in hold.legs:
        book.void_held(transaction, lot, held, book.system_account(lot.unit, REVENUE), hold.id)
    hold.status, hold.resolved_at, hold.resolved_by = status, transaction.at, transaction.id
    book.resolved.append(hold)


# --- the steps ---------------------------------------------------------------------------------------------------


def _ready(book: Book, number: int | None, *statuses: str) -> Task:
    """A task in one of these statuses; the last moment of an open task is over at ``expires_at``."""
    task = book.tasks.get(number or 0)
    if task is None:
        raise errors.NotFound("task", to_text("task", number or 0))
    status = "timed_out" if task.is_open and task.expires_at <= book.now else task.status
    if status not in statuses:
        raise errors.TaskNotReady(status, statuses)
    return task


@dataclass(slots=True, kw_only=True)
class TaskStep(Operation):
    """What happens to one task. The service has looked at who may do it."""

    def task(self, book: Book, *statuses: str) -> Task:
        """The task, in one of these statuses."""
        return _ready(book, self.task_id, *statuses)

    def step(self, book: Book, task: Task, kind: str, *, subject_id: int | None = None) -> Transaction:
        """The journal row of a step, about the task or about its hold."""
        transaction = self.begin(book, kind)
        transaction.subject_id = task.id if subject_id is None else subject_id
        transaction.unit, transaction.amount = task.unit, 0
        transaction.metadata = _named(task)
        return transaction

    def done(
        self, book: Book, task: Task, transaction: Transaction, *, spends: tuple[Spend, ...] = ()
    ) -> TaskResult:
        """Note the task's change, tell of it, and give it."""
        book.changed_tasks[task.id] = task
        tell_of(book, task)
        return _result(book, task, transaction, spends=spends)

    @abstractmethod
    def apply(self, book: Book) -> TaskResult:
        """Do the step."""


@dataclass(slots=True, kw_only=True)
class AcceptTask(TaskStep):
    """The agent takes the task on: only one can."""

    kind: ClassVar[str] = "task_accept"

    def apply(self, book: Book) -> TaskResult:
        """Note who takes it on, once."""
        task = self.task(book, "created")
        transaction = self.step(book, task, self.kind)
        task.status, task.accepted_at = "accepted", transaction.at
        return self.done(book, task, transaction)


@dataclass(slots=True, kw_only=True)
class CompleteTask(TaskStep):
    """The work is done: whoever asked pays what is held, the agent's owner gets it less the fee."""

    kind: ClassVar[str] = "task_settlement"
    fee: Fee
    priority: int
    window_micros: int  # in which it may be disputed afterwards
    output: str | None = None

    def apply(self, book: Book) -> TaskResult:
        """Settle in one transaction."""
        task = self.task(book, "accepted")
        hold = open_hold(book, task)
        if task.billing == HELD and hold is None:
            raise errors.TaskNotReady("released", ("accepted",))
        if hold is None:
            transaction = self.step(book, task, "task_completion")
            spends: tuple[Spend, ...] = ()
        else:
            transaction, spends = self._settle(book, task, hold)
        task.status, task.ended_at, task.output = "completed", transaction.at, self.output
        return self.done(book, task, transaction, spends=spends)

    def _settle(self, book: Book, task: Task, hold: Hold) -> tuple[Transaction, tuple[Spend, ...]]:
        price = _amount(hold.legs)
        payer, payee = book.wallet(task.payer_id, task.unit), book.wallet(task.owner_id, task.unit)
        if payee.balance + price > MAX_BALANCE:
            raise errors.AmountTooLarge
        transaction = self.step(book, task, self.kind, subject_id=hold.id)
        transaction.amount = price
        _void(book, transaction, hold, "captured")
        fee = fee_of(price, self.fee.basis_points, self.fee.fixed_micros, self.fee.rounding)
        if price:
            pay(book, transaction, payer, payee, draws=hold.legs, fee=fee, priority=self.priority)
        task.paid, task.fee, task.settlement_id = price, fee, transaction.id
        task.disputable_until = transaction.at + self.window_micros
        return transaction, hold.spends


@dataclass(slots=True, kw_only=True)
class EndTask(TaskStep):
    """Nothing came of it: ``failed``, ``cancelled`` or ``timed_out``. What was held comes back."""

    kind: ClassVar[str] = "task_release"
    status: str
    reason: str | None = None
    from_statuses: tuple[str, ...] = ("created", "accepted")

    def apply(self, book: Book) -> TaskResult:
        """Give the price back to where it came from."""
        task = self._ended(book) if self.status == "timed_out" else self.task(book, *self.from_statuses)
        hold = open_hold(book, task)
        if hold is None:
            transaction = self.step(book, task, "task_end")
        else:
            transaction = self.step(book, task, self.kind, subject_id=hold.id)
            give_back(book, transaction, task, hold, "released")
        task.status, task.ended_at, task.reason = self.status, transaction.at, self.reason
        return self.done(book, task, transaction)

    def _ended(self, book: Book) -> Task:
        """A task whose time is over; nobody did anything with it."""
        task = book.tasks.get(self.task_id or 0)
        if task is None or not task.is_open or task.expires_at > book.now:
            raise errors.TaskNotReady("not due" if task is None else task.status, ("created", "accepted"))
        return task


def time_out(book: Book, transaction: Transaction, hold: Hold) -> bool:
    """A hold's time is up: if it is a task's, the task ends with it. Gives whether it was one."""
    if not hold.maker.startswith(MAKER):
        return False
    task = book.tasks[int(hold.maker.removeprefix(MAKER))]
    transaction.unit, transaction.amount = task.unit, 0
    give_back(book, transaction, task, hold, "expired")
    task.status, task.ended_at = "timed_out", transaction.at
    book.changed_tasks[task.id] = task
    tell_of(book, task)
    return True


def give_back(book: Book, transaction: Transaction, task: Task, hold: Hold, status: str) -> None:
    """What a task held goes back to the task that it was a part of, while that goes on, or else to the wallet."""
    parent = open_parent(book, task, transaction.at)
    if parent is None:
        resolve_hold(book, transaction, hold, {task.unit: 0}, status)
        return
    _void(book, transaction, hold, status)
    hold_more(book, transaction, parent, hold.legs, hold.spends)


def open_parent(book: Book, task: Task, at: int) -> Task | None:
    """The task that this is a part of, while it goes on and holds what its parts may cost."""
    parent = None if task.parent_id is None else book.tasks.get(task.parent_id)
    if parent is None or open_hold(book, parent) is None or parent.expires_at <= at:
        return None
    return parent


def hold_more(
    book: Book, transaction: Transaction, task: Task, legs: Legs, counted: tuple[Spend, ...]
) -> None:
    """A task holds what came back of one of its parts, too; its budgets have counted that, and go on counting it."""
    hold = open_hold(book, task)
    assert hold is not None
    spends = tuple(
        (number, unit, at, amount + back[3])
        for (number, unit, at, amount), back in zip(hold.spends, counted, strict=True)
    )
    _replace_hold(book, transaction.caller, task, hold, _joined(hold.legs, legs), spends)


def _joined(legs: Legs, more: Legs) -> Legs:
    """Legs with each lot once, in the order in which the lots came."""
    amounts: dict[int, int] = {}
    lots: dict[int, Lot] = {}
    for lot, amount in (*more, *legs):  # a sub-task took from the front
        lots[lot.id] = lot
        amounts[lot.id] = amounts.get(lot.id, 0) + amount
    return [(lots[number], amount) for number, amount in amounts.items()]
