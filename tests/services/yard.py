"""Sandboxes for tests: the shipped flow-nexus economy over a scripted provider, and short words for what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.sandboxes import Wish
from tallystick.store import sandboxes as store
from tallystick.store.audit import audit
from tallystick.store.sandboxes import SandboxRow, Wanted
from tests.services.scripted_sandboxes import ScriptedSandboxes
from tests.tallies import USER, World

# What a second of the default size costs, in millionths of a dollar: 2 × 14 + 0.5 × 4.5.
SECOND = 30.25


class Yard:
    """A world with sandboxes; the audit finds nothing when it ends."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        economy: str = "flow-nexus",
        provider: ScriptedSandboxes | None = None,
    ) -> None:
        self.provider = ScriptedSandboxes() if provider is None else provider
        self.world = World(url, folder, economy=economy, sandboxes=self.provider)
        self.tally = self.world.tally
        number = self.tally.customers.get(SYSTEM, USER).id
        text = to_text("cust", number)
        self.ann = Caller(role="user", scope=text, name=text, customer_id=number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            report = audit(self.tally.database)
            assert report.ok, report
        self.tally.close()

    def make(
        self, template: str = "python", *, key: str = "", caller: Caller | None = None, **terms: Any
    ) -> str:
        """Make a sandbox; gives its id."""
        wish = Wish(template=template, **terms)
        answer = self.tally.sandboxes.create(
            caller or self.ann, wish, idempotency_key=key or next(self.world.keys)
        )
        return to_text("sbx", answer.value.id)

    def run(self, sandbox: str, code: str = "true", *, key: str = "", **terms: Any) -> Any:
        """Run code; gives what came of it."""
        key = key or next(self.world.keys)
        return self.tally.sandbox_runs.execute(
            self.ann, sandbox, code=code, idempotency_key=key, **terms
        ).value

    def row(self, sandbox: str) -> SandboxRow:
        """The sandbox as it stands."""
        return self.tally.sandboxes.get(SYSTEM, sandbox)

    def state(self, sandbox: str) -> tuple[str, str | None]:
        """Its status, and why it stopped."""
        row = self.row(sandbox)
        return row.status, row.reason

    def cost(self, sandbox: str) -> int:
        """What its time has cost, in micro-dollars."""
        return self.row(sandbox).cost.total

    def lived(self, sandbox: str) -> int:
        """How long it really lived, in milliseconds."""
        handle = self.row(sandbox).handle
        assert handle is not None
        return self.provider.lived(handle)

    def pass_time(self, seconds: float, *, turn: float = 60, keep: bool = True) -> None:
        """Let time pass on every clock, with a turn of the keeper every so many seconds."""
        left = round(seconds * 1000)
        while left > 0:
            step = min(left, round(turn * 1000))
            self.world.clock.micros += step * 1000
            self.provider.advance(step)
            left -= step
            if keep:
                self.turn()

    def turn(self) -> Mapping[str, int]:
        """One turn of the keeper."""
        return self.tally.sandbox_keeper.run_once()

    def available(self, unit: str = "USD") -> int:
        """What ann can spend, in micro-units."""
        return self.world.balance(unit).available

    def spent(self, unit: str) -> int:
        """What ann has spent, in micro-units."""
        return self.world.balance(unit).spent

    def all_rows(self) -> list[SandboxRow]:
        """Every sandbox that ann ever had."""
        with self.tally.database.read() as connection:
            wanted = Wanted(customer_id=self.ann.customer_id)
            return store.listed(connection, wanted, before=None, limit=None)

    def replace_process(self) -> None:
        """This process says nothing any more, as if it had been killed; another is there half a minute later."""
        self.tally.context.commit.close()
        self.tally.database.close()
        self.tally = self.world.tally = self.world.open()
        self.pass_time(40, turn=5)
