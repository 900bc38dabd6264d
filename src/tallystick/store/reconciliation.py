"""Payments beside the grants that they became, and beside what the provider said of them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.words import PURCHASED_CATEGORIES
from tallystick.store.payments import PaymentRow
from tallystick.store.schema import accounts, grants
from tallystick.store.schema_payments import payments

_COLUMNS: Final = tuple(payments.c[name] for name in PaymentRow.__slots__)


def payments_since(connection: Connection, *, since: int, after: int, limit: int) -> list[PaymentRow]:
    """Payments made at ``since`` or later, by their ids, from the one after ``after``."""
    query = (
        sa.select(*_COLUMNS)
        .where(payments.c.created_at >= since, payments.c.id > after)
        .order_by(payments.c.id)
        .limit(limit)
    )
    return [PaymentRow(*tuple(row)) for row in connection.execute(query)]


def unmatched(connection: Connection, *, since: int) -> list[tuple[int, str, str, str]]:
    """Payments whose figures do not fit together: the id, what differs, ours, theirs."""
    found: list[tuple[int, str, str, str]] = []
    mismatched = sa.select(payments.c.id, payments.c.failure_text).where(
        payments.c.created_at >= since, payments.c.status == "mismatch"
    )
    found += [
        (row.id, "order and payment", "not credited", row.failure_text or "")
        for row in connection.execute(mismatched)
    ]
    grant = (
        sa.select(
            payments.c.id,
            payments.c.credits,
            payments.c.clawed_back,
            grants.c.amount,
            grants.c.clawed_back.label("taken"),
        )
        .select_from(payments.outerjoin(grants, grants.c.id == payments.c.grant_id))
        .where(
            payments.c.created_at >= since,
            payments.c.status == "paid",
            payments.c.kind != "invoice",
            sa.or_(
                grants.c.id.is_(None),
                grants.c.amount != payments.c.credits,
                grants.c.clawed_back != payments.c.clawed_back,
            ),
        )
    )
    for row in connection.execute(grant):
        if row.amount != row.credits:
            found.append((row.id, "credits", str(row.amount), str(row.credits)))
        else:
            found.append((row.id, "credits taken back", str(row.taken), str(row.clawed_back)))
    orphans = (
        sa.select(grants.c.reference, grants.c.id)
        .join(accounts, accounts.c.id == grants.c.id)
        .where(
            grants.c.created_at >= since,
            grants.c.reference.startswith("pay\\_", autoescape=False),
            accounts.c.category.in_(sorted(PURCHASED_CATEGORIES)),
            ~sa.exists().where(payments.c.grant_id == grants.c.id),
        )
    )
    found += [
        (row.id, "grant of a payment", str(row.reference), "not there") for row in connection.execute(orphans)
    ]
    return found
