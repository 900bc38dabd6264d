"""A marketplace for tests: customers with agents, and short words for what becomes of tasks."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Self

from tallystick.core.amounts import MICROS
from tallystick.core.ids import to_text
from tallystick.core.tasks import TaskResult
from tallystick.services.context import SYSTEM, Caller
from tallystick.store.audit import audit
from tests.tallies import ECONOMY, World

FEE = """
[task_fee]
basis_points = 500
[settlement]
dispute_days = 7
payout_days = 14
"""


class Market:
    """A world in which customers hire each other's agents; the audit finds nothing when it ends."""

    def __init__(self, url: str, folder: Path, *, terms: str = FEE) -> None:
        path = folder / "market.toml"
        path.write_text(ECONOMY + terms)
        self.world = World(url, folder, economy=str(path))
        self.tally = self.world.tally
        self.people: dict[str, Caller] = {}
        self.keys = (f"market {number}" for number in itertools.count())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            report = audit(self.tally.database)
            assert report.ok, report
        self.tally.close()

    def person(self, name: str, *, paid: float = 0, free: float = 0) -> Caller:
        """A customer with credits of both origins."""
        caller = self.people[name] = self.world.customer(name)
        for amount, category in ((free, "bonus"), (paid, "purchase")):
            if amount:
                self.tally.grants.create(
                    SYSTEM, customer=name, amount=str(amount), category=category, idempotency_key=self.key()
                )
        return caller

    def key(self) -> str:
        """Another idempotency key."""
        return next(self.keys)

    def agent(self, owner: str, price: float | str, *, name: str = "worker") -> str:
        """An agent of somebody's; gives its id."""
        made = self.tally.agents.register(self.people[owner], name=name, price_per_task=str(price))
        return to_text("agent", made.value.id)

    def hire(
        self, who: str, agent: str, *, parent: str | None = None, expires_in: int = 3600, key: str = ""
    ) -> str:
        """Make a task; gives its id."""
        return to_text("task", self.make(who, agent, parent=parent, expires_in=expires_in, key=key).id)

    def make(
        self, who: str, agent: str, *, parent: str | None = None, expires_in: int = 3600, key: str = ""
    ) -> TaskResult:
        """Make a task; gives all that the answer says."""
        answer = self.tally.tasks.create(
            self.people[who],
            agent=agent,
            input={"do": "it"},
            parent=parent,
            expires_in=expires_in,
            idempotency_key=key or self.key(),
        )
        return answer.value

    def accept(self, who: str, task: str) -> TaskResult:
        """Take it on."""
        return self.tally.tasks.accept(self.people[who], task, idempotency_key=self.key()).value

    def complete(self, who: str, task: str) -> TaskResult:
        """Say that it is done."""
        return self.tally.tasks.complete(
            self.people[who], task, output="done", idempotency_key=self.key()
        ).value

    def work(self, who: str, task: str) -> TaskResult:
        """Take it on and do it."""
        self.accept(who, task)
        return self.complete(who, task)

    def fail(self, who: str, task: str) -> TaskResult:
        """Say that nothing comes of it."""
        return self.tally.tasks.fail(
            self.people[who], task, reason="cannot", idempotency_key=self.key()
        ).value

    def cancel(self, who: str, task: str) -> TaskResult:
        """Take it back."""
        return self.tally.tasks.cancel(self.people[who], task, idempotency_key=self.key()).value

    def dispute(self, who: str, task: str) -> TaskResult:
        """Say that it was not what was agreed."""
        return self.tally.tasks.dispute(
            self.people[who], task, reason="wrong answer", idempotency_key=self.key()
        ).value

    def resolve(self, task: str, refund: float | str) -> TaskResult:
        """Decide as an admin."""
        return self.tally.tasks.resolve(
            SYSTEM, task, refund=str(refund), reason="looked at it", idempotency_key=self.key()
        ).value

    def status(self, task: str) -> str:
        """What has become of it."""
        return self.tally.tasks.get(SYSTEM, task)[0].status

    def available(self, who: str) -> float:
        """What somebody can spend."""
        return self.world.balance(customer=who).available / MICROS

    def held(self, who: str) -> float:
        """What is held of somebody's."""
        return self.world.balance(customer=who).held / MICROS

    def earned(self, who: str) -> dict[str, float]:
        """What is left of somebody's earnings, by origin."""
        found: dict[str, float] = {}
        for grant in self.world.balance(customer=who).grants:
            if grant.category == "task_credit":
                found[grant.origin] = found.get(grant.origin, 0) + grant.remaining / MICROS
        return found
