"""One run: a seed decides everything, so that the same seed replays the same run."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

from sqlalchemy.engine import Connection

from tallystick.core.book import Book
from tallystick.core.holdings import NEVER
from tallystick.core.operations import Charge, Operation
from tallystick.core.watch import look
from tallystick.store import budgets, upkeep, watches
from tallystick.store.budgets import BudgetRow
from tallystick.store.results import Outcome
from tests.economy_of_tests import economy
from tests.judge import Judge, compare
from tests.model.calendar import DAY, HOUR
from tests.model.holdings import Limit
from tests.simulation.choices import AGENTS, KEYS, MICROS, Choices
from tests.simulation.stored import check_rules, compare_counters, compare_wallets, new_grants
from tests.simulation.world import Clock, Crash, Process, World

START: Final = 1_795_000_000_000_000  # in November 2026
STEPS_BETWEEN_CHECKS: Final = 150


@dataclass
class Report:
    """What happened in a run, and a digest of every answer that was given in it."""

    seed: int
    operations: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    digest: str = ""


class SimulationFailed(AssertionError):  # noqa: N818 - a finding
    """A run found something: its seed, its step, and what was found."""

    def __init__(self, *, seed: int, step: int, command: str, finding: BaseException) -> None:
        kind = type(finding).__name__
        super().__init__(f"seed {seed}, step {step}: {kind}: {finding}\nreplay it with: {command}")


class Simulation:
    """Clients, processes, the clock and the judge."""

    def __init__(self, *, seed: int, url: str, most_customers: int = 16, processes: int = 3) -> None:
        self.random = Random(seed)
        self.clock = Clock(START + self.random.randrange(90 * DAY))
        self.judge = Judge(economy())
        self.model = self.judge.model
        self.world = World(url, clock=self.clock, economy=self.model.economy, processes=processes)
        self.choices = Choices(self.random, self.model, most_customers=most_customers)
        self.report = Report(seed)
        self.step = 0
        self._again: list[Operation] = []
        self._hash = hashlib.blake2b(digest_size=16)

    def run(self, operations: int) -> Report:
        """Go on until so many operations have been posted; raises what was found."""
        try:
            while self.report.operations < operations:
                self.step += 1
                self._move_clock()
                self._act()
                if self.step % STEPS_BETWEEN_CHECKS == 0:
                    self._check_all()
            self._check_all()
            self._audit()
        finally:
            self.world.close()
        self.report.digest = self._hash.hexdigest()
        return self.report

    # --- one step ------------------------------------------------------------------------------------------

    def _move_clock(self) -> None:
        """Mostly a little; sometimes by months, to the very moment when something is due, or back."""
        random = self.random
        chance = random.random()
        now = self.clock.now
        if chance < 0.70:
            now += random.randrange(2 * MICROS)
        elif chance < 0.82:
            now += random.randrange(30 * 60 * MICROS)
        elif chance < 0.90:
            now += random.randrange(8 * HOUR)
        elif chance < 0.93:
            now += random.randrange(4 * DAY)
        elif chance < 0.935:
            now += random.randrange(100 * DAY)
        elif chance < 0.95:
            now -= random.randrange(2 * HOUR)
        elif self.choices.customers:
            due_at = self.model.next_moment(random.choice(self.choices.customers))
            if due_at < now + 40 * DAY:
                now = due_at + random.choice((-1, 0, 0, 1))
        self.clock.now = now
        self.model.now = now

    def _act(self) -> None:
        random = self.random
        process = random.choice(self.world.processes)
        chance = random.random()
        if chance < 0.92 or not self.choices.customers:
            self._post(process, self._take_batch())
        elif chance < 0.95:
            self._work(process)
        elif chance < 0.96:
            self._quote(process)
        elif chance < 0.98:
            self._set_budget(process)
        elif chance < 0.99:
            self.report.counts["restart"] += 1
            self.world.restart(process)
        else:
            self.report.counts["reconnected"] += 1
            process.database.close()  # The next statement opens a new connection.

    def _take_batch(self) -> list[Operation]:
        """New operations, and those whose answer never came: their clients ask again, with the same keys."""
        batch = self.choices.batch()
        if self._again and self.random.random() < 0.5:
            batch = self._again + batch if self.random.random() < 0.5 else batch + self._again
            self._again = []
        return batch

    def _post(self, process: Process, operations: Sequence[Operation]) -> None:
        if self.random.random() < 0.05:
            process.driver.arm(self.random.randrange(20))
        try:
            book = self._post_and_judge(process, operations)
        except Crash:
            self._crashed(process, operations)
            return
        finally:
            process.driver.arm(None)
        self._after_commit(process, operations, book)

    def _post_and_judge(self, process: Process, operations: Sequence[Operation]) -> Book:
        for operation in operations:  # Whoever asks again is looked up again.
            operation.key_has_budget = operation.key_id in self.choices.budgeted_keys
        outcomes, book = process.post(operations, self.clock.now)
        made = [(terms.lot.customer_id, terms.lot.unit, terms.lot.id) for terms in book.new_grants]
        self.judge.batch(operations, outcomes, now=self.clock.now, new_grants=made)
        self.judge.look(book)
        self._note(process, operations, outcomes)
        return book

    def _crashed(self, process: Process, operations: Sequence[Operation]) -> None:
        """The database has undone it: everything is as before, and the clients ask again."""
        self.report.counts["crash before the commit"] += 1
        with self.world.read() as connection:
            compare_wallets(connection, self.model, _customers(operations))
        self._again += [each for each in operations if each.idempotency is not None]
        if self.random.random() < 0.5:
            self.world.restart(process)

    def _after_commit(self, process: Process, operations: Sequence[Operation], book: Book) -> None:
        """Keep the wallets, or die before the answer is out, or be overtaken by another thread."""
        chance = self.random.random()
        if chance < 0.03:
            self.report.counts["crash after the commit"] += 1
            self._again += [each for each in operations if each.idempotency is not None]
            self.world.restart(process)
            return
        if chance < 0.06:
            self.report.counts["overtaken"] += 1
            self._post_and_judge(process, self.choices.batch())
        process.ledger.keep(book)

    def _note(self, process: Process, operations: Sequence[Operation], outcomes: Sequence[Outcome]) -> None:
        counts = self.report.counts
        self.report.operations += len(operations)
        counts["batch"] += 1
        place = self.world.processes.index(process)
        self._hash.update(f"{self.step} {self.clock.now} {place}".encode())
        for operation, outcome in zip(operations, outcomes, strict=True):
            if outcome.refusal is not None:
                counts[f"{operation.kind}: {outcome.refusal.code}"] += 1
                self._hash.update(f"{outcome.refusal.code} {outcome.refusal.fields}".encode())
                continue
            self._hash.update(repr(outcome.result).encode())
            if outcome.replayed:
                counts["repeat"] += 1
            else:
                counts[f"{operation.kind}: done"] += 1
                self.choices.note(operation, outcome.result)

    # --- what else happens ---------------------------------------------------------------------------------

    def _work(self, process: Process) -> None:
        """The worker's turn: it must find everyone who has something due, and then book it."""
        now = self.clock.now
        with self.world.read() as connection:
            due = upkeep.due_customers(connection, now=now, limit=1_000)
        late = [each for each in self.choices.customers if self.model.next_moment(each) <= now]
        compare("worker", "customers who are due and were not found", [], sorted(set(late).difference(due)))
        if due:
            process.database.transact(lambda connection: process.ledger.settle(connection, due, now=now))
            self._settled(due)
        self.report.counts["settled by the worker"] += len(due)
        self._watch(process)

    def _watch(self, process: Process) -> None:
        """The worker takes all marks and sets the next figures; a customer has a refill set up, or ended."""
        now = self.clock.now
        with self.world.read() as connection:
            marked = watches.alerted_customers(connection, limit=1_000)
        for customer_id in marked:
            process.database.transact(partial(self._look, process, customer_id))
        self._settled(marked)
        self.report.counts["looked at"] += len(marked)
        customer_id = self.choices.customers[self.step % len(self.choices.customers)]
        below = None if self.step % 3 == 0 else self.step % 50 * 10 * MICROS
        process.database.transact(
            lambda connection: process.ledger.set_refill_below(
                connection, customer_id, "credits", below, now=now
            )
        )
        self._settled([customer_id])

    def _look(self, process: Process, customer_id: int, connection: Connection) -> None:
        now = self.clock.now
        wallets = process.ledger.settled(connection, [customer_id], now=now)
        assert watches.take_alerts(connection, [wallet.id for wallet in wallets])
        for wallet in [each for each in wallets if each.frozen_at is None]:
            available = NEVER if wallet.cover_id is not None else wallet.available(now)
            thresholds = self.model.economy.low_balance.of(wallet.unit)
            watch, news = look(thresholds, wallet.watch, available)
            wallet.set_watch(watch, wallet.refill_below)
            if news is not None:
                self.report.counts[news.type] += 1
            if available < (wallet.refill_below or 0):
                watches.request_refill(connection, customer_id=customer_id, unit=wallet.unit, at=now)
                self.report.counts["refill asked for"] += 1
        process.ledger.set_watch(connection, wallets)

    def _settled(self, customer_ids: Sequence[int]) -> None:
        with self.world.read() as connection:
            made = new_grants(connection, customer_ids, self.model)
            self.judge.settled(customer_ids, now=self.clock.now, new_grants=made)
            compare_wallets(connection, self.model, customer_ids)

    def _quote(self, process: Process) -> None:
        """Ask what a charge would meet: nothing changes but what was due anyway."""
        operation = self.choices.charge()
        if operation.customer_id not in self.model.customers or not isinstance(operation, Charge):
            return
        now = self.clock.now
        trial = process.database.transact(
            lambda connection: process.ledger.try_out(connection, operation, now=now)
        )
        self._settled([operation.customer_id])
        code = None if trial.refusal is None else trial.refusal.code
        found = {"available": trial.available, "limit": trial.limit, "code": code}
        compare("quote", str(operation), self.model.quote(operation), found)
        self.report.counts["quote"] += 1

    def _set_budget(self, process: Process) -> None:
        """An operator sets a budget, or changes one."""
        random = self.random
        level = random.choice(("customer", "agent", "key"))
        customer_id = random.choice(self.choices.customers)
        key_id = random.choice(KEYS[2:]) if level == "key" else None
        agent = random.choice(AGENTS[2:]) if level == "agent" else None
        row = BudgetRow(
            id=process.new_id(),
            customer_id=None if level == "key" else customer_id,
            level=level,
            key_id=key_id,
            agent=agent,
            unit=random.choice(("credits", "USD")),
            amount=random.choice((1, 50, 2_000, 100_000)) * MICROS,
            per=random.choice(("day", "month")),
            created_at=self.clock.now,
        )

        def work(connection: Connection) -> BudgetRow | None:
            if row.customer_id is not None:
                process.ledger.mark_budgets(connection, row.customer_id)
            if random.random() < 0.2:
                budgets.remove(connection, row)
                return None
            return budgets.put(connection, row)

        stored = process.database.transact(work)
        subject = (customer_id if key_id is None else key_id, agent or "")
        limits = self.model.limits
        same = [
            each
            for each in limits
            if each.is_for(level, subject) and (each.unit, each.per) == (row.unit, row.per)
        ]
        for limit in same:
            limit.amount = None if stored is None else stored.amount
        if stored is not None and not same:
            limits.append(Limit(stored.id, level, subject, stored.unit, stored.amount, stored.per))
            limits.sort(key=lambda limit: limit.id)
        if key_id is not None:
            self.choices.budgeted_keys = {
                limit.subject[0] for limit in limits if limit.is_for("key", limit.subject)
            }
        self.report.counts["budget set" if stored is not None else "budget removed"] += 1

    def _audit(self) -> None:
        """The product's own audit of the run's whole history finds nothing."""
        violations = [violation for rule in self.world.audit().rules for violation in rule.violations]
        compare("audit", "violations", [], violations)

    def _check_all(self) -> None:
        """Everything that is stored, against the model and against the rules."""
        with self.world.read() as connection:
            compare_wallets(connection, self.model, self.choices.customers)
            compare_counters(connection, self.model)
            check_rules(connection)
        self.report.counts["full check"] += 1


def _customers(operations: Sequence[Operation]) -> list[int]:
    named = {each.customer_id for each in operations}
    named.update(each.other_customer_id for each in operations if each.other_customer_id is not None)
    return sorted(named)


def simulate(*, seed: int, operations: int, url: str) -> Report:
    """Run one seed on a migrated database without rows. Raises ``SimulationFailed``."""
    simulation = Simulation(seed=seed, url=url)
    try:
        return simulation.run(operations)
    except Exception as error:
        database = "sqlite" if url.startswith("sqlite") else "postgresql"
        command = f"python -m tests.simulation --seed {seed} --ops {operations} --database {database}"
        raise SimulationFailed(seed=seed, step=simulation.step, command=command, finding=error) from error
