"""The audit's own notes: sums by key, in a private temporary database that is gone with it.

What an audit adds up grows with the number of accounts, budgets and hours. Kept in memory it would grow
without bound, so it is folded there for a while and then spilled; SQLite keeps a database without a name in a
file of its own once it is large.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from tallystick.core.amounts import INT64_MAX

_SPILL_AT: Final = 50_000
_FOLDS: Final = {"+": "{0} + excluded.{0}", "min": "min({0}, excluded.{0})", "max": "max({0}, excluded.{0})"}

Key = tuple[Any, ...]


class Fold:
    """Numbers by key: each further number is added, or the smallest or the largest of them is kept."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        name: str,
        keys: Sequence[str],
        values: Sequence[str],
        fold: str = "+",
    ) -> None:
        self.name = name
        self._connection = connection
        self._first = keys[0]
        self._width = len(keys)
        self._columns = ", ".join([*keys, *values])
        self._fold = fold
        self._fresh: dict[Key, list[int]] = {}
        updates = ", ".join(f"{value} = {_FOLDS[fold].format(value)}" for value in values)
        connection.execute(
            f"CREATE TABLE {name} ({self._columns}, PRIMARY KEY ({', '.join(keys)})) WITHOUT ROWID"
        )
        self._upsert = (
            f"INSERT INTO {name} VALUES ({', '.join('?' * (len(keys) + len(values)))}) "  # noqa: S608
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {updates}"
        )

    def add(self, key: Key, *values: int) -> None:
        """Fold the values into those of the key."""
        known = self._fresh.get(key)
        if known is None:
            if len(self._fresh) >= _SPILL_AT:
                self._spill()
            self._fresh[key] = list(values)
        elif self._fold == "+":
            for index, value in enumerate(values):
                known[index] += value
        else:
            better = min if self._fold == "min" else max
            known[0] = better(known[0], values[0])

    def _spill(self) -> None:
        rows = [(*key, *map(_stored, values)) for key, values in sorted(self._fresh.items())]
        self._connection.executemany(self._upsert, rows)
        self._fresh.clear()

    def between(self, low: int, high: int) -> dict[Key, tuple[int, ...]]:
        """The values of every key whose first part is above ``low`` and at most ``high``."""
        self._spill()
        statement = f"SELECT {self._columns} FROM {self.name} WHERE {self._first} > ? AND {self._first} <= ?"  # noqa: S608
        return self._found(self._connection.execute(statement, (low, high)))

    def of(self, numbers: Iterable[int]) -> dict[Key, tuple[int, ...]]:
        """The values of every key whose first part is one of these."""
        self._spill()
        statement = (
            f"SELECT {self._columns} FROM {self.name} "  # noqa: S608 - own names
            f"WHERE {self._first} IN (SELECT value FROM json_each(?))"
        )
        return self._found(self._connection.execute(statement, (json.dumps(list(numbers)),)))

    def all(self) -> Iterator[tuple[Key, tuple[int, ...]]]:
        """Every key with its values, in the order of the keys."""
        self._spill()
        for row in self._connection.execute(f"SELECT {self._columns} FROM {self.name}"):  # noqa: S608 - own names
            yield row[: self._width], row[self._width :]

    def _found(self, rows: Iterable[tuple[Any, ...]]) -> dict[Key, tuple[int, ...]]:
        width = self._width
        return {row[:width]: row[width:] for row in rows}


class Comparison:
    """What should be stored beside what is, by key; only both together make a match."""

    def __init__(self, connection: sqlite3.Connection, name: str, keys: Sequence[str]) -> None:
        self._fold = Fold(connection, name, keys, ("expected", "found", "reasons", "stored"))

    def expect(self, key: Key, amount: int) -> None:
        """Something says that ``amount`` belongs to the key."""
        self._fold.add(key, amount, 0, 1, 0)

    def find(self, key: Key, amount: int) -> None:
        """``amount`` is stored under the key."""
        self._fold.add(key, 0, amount, 0, 1)

    def results(self) -> Iterator[tuple[Key, int | None, int | None]]:
        """Every key, what is expected, and what is found; None where there is nothing at all."""
        for key, (expected, found, reasons, stored) in self._fold.all():
            yield key, expected if reasons else None, found if stored else None


class Notes:
    """Everything that one pass of the audit leaves for the next."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-65536"):
            self._connection.execute(f"PRAGMA {pragma}")

        def fold(name: str, keys: str, values: str, how: str = "+") -> Fold:
            return Fold(self._connection, name, keys.split(), values.split(), how)

        def comparison(name: str, keys: str) -> Comparison:
            return Comparison(self._connection, name, keys.split())

        # By account: its four totals, the legs of open holds, and the latest expiry that a thaw gave it.
        self.totals = fold(
            "totals", "account_id", "debits_posted credits_posted debits_pending credits_pending"
        )
        self.legs = fold("legs", "account_id", "debits credits")
        self.thawed = fold("thawed", "account_id", "expires_at", "max")
        # By wallet: its lots less its debt, its debt account, and when its first lot expires.
        self.worth = comparison("worth", "customer_id unit")
        self.debtors = comparison("debtors", "account_id customer_id unit")
        self.expiry = fold("expiry", "customer_id unit", "at", "min")
        # By customer: when something other than a lot is due, and when it would be looked at.
        self.due = fold("due", "customer_id", "at", "min")
        self.awake = fold("awake", "customer_id", "at", "min")
        # States that the journal tells as changes: +1 for what was entered, -1 for what was left.
        self.states = comparison("states", "kind customer_id unit state")
        self.allowances = fold("allowances", "customer_id unit period granted", "times")
        self.payments = fold("payments", "reference", "times")
        self.budgets = comparison("budgets", "budget_id period_at")
        self.hours = comparison("hours", "customer_id meter window_at")

    def change_state(self, kind: str, customer_id: int, unit: str, before: object, after: object) -> None:
        """The journal says that something went from one state to another; None is no state.

        In whatever order the changes are read, what was entered once more than it was left is the last.
        """
        if before != after:
            if before is not None:
                self.states.expect((kind, customer_id, unit, str(before)), -1)
            if after is not None:
                self.states.expect((kind, customer_id, unit, str(after)), 1)

    def find_state(self, kind: str, customer_id: int, unit: str, state: object) -> None:
        """The state that is stored."""
        if state is not None:
            self.states.find((kind, customer_id, unit, str(state)), 1)

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()


def _stored(value: int) -> int:
    """What absurd rows add up to may be larger than any database stores; it is a violation at any size."""
    return max(-INT64_MAX, min(INT64_MAX, value))
