"""Agents that can be hired, as their owners describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema_agents import agents


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent: ``price`` in micro-units for each task."""

    id: int
    customer_id: int
    name: str
    description: str | None
    unit: str
    price: int
    capabilities: tuple[str, ...]
    status: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which agents are looked for; what is None does not matter."""

    customer_id: int | None = None
    not_customer_id: int | None = None
    status: str | None = None
    text: str | None = None
    capability: str | None = None
    unit: str | None = None
    max_price: int | None = None


_COLUMNS: Final = (
    agents.c.id,
    agents.c.customer_id,
    agents.c.name,
    agents.c.description,
    agents.c.unit,
    agents.c.price,
    agents.c.capabilities,
    agents.c.status,
    agents.c.created_at,
    agents.c.updated_at,
)


def _of(row: Sequence[Any]) -> AgentRow:
    number, customer_id, name, description, unit, price, lines, status, created_at, updated_at = row
    words = tuple(word for word in lines.split("\n") if word)
    return AgentRow(
        number, customer_id, name, description, unit, price, words, status, created_at, updated_at
    )


def _lines(words: Sequence[str]) -> str:
    """Each word in a line of its own, so that one is found with a line's end on both sides."""
    return "\n".join(["", *words, ""]) if words else ""


def add(connection: Connection, row: AgentRow) -> None:
    """A new agent. Raises the database's error where its owner has one of this name."""
    connection.execute(
        agents.insert().values(
            id=row.id,
            customer_id=row.customer_id,
            name=row.name,
            description=row.description,
            unit=row.unit,
            price=row.price,
            capabilities=_lines(row.capabilities),
            status=row.status,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
    )


def put(connection: Connection, row: AgentRow) -> None:
    """Change everything that an owner may change."""
    connection.execute(
        agents.update()
        .where(agents.c.id == row.id)
        .values(
            name=row.name,
            description=row.description,
            price=row.price,
            capabilities=_lines(row.capabilities),
            status=row.status,
            updated_at=row.updated_at,
        )
    )


def by_id(connection: Connection, number: int, *, lock: bool = False) -> AgentRow | None:
    """An agent by its id; with ``lock``, nobody else changes it before the transaction ends."""
    query = sa.select(*_COLUMNS).where(agents.c.id == number)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _of(tuple(row))


def by_name(connection: Connection, customer_id: int, name: str) -> AgentRow | None:
    """An owner's agent by its name."""
    query = sa.select(*_COLUMNS).where(agents.c.customer_id == customer_id, agents.c.name == name)
    row = connection.execute(query).first()
    return None if row is None else _of(tuple(row))


def named(connection: Connection, numbers: Sequence[int]) -> dict[int, AgentRow]:
    """Agents by their ids."""
    query = sa.select(*_COLUMNS).where(agents.c.id.in_(numbers))
    return {row.id: row for row in (_of(tuple(each)) for each in connection.execute(query))}


def listed(connection: Connection, wanted: Wanted, *, before: int | None, limit: int) -> list[AgentRow]:
    """Agents that fit, newest first, from below the id ``before``."""
    query = sa.select(*_COLUMNS).order_by(agents.c.id.desc()).limit(limit)
    for column, value in (
        (agents.c.customer_id, wanted.customer_id),
        (agents.c.status, wanted.status),
        (agents.c.unit, wanted.unit),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.not_customer_id is not None:
        query = query.where(agents.c.customer_id != wanted.not_customer_id)
    if wanted.text is not None:
        text = wanted.text.lower()
        query = query.where(
            sa.or_(
                sa.func.lower(agents.c.name).contains(text, autoescape=True),
                sa.func.lower(agents.c.description).contains(text, autoescape=True),
            )
        )
    if wanted.capability is not None:
        query = query.where(agents.c.capabilities.contains(f"\n{wanted.capability}\n", autoescape=True))
    if wanted.max_price is not None:
        query = query.where(agents.c.price <= wanted.max_price)
    if before is not None:
        query = query.where(agents.c.id < before)
    return [_of(tuple(row)) for row in connection.execute(query)]
