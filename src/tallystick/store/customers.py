"""Customers: who is billed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tallystick.store.schema import customers


def add(
    connection: Connection,
    *,
    number: int,
    external_id: str | None,
    email: str | None,
    metadata: str,
    created_at: int,
) -> None:
    """A new customer, without wallets yet."""
    connection.execute(
        customers.insert().values(
            id=number, external_id=external_id, email=email, metadata=metadata, created_at=created_at
        )
    )


def by_id(connection: Connection, number: int) -> Row[tuple[object, ...]] | None:
    """A customer by its id."""
    return connection.execute(sa.select(customers).where(customers.c.id == number)).first()


def by_external_id(connection: Connection, external_id: str) -> Row[tuple[object, ...]] | None:
    """A customer by the id that the operator gave it."""
    return connection.execute(sa.select(customers).where(customers.c.external_id == external_id)).first()


def search(
    connection: Connection, words: str, *, below: int | None, limit: int
) -> list[Row[tuple[object, ...]]]:
    """Customers whose external id, e-mail or metadata has these words in it, whatever their case; newest first."""
    query = sa.select(customers).order_by(customers.c.id.desc()).limit(limit)
    if words:
        # Each row is compared once, which is faster than three times; nobody looks for words with a line's end.
        named = (customers.c.external_id, customers.c.email, customers.c.metadata)
        text = sa.func.coalesce(named[0], "") + "\n" + sa.func.coalesce(named[1], "") + "\n" + named[2]
        query = query.where(text.icontains(words, autoescape=True))
    if below is not None:
        query = query.where(customers.c.id < below)
    return list(connection.execute(query))
