"""The pure core against the model: any operations in any order, on a book that is kept in memory."""

from collections.abc import Sequence

from hypothesis import settings

from tallystick.core.book import Book
from tallystick.core.operations import Operation
from tallystick.store.results import Outcome
from tests.core.memory_ledger import MemoryLedger
from tests.machine import LedgerMachine
from tests.model.holdings import Limit


class CoreMachine(LedgerMachine):
    """Posts to the core alone."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = MemoryLedger(self.economy)

    def post(self, operations: Sequence[Operation]) -> tuple[list[Outcome], Book]:
        """Post to memory."""
        return self.ledger.post(operations, self.now)

    def set_budget(self, limit: Limit) -> None:
        """Set it in memory."""
        self.ledger.limits.append(limit)

    def check(self, _named: Sequence[int]) -> None:
        """Check everything."""
        self.ledger.check()


TestCore = CoreMachine.TestCase
TestCore.settings = settings(max_examples=80, stateful_step_count=40)
