"""Rows of tasks on the ledger's path: how they are inserted, changed and read, many at a time."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final

from tallystick.core.book import Book
from tallystick.core.holdings import Task
from tallystick.store.driver import Change, Driver, Insert, Row

_B, _T = "bigint", "text"
_TERMS: Final = (
    ("id", _B),
    ("agent_id", _B),
    ("owner_id", _B),
    ("requester_id", _B),
    ("payer_id", _B),
    ("parent_id", _B),
    ("unit", _T),
    ("price", _B),
    ("billing", _T),
    ("input", _T),
    ("economy", _T),
    ("created_at", _B),
    ("expires_at", _B),
)
_STATE: Final = (
    ("status", _T),
    ("hold_id", _B),
    ("accepted_at", _B),
    ("ended_at", _B),
    ("output", _T),
    ("reason", _T),
    ("settlement_id", _B),
    ("paid", _B),
    ("fee", _B),
    ("refunded", _B),
    ("disputable_until", _B),
    ("disputed_at", _B),
    ("dispute_reason", _T),
)
_TERM_NAMES: Final = tuple(name for name, _ in _TERMS)
_STATE_NAMES: Final = tuple(name for name, _ in _STATE)
COLUMNS: Final = (*_TERM_NAMES, *_STATE_NAMES)
_INSERT: Final = Insert("tasks", (*_TERMS, *_STATE))
_CHANGE: Final = Change("tasks", "id", sets=_STATE)
# A step may give a task's credits back to its parent: both are read.
SELECT: Final = (
    f"SELECT {', '.join(COLUMNS)} FROM tasks WHERE {{ids:id}} OR id IN "  # noqa: S608 - own names
    "(SELECT parent_id FROM tasks WHERE {ids:id})"
)
# A settlement frees what was held, in the order in which it was drawn, and pays with it.
PAYMENTS: Final = (
    "SELECT transaction_id, debit_id, credit_id, amount, phase FROM transfers WHERE {ids:transaction_id} "
    "AND phase IN (0, 3) ORDER BY transaction_id, phase DESC, number"
)

_row: Final = attrgetter(*COLUMNS)
_changed: Final = attrgetter(*_STATE_NAMES, "id")


def task_of(row: Iterable[Any]) -> Task:
    """A task from a row of ``COLUMNS``."""
    found = dict(zip(COLUMNS, row, strict=True))
    task = Task(**{name: found[name] for name in _TERM_NAMES})
    for name in _STATE_NAMES:
        setattr(task, name, found[name])
    return task


def write(driver: Driver, raw: Any, book: Book) -> None:  # noqa: ANN401
    """Insert a book's new tasks as they are by now, and update the others."""
    if book.new_tasks:
        driver.insert(raw, _INSERT, [_row(task) for task in book.new_tasks])
    if not book.changed_tasks:
        return
    made = {task.id for task in book.new_tasks}
    later: list[Row] = [
        _changed(task) for number, task in sorted(book.changed_tasks.items()) if number not in made
    ]
    if later:
        driver.change(raw, _CHANGE, later)
