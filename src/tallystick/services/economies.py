"""The active economy and all earlier versions: immutable, stored by the digest of their content."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sqlalchemy.engine import Connection

from tallystick import economies as files
from tallystick.core import errors
from tallystick.core.catalog import Economy, Plan
from tallystick.core.due import plans_that_gained
from tallystick.core.economy_diff import Change, diff
from tallystick.core.economy_file import load
from tallystick.core.membership import ChangePlan
from tallystick.services.context import Context
from tallystick.services.requests import is_storable
from tallystick.store import economies as store
from tallystick.store import memberships, settings

ACTIVE: Final = "economy"
CUSTOMERS_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Version:
    """A version of an economy: the digest of its content, its name, and when it was first loaded."""

    version: str
    name: str
    loaded_at: int
    active: bool


class Economies:
    """Load, activate and look up economies."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.at = lru_cache(maxsize=64)(self._at)

    def activate(self, name_or_path: str) -> Economy:
        """Read an economy file, store its version, and price with it from now on."""
        name, text = files.name_of(name_or_path), files.read(name_or_path)
        economy = load(text, name=name)
        context = self._context

        def work(connection: Connection) -> None:
            store.add(connection, version=economy.version, name=name, text=text, loaded_at=context.now())
            context.ledger.open_units(connection, economy.units)

        context.database.transact(work)
        self._start_allowances(economy)
        context.economy.economy = economy
        return economy

    def active(self) -> Economy:
        """The economy that was activated last, by whatever process."""
        context = self._context
        with context.database.read() as connection:
            version = settings.get(connection, ACTIVE)
        economy = context.economy()
        return economy if version is None or version == economy.version else self.at(version)

    def versions(self) -> list[Version]:
        """Every version that was ever active here, newest first; the one that prices now is ``active``."""
        with self._context.database.read() as connection:
            active = settings.get(connection, ACTIVE)
            rows = store.all_versions(connection)
        return [
            Version(row.version, row.name, row.loaded_at, row.version == active) for row in reversed(rows)
        ]

    def differences(self, old: str, new: str) -> list[Change]:
        """What changes from one version to another, and for whom. Raises ``NotFound``."""
        return diff(self.at(old), self.at(new))

    def _start_allowances(self, economy: Economy) -> None:
        """Customers of a plan that gained an allowance get it from now on, and not for the months before the change.

        It is done while the economy of before still says what is due; a start that is interrupted does the rest next time.
        """
        context = self._context
        with context.database.read() as connection:
            active = settings.get(connection, ACTIVE)
        if active == economy.version:
            return
        if active is not None:
            before = context.economy.economy = self.at(active)
            for name in plans_that_gained(before, economy):
                self._start_allowance(economy.plan(name), economy)
        context.database.transact(lambda connection: settings.put(connection, ACTIVE, economy.version))

    def _start_allowance(self, plan: Plan, economy: Economy) -> None:
        context = self._context
        after = 0
        while True:
            with context.database.read() as connection:
                customers = memberships.on_plan(connection, plan.name, after=after, limit=CUSTOMERS_AT_ONCE)
            if not customers:
                return
            after = customers[-1]
            changes = [
                ChangePlan(
                    customer_id=each, caller="system", plan=plan, catalog=economy, economy=economy.version
                )
                for each in customers
            ]

            def work(connection: Connection, changes: list[ChangePlan] = changes) -> None:
                for outcome in context.ledger.post(connection, changes, now=context.now()):
                    outcome.value()

            context.database.transact(work)

    def _at(self, version: str) -> Economy:
        """An economy as it was when it priced something."""
        row = None
        if is_storable(version):
            with self._context.database.read() as connection:
                row = store.get(connection, version)
        if row is None:
            raise errors.NotFound("economy version", version)
        return load(row.text, name=row.name)
