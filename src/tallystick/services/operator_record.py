"""What admins do through other doors than the operators' dashboard, written into the same record, with its effect.

There a reason is given where the caller gave one. What is refused changed nothing and is not written down, nor is a repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from tallystick.core.ids import to_text
from tallystick.core.operations import Operation
from tallystick.services.context import Caller, Context
from tallystick.store import keys
from tallystick.store import operators as store
from tallystick.store.operators import ActionRow
from tallystick.store.results import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What an admin does: ``terms`` are what else was asked.

    ``tell`` says what came of it, as a sentence; None where that changed nothing, and there is nothing to write down.
    """

    action: str
    customer_id: int
    subject: str | None = None
    terms: Mapping[str, str | None] = field(default_factory=dict)
    reason: str | None
    tell: Callable[[Any], str | None]


def is_recorded(caller: Caller) -> bool:
    """Whether the caller is an admin with a key, at a door that keeps no record of its own."""
    return caller.is_admin and caller.key_id is not None and caller.door is not None


def commit(context: Context, caller: Caller, operation: Operation, deed: Deed) -> Outcome:
    """Post an operation. That of an admin is written down in the same transaction."""
    if not is_recorded(caller):
        return context.commit.run(operation)

    def work(connection: Connection) -> Outcome:
        [outcome] = context.ledger.post(connection, [operation], now=context.now())
        write_down(context, connection, caller, outcome, deed)
        return outcome

    return context.database.twice(lambda: context.commit.transact(work))


def write_down(
    context: Context, connection: Connection, caller: Caller, outcome: Outcome, deed: Deed
) -> None:
    """Write a deed down as done, beside what was posted for it; not one that was refused, repeated, or without effect."""
    if outcome.refusal is None and not outcome.replayed:
        told = deed.tell(outcome.result)
        if told is not None:
            begin(context, connection, caller, deed, done=told)


def begin(
    context: Context,
    connection: Connection,
    caller: Caller,
    deed: Deed,
    *,
    done: str | None = None,
    name: str | None = None,
) -> None:
    """Write a deed down: as ``done`` with that outcome, or as begun, to be ended under its ``name``."""
    if not is_recorded(caller):
        return
    key = keys.by_id(connection, caller.key_id or 0)
    number, now = context.new_id(), context.now()
    terms = {each: text for each, text in deed.terms.items() if text}
    row = ActionRow(
        id=number,
        at=now,
        key_id=caller.key_id or 0,
        operator=caller.name if key is None else key.name,
        action=deed.action,
        customer_id=deed.customer_id,
        subject=deed.subject,
        terms=msgspec.json.encode(terms).decode(),
        reason=deed.reason or "",
        status="begun" if done is None else "done",
        outcome=done,
        report=None,
        ended_at=None if done is None else now,
        idempotency=name or to_text("act", number),
        request_digest="",
        door=caller.door or "",
    )
    store.add(connection, row)


def end(context: Context, connection: Connection, name: str, *, status: str, outcome: str) -> None:
    """What came of a deed that was begun; one that nobody wrote down, or that has ended, stays as it is."""
    row = store.by_idempotency(connection, name)
    if row is not None:
        now = context.now()
        store.end(connection, row.id, status=status, outcome=outcome, report=None, ended_at=now)
