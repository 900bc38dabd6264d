"""What is still to be told to the billing server: charges that it was away for, and holds that nobody needs any more.

A row is ``running`` while its call is, ``owed`` when the call is done, ``undo`` when a hold may be left of a call that
came to nothing, and ``refused`` when the server would not charge it. Each goes by the call's own key, so that telling
the server twice has one effect. Without a file the rows live as long as the process.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tallystick.core import errors
from tallystick.metering.orders import Held, Order, Receipt
from tallystick.metering.rules import Lease, Quantity
from tallystick.metering.steps import refusal

MICROS: Final = 1_000_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS unsettled (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL CHECK (state IN ('running', 'owed', 'undo', 'refused')),
  account TEXT NOT NULL,
  ordered TEXT NOT NULL,
  micros INTEGER NOT NULL,
  hold TEXT,
  used TEXT,
  made_at REAL NOT NULL,
  due_at REAL NOT NULL,
  detail TEXT
);
CREATE INDEX IF NOT EXISTS unsettled_account ON unsettled (account);
CREATE TABLE IF NOT EXISTS contact (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that is due to be told."""

    id: int
    state: str
    held: Held
    used: Quantity | None


class Unsettled:
    """The rows, in a file or in memory. Safe to use from several threads; a file, from several processes."""

    def __init__(self, file: Path | str | None = None) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                ":memory:" if file is None else str(file),
                timeout=30,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise errors.ConfigurationError(f"unsettled_file: {file} cannot be used: {error}") from error
        weakref.finalize(self, self._connection.close)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def lend(self, order: Order, lease: Lease, *, contact_at: float | None, running_seconds: float) -> Held:
        """Lend a call to a customer; a repeat has the same loan. Raises ``Refused`` beyond the lease.

        ``contact_at`` is when this process last heard of the server; what another process or an earlier one noted in the
        file counts as well. A call that was running when its process was killed counts for ``running_seconds``.
        """
        now = time.time()
        account, micros = _account(order), _micros(order)
        with self._write() as write:
            (noted,) = write.execute("SELECT max(at) FROM contact").fetchone()
            last = max((at for at in (contact_at, noted) if at is not None), default=None)
            if last is None or now - last > lease.seconds:
                raise refusal(
                    errors.ServiceUnavailable,
                    "the billing server is away for too long to lend anything",
                    retry_after_seconds=5,
                )
            write.execute("INSERT OR REPLACE INTO contact VALUES (1, ?)", (last,))
            write.execute(
                "UPDATE unsettled SET state = 'undo' WHERE state = 'running' AND made_at < ?",
                (now - running_seconds,),
            )
            known = write.execute(
                "SELECT id, state, ordered, used FROM unsettled WHERE key = ?", (order.key,)
            ).fetchone()
            if known is not None and known[1] != "undo":
                return _lent_before(order, known)
            (lent,) = write.execute(
                "SELECT coalesce(sum(micros), 0) FROM unsettled WHERE account = ? AND state <> 'undo'",
                (account,),
            ).fetchone()
            if lent + micros > int(lease.quantity * MICROS):
                raise refusal(
                    errors.ServiceUnavailable,
                    "the billing server is away, and as much as may be lent meanwhile is lent",
                    retry_after_seconds=5,
                )
            loan = _put(write, order, "running", now=now)
        return Held(order=order, loan=loan)

    def owe(self, held: Held, used: Quantity | None) -> None:
        """A call is done, and waits to be charged."""
        with self._write() as write:
            _put(write, held.order, "owed", now=time.time(), hold=held.id, used=used)

    def undo(self, order: Order) -> None:
        """A hold may be left of a call that came to nothing; what waits under its key already stays as it is."""
        with self._write() as write:
            if write.execute("SELECT 1 FROM unsettled WHERE key = ?", (order.key,)).fetchone() is None:
                _put(write, order, "undo", now=time.time())

    def give_back(self, loan: int) -> None:
        """A call that was lent came to nothing; an earlier try may have left a hold under its key."""
        with self._write() as write:
            write.execute("UPDATE unsettled SET state = 'undo' WHERE id = ? AND state = 'running'", (loan,))

    def due(self, most: int, *, everything: bool = False) -> list[Waiting]:
        """Rows that are due, those that wait longest first; ``everything``: also those that are due later."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, state, ordered, hold, used FROM unsettled WHERE state <> 'running' AND due_at <= ?"
                " ORDER BY due_at, id LIMIT ?",
                (math.inf if everything else time.time(), most),
            ).fetchall()
        return [
            Waiting(row[0], row[1], Held(order=_order(row[2]), id=row[3]), _quantity(row[4])) for row in rows
        ]

    def next_due_at(self) -> float | None:
        """When a row is due next; None where none waits."""
        with self._lock:
            (found,) = self._connection.execute(
                "SELECT min(due_at) FROM unsettled WHERE state <> 'running'"
            ).fetchone()
        return None if found is None else float(found)

    def drop(self, row: int) -> None:
        """The server knows of it, or nothing came of it."""
        with self._write() as write:
            write.execute("DELETE FROM unsettled WHERE id = ?", (row,))

    def postpone(self, row: int, seconds: float, *, refused: str | None = None) -> None:
        """Try again later; ``refused`` is what the server said against it."""
        with self._write() as write:
            write.execute("UPDATE unsettled SET due_at = ? WHERE id = ?", (time.time() + seconds, row))
            if refused is not None:
                write.execute(
                    "UPDATE unsettled SET state = 'refused', detail = ? WHERE id = ?", (refused, row)
                )

    def counts(self) -> dict[str, int]:
        """How many rows there are of each state."""
        with self._lock:
            rows = self._connection.execute("SELECT state, count(*) FROM unsettled GROUP BY state").fetchall()
        return dict(rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _put(
    write: sqlite3.Connection,
    order: Order,
    state: str,
    *,
    now: float,
    hold: str | None = None,
    used: Quantity | None = None,
) -> int:
    (row,) = write.execute(
        "INSERT INTO unsettled (key, state, account, ordered, micros, hold, used, made_at, due_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET state = excluded.state, used = excluded.used,"
        " hold = coalesce(excluded.hold, hold), due_at = excluded.due_at RETURNING id",
        (
            order.key,
            state,
            _account(order),
            _text(order),
            _micros(order),
            hold,
            None if used is None else str(used),
            now,
            now,
        ),
    ).fetchone()
    return int(row)


def _lent_before(order: Order, known: tuple[int, str, str, str | None]) -> Held:
    loan, state, ordered, used = known
    if ordered != _text(order):
        raise refusal(errors.IdempotencyKeyReused, "this idempotency key was used with another call")
    if state == "running":
        return Held(order=order, loan=loan)
    quantity = order.quantity if used is None else _quantity(used)
    return Held(order=order, loan=loan, receipt=Receipt(meter=order.meter, quantity=quantity, pending=True))


def _account(order: Order) -> str:
    """What a lease bounds: a customer's use of a meter, or of what is priced by amount in a unit."""
    what = ["meter", order.meter] if order.meter is not None else ["unit", order.unit]
    return json.dumps([order.customer, *what])


def _micros(order: Order) -> int:
    measured = Decimal(order.quantity) if order.meter is not None else order.cost(order.quantity)
    return int(measured * MICROS)


def _text(order: Order) -> str:
    return json.dumps(asdict(order), sort_keys=True, default=str)


def _order(text: str) -> Order:
    found: dict[str, Any] = json.loads(text)
    for name in ("quantity", "amount"):
        found[name] = _quantity(found[name])
    return Order(**found)


def _quantity(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))
