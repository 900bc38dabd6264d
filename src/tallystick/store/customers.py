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
