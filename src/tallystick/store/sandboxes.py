"""Sandboxes and the processes that look after them: rows, and how they are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.sandboxes import Cost, Size
from tallystick.store.schema_sandboxes import sandbox_processes, sandboxes


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRow:
    """A sandbox as it stands. ``*_ms`` are of its life; costs are what was captured, in micro-units of ``unit``."""

    id: int
    customer_id: int
    key_id: int | None
    caller: str
    agent: str | None
    name: str | None
    template: str
    provider: str
    handle: str | None
    process_id: str
    status: str
    reason: str | None
    detail: str | None
    vcpu: int
    memory_mib: int
    unit: str
    vcpu_second_picos: int
    gib_second_picos: int
    vcpu_meter: str
    gib_meter: str
    economy: str
    metadata: str | None
    env: str | None
    idempotency: str
    request_digest: str
    created_at: int
    started_at: int | None
    ended_at: int | None
    clock_ahead: int
    timeout_ms: int
    funded_ms: int
    short_of: str | None
    beat_ms: int
    metered_ms: int
    vcpu_cost: int
    memory_cost: int
    hold_id: int | None
    fee_hold_id: int | None
    used_at: int
    idle_told_at: int | None
    ending_told: bool

    @property
    def size(self) -> Size:
        """What was allocated, and its rates."""
        return Size(self.vcpu, self.memory_mib, self.vcpu_second_picos, self.gib_second_picos)

    @property
    def cost(self) -> Cost:
        """What was captured so far."""
        return Cost(self.vcpu_cost, self.memory_cost)

    @property
    def seen_ms(self) -> int:
        """How far it is known to have lived."""
        return max(self.beat_ms, self.metered_ms)

    @property
    def is_open(self) -> bool:
        """Whether it may still cost something."""
        return self.status in {"creating", "running"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which sandboxes are looked for; what is None does not matter."""

    customer_id: int | None = None
    statuses: Sequence[str] = ()
    process_id: str | None = None


_COLUMNS: Final = tuple(sandboxes.c[name] for name in SandboxRow.__slots__)
_OPEN: Final = sandboxes.c.status.in_(["creating", "running"])


