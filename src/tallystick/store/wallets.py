"""Reading wallets: the totals of a statement and the lots that are open, never the history behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.book import Lot, Wallet
from tallystick.core.words import DEBT
from tallystick.store.schema import accounts, grants, wallets

# Written as the partial index has it: `is_open = 1`, as SQLite would otherwise be asked, does not use the index.
IS_OPEN: Final = sa.literal_column("accounts.is_open", sa.Boolean())

# In the order of the constructors of Wallet and Lot.
_WALLET: Final = (
    wallets.c.id,
    wallets.c.customer_id,
    wallets.c.unit,
    wallets.c.debt_account_id,
    wallets.c.cover_id,
    wallets.c.frozen_at,
    wallets.c.next_due_at,
    wallets.c.has_budgets,
    wallets.c.sequence,
    wallets.c.last_at,
    wallets.c.balance,
    wallets.c.granted,
    wallets.c.purchased,
    wallets.c.earned,
    wallets.c.spent,
    wallets.c.expired,
    wallets.c.removed,
)
_LOT: Final = (
    accounts.c.id,
    accounts.c.customer_id,
    accounts.c.unit,
    accounts.c.kind,
    accounts.c.category,
    accounts.c.origin,
    accounts.c.priority,
    accounts.c.effective_at,
    accounts.c.expires_at,
    accounts.c.voided,
    accounts.c.debits_posted,
    accounts.c.credits_posted,
    accounts.c.debits_pending,
)


@dataclass(frozen=True, slots=True)
class OpenLot:
    """A lot that is not empty, with what its grant says."""

    lot: Lot
    amount: int
    reason: str | None
    reference: str | None
    created_at: int


def is_due(connection: Connection, customer_id: int, *, now: int, units: int) -> bool:
    """Whether anything of a customer waits to be booked, or a unit that came later has no wallet yet."""
    moments = connection.scalars(sa.select(wallets.c.next_due_at).where(wallets.c.customer_id == customer_id)).all()
    return bool(moments) and (min(moments) <= now or len(moments) < units)


def of_customer(connection: Connection, customer_id: int) -> dict[str, Wallet]:
    """A customer's wallets by their unit, without their lots."""
    rows = connection.execute(sa.select(*_WALLET).where(wallets.c.customer_id == customer_id).order_by(wallets.c.id))
    return {row.unit: Wallet(*row) for row in rows}


def load_lots(connection: Connection, wallet: Wallet) -> list[OpenLot]:
    """Put the open lots, in burn order, and the debt into a wallet; gives the lots with their grants."""
    rows = connection.execute(
        sa.select(*_LOT, grants.c.amount, grants.c.reason, grants.c.reference, grants.c.created_at)
        .join_from(accounts, grants, grants.c.id == accounts.c.id, isouter=True)
        .where(accounts.c.customer_id == wallet.customer_id, IS_OPEN, accounts.c.unit == wallet.unit)
    )
    found: list[OpenLot] = []
    for row in rows:
        if row.kind == DEBT:
            wallet.debt = row.debits_posted - row.credits_posted
        else:
            found.append(OpenLot(Lot(*row[: len(_LOT)]), row.amount, row.reason, row.reference, row.created_at))
    found.sort(key=lambda each: each.lot.burn_key())
    wallet.lots = [each.lot for each in found]
    return found
