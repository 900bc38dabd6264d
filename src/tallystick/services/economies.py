"""The active economy and all earlier versions: immutable, stored by the digest of their content."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy.engine import Connection

from tallystick import economies as files
from tallystick.core import errors
from tallystick.core.catalog import Economy
from tallystick.core.economy_file import load
from tallystick.services.context import Context
from tallystick.store import economies as store


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
        context.economy.economy = economy
        return economy

    def _at(self, version: str) -> Economy:
        """An economy as it was when it priced something."""
        with self._context.database.read() as connection:
            row = store.get(connection, version)
        if row is None:
            raise errors.NotFound("economy version", version)
        return load(row.text, name=row.name)
