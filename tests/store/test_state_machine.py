"""The ledger in the database against the model: any operations in any order, by two processes in turn."""

import itertools
from collections.abc import Sequence

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.engine import Connection

from tallystick.core.book import Book
from tallystick.core.operations import Operation
from tallystick.store import budgets
from tallystick.store.budgets import BudgetRow
from tallystick.store.results import Outcome
from tests.economy_of_tests import economy
from tests.machine import START, LedgerMachine
from tests.model.holdings import Limit
from tests.simulation.stored import check_rules, compare_wallets
from tests.simulation.world import Clock, World


class StoreMachine(LedgerMachine):
    """Posts to a database that other runs have used before: every run has customers and keys of its own."""

    def __init__(self, world: World, *, first_id: int) -> None:
        super().__init__(first_id=first_id)
        self.world = world
        self.turns = itertools.cycle((0, 0, 0, 1))

    def post(self, operations: Sequence[Operation]) -> tuple[list[Outcome], Book]:
        """Post by the process whose turn it is, and keep its wallets."""
        self.world.clock.now = self.now
        process = self.world.processes[next(self.turns)]
        outcomes, book = process.post(operations, self.now)
        process.ledger.keep(book)
        return outcomes, book

    def set_budget(self, limit: Limit) -> None:
        """Set it as the budgets service does."""
        number, agent = limit.subject
        row = BudgetRow(
            id=limit.id,
            customer_id=None if limit.level == "key" else number,
            level=limit.level,
            key_id=number if limit.level == "key" else None,
            agent=agent or None,
            unit=limit.unit,
            amount=limit.amount or 0,
            per=limit.per,
            created_at=self.now,
        )
        process = self.world.processes[0]

        def work(connection: Connection) -> None:
            if row.customer_id is not None:
                process.ledger.mark_budgets(connection, row.customer_id)
            budgets.put(connection, row)

        process.database.transact(work)

    def check(self, named: Sequence[int]) -> None:
        """What is stored is what the model has."""
        with self.world.read() as connection:
            compare_wallets(connection, self.model, named)

    def teardown(self) -> None:
        """At the end of a run, every rule of the ledger holds for everything that all runs have stored."""
        with self.world.read() as connection:
            check_rules(connection)


def test_the_stored_ledger_does_what_the_model_says(database_url: str) -> None:
    """On SQLite, where wallets are kept in memory, and on PostgreSQL, where they are read each time."""
    world = World(database_url, clock=Clock(START), economy=economy(), processes=2)
    first_ids = itertools.count(1_000_000, 1_000_000)

    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(world, first_id=next(first_ids))

    try:
        run_state_machine_as_test(Machine, settings=settings(max_examples=15, stateful_step_count=30))
    finally:
        world.close()
