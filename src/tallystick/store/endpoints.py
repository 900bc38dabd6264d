"""Endpoints: where webhooks are sent. Secrets are stored as they are, because every delivery is signed with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from tallystick.store.schema_notifications import endpoints


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An endpoint of a customer, or with None of the operator's own.

    ``previous_secret`` signs too until ``previous_until``; ``failing_since`` is when the deliveries that fail now began to,
    and until ``resume_at`` none is tried after one that failed.
    """

    id: int
    customer_id: int | None
    url: str
    types: tuple[str, ...]
    description: str | None
    secret: str = field(repr=False)
    previous_secret: str | None = field(repr=False)
    previous_until: int | None
    status: str
    reason: str | None
    failing_since: int | None
    resume_at: int
    created_at: int


def add(connection: Connection, row: EndpointRow) -> None:
    """A new endpoint."""
    connection.execute(
        endpoints.insert().values(
            id=row.id,
            customer_id=row.customer_id,
            url=row.url,
            types=json.dumps(row.types),
            description=row.description,
            secret=row.secret,
            status=row.status,
            created_at=row.created_at,
        )
    )


def by_id(connection: Connection, number: int, *, lock: bool = False) -> EndpointRow | None:
    """An endpoint by its id; with ``lock``, nobody else changes it before the transaction ends."""
    query = sa.select(endpoints).where(endpoints.c.id == number)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _row(row)


def by_ids(connection: Connection, numbers: Sequence[int]) -> dict[int, EndpointRow]:
    """Endpoints by their ids; those that were deleted are missing."""
    found = connection.execute(sa.select(endpoints).where(endpoints.c.id.in_(numbers)))
    return {row.id: _row(row) for row in found}


def page(
    connection: Connection, *, customer_id: int | None, below: int | None, limit: int
) -> list[EndpointRow]:
    """The endpoints of a customer, or the operator's own, newest first."""
    query = sa.select(endpoints).where(_of(customer_id)).order_by(endpoints.c.id.desc()).limit(limit)
    if below is not None:
        query = query.where(endpoints.c.id < below)
    return [_row(row) for row in connection.execute(query)]


def count(connection: Connection, *, customer_id: int | None) -> int:
    """How many endpoints a customer has, or the operator."""
    query = sa.select(sa.func.count()).select_from(endpoints).where(_of(customer_id))
    return int(connection.scalar(query) or 0)


def listening(connection: Connection, customer_ids: Sequence[int]) -> list[EndpointRow]:
    """The enabled endpoints of these customers, and the operator's own."""
    theirs = sa.or_(endpoints.c.customer_id.in_(customer_ids), endpoints.c.customer_id.is_(None))
    query = sa.select(endpoints).where(endpoints.c.status == "enabled", theirs).order_by(endpoints.c.id)
    return [_row(row) for row in connection.execute(query)]


def change(connection: Connection, number: int, values: Mapping[str, object]) -> bool:
    """Set columns; False when the endpoint was deleted."""
    texts = {name: json.dumps(value) if name == "types" else value for name, value in values.items()}
    return connection.execute(endpoints.update().where(endpoints.c.id == number).values(texts)).rowcount > 0


def works_again(connection: Connection, number: int) -> None:
    """A delivery succeeded: an endpoint that failed before starts afresh."""
    failing = sa.or_(endpoints.c.failing_since.is_not(None), endpoints.c.resume_at > 0)
    query = endpoints.update().where(endpoints.c.id == number, failing)
    connection.execute(query.values(failing_since=None, resume_at=0))


def disable(connection: Connection, number: int, *, reason: str) -> bool:
    """Send nothing there any more; False when it was disabled or deleted already."""
    query = endpoints.update().where(endpoints.c.id == number, endpoints.c.status == "enabled")
    return connection.execute(query.values(status="disabled", reason=reason)).rowcount > 0


def remove(connection: Connection, number: int) -> None:
    """Delete an endpoint; what was sent there stays on record."""
    connection.execute(endpoints.delete().where(endpoints.c.id == number))


def _of(customer_id: int | None) -> sa.ColumnElement[bool]:
    return endpoints.c.customer_id.is_not_distinct_from(customer_id)


def _row(row: Row[tuple[object, ...]]) -> EndpointRow:
    fields = dict(row._mapping)  # noqa: SLF001 - the public way to a row's names
    return EndpointRow(**{**fields, "types": tuple(json.loads(str(fields["types"])))})
