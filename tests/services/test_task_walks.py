"""Random walks through a marketplace, beside a model of a few lines: whoever hires whom, the model has the same figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.core.decimals import format_amount
from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tests.services.market import Market

NAMES = ("anna", "bob", "cleo", "dora")
PRICES = ("0", "0.000001", "0.333333", "3", "7.77", "40")
STEPS = 160


@dataclass
class Job:
    """A task as the model knows it, in micro-units."""

    requester: str
    payer: str
    owner: str
    price: int
    parent: str | None = None
    status: str = "created"
    held: int = 0
    paid: int = 0
    fee: int = 0
    day: int = 0  # whose budget of its payer counts it


@dataclass
class Model:
    """What everybody can spend, what the platform has, and every task."""

    available: dict[str, int]
    fees: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    day: int = 0
    counted: Counter[tuple[str, int]] = field(default_factory=Counter)  # by each payer's budget of each day

    def open_parent(self, job: Job) -> Job | None:
        """The task that a sub-task gives back to, while it goes on and has a budget."""
        parent = None if job.parent is None else self.jobs[job.parent]
        return parent if parent is not None and parent.status in {"created", "accepted"} else None

    def create(self, task: str, job: Job) -> None:
        """Hold the price."""
        job.day = self.day if job.parent is None else self.jobs[job.parent].day
        if job.owner not in {job.requester, job.payer} and job.price:
            job.held = job.price
            if job.parent is None:
                self.available[job.payer] -= job.price
                self.counted[job.payer, job.day] += job.price
            else:
                self.jobs[job.parent].held -= job.price
        self.jobs[task] = job

    def can_pay(self, job: Job) -> bool:
        """Whether there is enough where the price comes from."""
        if job.owner in {job.requester, job.payer} or not job.price:
            return True
        have = self.available[job.payer] if job.parent is None else self.jobs[job.parent].held
        return have >= job.price

    def complete(self, job: Job) -> None:
        """Pay what is held."""
        job.status, job.paid, job.fee = "completed", job.held, job.held * 500 // 10_000
        job.held = 0
        self.available[job.owner] += job.paid - job.fee
        self.fees += job.fee

    def end(self, job: Job, status: str) -> None:
        """Give back what is held."""
        job.status = status
        self.come_back(job, job.held)
        job.held = 0

    def come_back(self, job: Job, amount: int) -> None:
        """To the parent while it goes on, or else to the wallet and the budget."""
        parent = self.open_parent(job)
        if parent is not None and amount:
            parent.held += amount
        else:
            self.available[job.payer] += amount
            self.counted[job.payer, job.day] -= amount

    def next_day(self) -> None:
        """Every open task times out."""
        self.day += 1
        for job in self.jobs.values():
            if job.status in {"created", "accepted"}:
                self.available[job.payer] += job.held
                self.counted[job.payer, job.day] -= job.held
                job.status, job.held = "timed_out", 0

    def refund(self, job: Job, amount: int) -> None:
        """Pay back a part, each side its share."""
        of_fee = job.fee * amount // job.paid
        self.come_back(job, amount)
        self.available[job.owner] -= amount - of_fee
        self.fees -= of_fee
        job.status = "refunded" if amount else "completed"


class Walk:
    """One walk: each step is done to the market and to the model, and some steps are repeated."""

    def __init__(self, market: Market, seed: int) -> None:
        self.market, self.random = market, Random(seed)
        self.agents: dict[str, tuple[str, int]] = {}
        for name in NAMES:
            market.person(name, paid=50, free=25)
            market.tally.budgets.put(market.people[name], level="customer", amount=10_000, per="day")
            for price in PRICES:
                agent = market.agent(name, price, name=f"for {price}")
                self.agents[agent] = (name, int(float(price) * MICROS + 0.5))
        self.model = Model(dict.fromkeys(NAMES, 75 * MICROS))

    def pick(self, *statuses: str) -> tuple[str, Job] | None:
        """A task in one of these statuses."""
        found = [(task, job) for task, job in self.model.jobs.items() if job.status in statuses]
        return self.random.choice(found) if found else None

    def create(self) -> None:
        """Hire somebody, sometimes for a part of a task."""
        agent, (owner, price) = self.random.choice(list(self.agents.items()))
        around = self.pick("accepted") if self.random.random() < 0.5 else None
        if around is None:
            who = self.random.choice(NAMES)
            job = Job(requester=who, payer=who, owner=owner, price=price)
        else:
            task, parent = around
            job = Job(requester=parent.owner, payer=parent.payer, owner=owner, price=price, parent=task)
        key = self.market.key()
        if not self.model.can_pay(job):
            with pytest.raises(errors.InsufficientCredits):
                self.market.make(job.requester, agent, parent=job.parent, key=key)
            return
        made = self.market.make(job.requester, agent, parent=job.parent, key=key)
        if self.random.random() < 0.2:
            assert made == self.market.make(job.requester, agent, parent=job.parent, key=key)
        self.model.create(to_text("task", made.id), job)

    def accept(self) -> None:
        """Take one on."""
        if (found := self.pick("created")) is not None:
            self.market.accept(found[1].owner, found[0])
            found[1].status = "accepted"

    def complete(self) -> None:
        """Do one."""
        if (found := self.pick("accepted")) is not None:
            task, job = found
            done = self.market.complete(job.owner, task)
            self.model.complete(job)
            assert (job.paid, job.fee) == (done.paid, done.fee)

    def fail(self) -> None:
        """Give one up."""
        if (found := self.pick("created", "accepted")) is not None:
            self.market.fail(found[1].owner, found[0])
            self.model.end(found[1], "failed")

    def cancel(self) -> None:
        """Take one back."""
        if (found := self.pick("created")) is not None:
            self.market.cancel(found[1].requester, found[0])
            self.model.end(found[1], "cancelled")

    def dispute(self) -> None:
        """Quarrel, and have it decided."""
        found = self.pick("completed")
        if found is None or not found[1].paid:
            return
        task, job = found
        try:
            self.market.dispute(job.requester, task)
        except errors.Conflict:
            return  # It was decided before that nothing goes back, or the days are over.
        amount = self.random.choice([0, 1, job.paid // 3, job.paid])
        self.market.resolve(task, format_amount(amount))
        self.model.refund(job, amount)

    def sleep(self) -> None:
        """Go on to the next day, seldom."""
        if self.random.random() < 0.3:
            self.market.world.clock.advance("P1D")
            self.model.next_day()

    def step(self) -> None:
        """Any step."""
        ends = (self.complete, self.fail, self.cancel, self.dispute, self.dispute)
        self.random.choice((self.create, self.create, self.create, self.accept, *ends, self.sleep))()

    def compare(self) -> None:
        """The market is what the model is, and nothing was lost."""
        tally = self.market.tally
        for name in NAMES:
            [budget] = tally.budgets.list(SYSTEM, customer=name)
            assert self.model.counted[name, self.model.day] == budget.spent
            balance = self.market.world.balance(customer=name)
            assert self.model.available[name] == balance.available - balance.debt
            held = sum(job.held for job in self.model.jobs.values() if job.payer == name)
            assert held == balance.held
        for task, job in self.model.jobs.items():
            assert job.status == self.market.status(task)
        with tally.database.read() as connection:
            found = connection.exec_driver_sql(
                "SELECT credits_posted - debits_posted FROM accounts WHERE code = 'fees' AND unit = 'credits'"
            ).scalar()
            counted = connection.exec_driver_sql("SELECT SUM(spent) FROM budget_counters").scalar()
        assert self.model.fees == found
        assert self.model.counted.total() == int(counted or 0)
        held = sum(job.held for job in self.model.jobs.values())
        assert len(NAMES) * 75 * MICROS == sum(self.model.available.values()) + held + self.model.fees


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_walk_ends_where_the_model_ends(database_url: str, tmp_path: Path, seed: int) -> None:
    """Balances, what is held, what was paid, the platform's fees and every status; the audit finds nothing."""
    with Market(database_url, tmp_path) as market:
        walk = Walk(market, seed)
        for number in range(STEPS):
            walk.step()
            if number % 40 == 39:
                walk.compare()
        assert len(walk.model.jobs) > STEPS // 10