def _of(row: sa.Row[Any]) -> SandboxRow:
    return SandboxRow(**row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it


def add(connection: Connection, row: SandboxRow) -> None:
    """A new sandbox."""
    connection.execute(sandboxes.insert().values({name: getattr(row, name) for name in SandboxRow.__slots__}))


def change(connection: Connection, number: int, values: Mapping[str, object]) -> None:
    """Set columns of a sandbox that the caller has locked."""
    connection.execute(sandboxes.update().where(sandboxes.c.id == number).values(**values))


def by_id(connection: Connection, number: int, *, lock: bool = False) -> SandboxRow | None:
    """A sandbox; with ``lock`` nobody else changes it before the end of the transaction."""
    query = sa.select(*_COLUMNS).where(sandboxes.c.id == number)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _of(row)


def by_idempotency(connection: Connection, idempotency: str) -> SandboxRow | None:
    """The sandbox that was made under a key."""
    row = connection.execute(sa.select(*_COLUMNS).where(sandboxes.c.idempotency == idempotency)).first()
    return None if row is None else _of(row)


def listed(
    connection: Connection, wanted: Wanted, *, before: int | None, limit: int | None
) -> list[SandboxRow]:
    """Sandboxes that fit, newest first, from below the id ``before``."""
    query = sa.select(*_COLUMNS).order_by(sandboxes.c.id.desc()).limit(limit)
    if wanted.customer_id is not None:
        query = query.where(sandboxes.c.customer_id == wanted.customer_id)
    if wanted.statuses:
        query = query.where(sandboxes.c.status.in_(wanted.statuses))
    if wanted.process_id is not None:
        query = query.where(sandboxes.c.process_id == wanted.process_id)
    if before is not None:
        query = query.where(sandboxes.c.id < before)
    return [_of(row) for row in connection.execute(query)]


def count_open(connection: Connection, customer_id: int) -> int:
    """How many sandboxes of a customer run or are being made."""
    query = sa.select(sa.func.count()).where(_OPEN, sandboxes.c.customer_id == customer_id)
    return int(connection.execute(query).scalar_one())


def created_between(connection: Connection, customer_id: int, since: int, until: int) -> list[int]:
    """When a customer's sandboxes of this time were made, oldest first; those that failed do not count."""
    query = (
        sa.select(sandboxes.c.created_at)
        .where(
            sandboxes.c.customer_id == customer_id,
            sandboxes.c.created_at > since,
            sandboxes.c.created_at < until,
            sandboxes.c.status != "failed",
        )
        .order_by(sandboxes.c.created_at)
    )
    return list(connection.execute(query).scalars())


def beat(connection: Connection, process_id: str, beats: Mapping[int, int]) -> None:
    """Note how far sandboxes of this process were seen running; what has ended meanwhile stays as it is."""
    for number, lived_ms in sorted(beats.items()):
        connection.execute(
            sandboxes.update()
            .where(
                sandboxes.c.id == number,
                sandboxes.c.process_id == process_id,
                sandboxes.c.status == "running",
                sandboxes.c.beat_ms < lived_ms,
            )
            .values(beat_ms=lived_ms)
        )


def sizes(connection: Connection, numbers: Iterable[int]) -> dict[int, tuple[int, int]]:
    """How many vCPUs and MiB these sandboxes have."""
    query = sa.select(sandboxes.c.id, sandboxes.c.vcpu, sandboxes.c.memory_mib)
    found = connection.execute(query.where(sandboxes.c.id.in_(sorted(numbers))))
    return {number: (vcpu, memory_mib) for number, vcpu, memory_mib in found}


def open_references(connection: Connection, numbers: Sequence[int]) -> set[int]:
    """Which of these sandboxes may run."""
    query = sa.select(sandboxes.c.id).where(_OPEN, sandboxes.c.id.in_(numbers))
    return set(connection.execute(query).scalars())


# --- processes -----------------------------------------------------------------------------------------------------


def appear(connection: Connection, process_id: str, now: int) -> None:
    """A process looks after sandboxes from now on, or still does."""
    changed = connection.execute(
        sandbox_processes.update().where(sandbox_processes.c.id == process_id).values(beat_at=now)
    )
    if not changed.rowcount:
        connection.execute(sandbox_processes.insert().values(id=process_id, started_at=now, beat_at=now))


def leave(connection: Connection, process_id: str) -> None:
    """A process has ended in good order."""
    connection.execute(sandbox_processes.delete().where(sandbox_processes.c.id == process_id))


def heard(since: int, until: int) -> sa.Select[tuple[str]]:
    """Processes that have appeared between two moments; one that did so later had a clock that was set back since."""
    return sa.select(sandbox_processes.c.id).where(sandbox_processes.c.beat_at.between(since, until))


def orphans(connection: Connection, process_id: str, *, alive: sa.Select[tuple[str]]) -> list[SandboxRow]:
    """Open sandboxes of others than ``process_id`` and those that are alive."""
    query = (
        sa.select(*_COLUMNS)
        .where(_OPEN, sandboxes.c.process_id != process_id, sandboxes.c.process_id.not_in(alive))
        .order_by(sandboxes.c.id)
    )
    return [_of(row) for row in connection.execute(query)]


def adopt(connection: Connection, number: int, *, before: str, process_id: str) -> bool:
    """Take a sandbox over from a process that is gone; False where another was first."""
    changed = connection.execute(
        sandboxes.update()
        .where(sandboxes.c.id == number, sandboxes.c.process_id == before, _OPEN)
        .values(process_id=process_id)
    )
    return bool(changed.rowcount)


def prune_processes(connection: Connection, *, before: int) -> int:
    """Forget processes that have been silent since then and look after nothing."""
    busy = sa.select(sandboxes.c.process_id).where(_OPEN)
    gone = connection.execute(
        sandbox_processes.delete().where(
            sandbox_processes.c.beat_at < before, sandbox_processes.c.id.not_in(busy)
        )
    )
    return gone.rowcount
