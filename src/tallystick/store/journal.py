"""Reading the journal: transactions and holds by their id."""

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.results import decode_result
from tallystick.store.schema import holds, transactions


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """What a hold was made with: who may resolve it, and what it reserved per unit in micro-units."""

    customer_id: int
    maker: str
    meter: str | None
    agent: str | None
    economy: str | None
    amounts: tuple[tuple[str, int], ...]
    also: tuple[tuple[str, int], ...]


def owner_of(connection: Connection, number: int, *, kinds: tuple[str, ...]) -> int | None:
    """The customer of a transaction of one of these kinds."""
    owner: int | None = connection.scalar(
        sa.select(transactions.c.customer_id).where(
            transactions.c.id == number, transactions.c.kind.in_(kinds)
        )
    )
    return owner


def first_answer(connection: Connection, idempotency: str) -> Any:  # noqa: ANN401 - one of RESULTS
    """What was answered to the request that an idempotency key (in its short form) belongs to; None for a new one."""
    columns = transactions.c.kind, transactions.c.result
    row = connection.execute(sa.select(*columns).where(transactions.c.idempotency == idempotency)).first()
    return None if row is None or row.result is None else decode_result(row.kind, row.result)


def metadata_of(connection: Connection, number: int) -> dict[str, Any]:
    """What was noted beside a transaction; empty where nothing was."""
    text = connection.scalar(sa.select(transactions.c.metadata).where(transactions.c.id == number))
    found: dict[str, Any] = {} if text is None else json.loads(text)
    return found


def hold_terms(connection: Connection, number: int) -> HoldTerms | None:
    """A hold's terms, whatever its status."""
    row = connection.execute(
        sa.select(
            holds.c.customer_id,
            holds.c.maker,
            holds.c.meter,
            transactions.c.agent,
            holds.c.economy,
            holds.c.amounts,
            transactions.c.kind,
            transactions.c.result,
        )
        .join_from(holds, transactions, transactions.c.id == holds.c.id)
        .where(holds.c.id == number)
    ).first()
    if row is None:
        return None
    amounts = tuple((unit, amount) for unit, amount in json.loads(row.amounts))
    also = decode_result("hold", row.result).also if row.kind == "hold" else ()
    return HoldTerms(row.customer_id, row.maker, row.meter, row.agent, row.economy, amounts, also)
