"""Reading wallets: the totals of a statement and the lots that are open, never the history behind them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.core.holdings import Lot, Wallet
from tallystick.core.words import DEBT
from tallystick.store.schema import accounts, wallets

# As the partial index has it: for `is_open = 1`, which SQLite would be asked otherwise, it is not used.
IS_OPEN: Final = sa.text("accounts.is_open")

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
    wallets.c.told_below,
    wallets.c.watch_below,
    wallets.c.watch_above,
    wallets.c.refill_below,
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


def is_due(connection: Connection, customer_id: int, *, now: int, units: int) -> bool:
    """Whether anything of a customer waits to be booked, or a unit that came later has no wallet yet."""
    moments = connection.scalars(
        sa.select(wallets.c.next_due_at).where(wallets.c.customer_id == customer_id)
    ).all()
    return bool(moments) and (min(moments) <= now or len(moments) < units)


def of_customer(connection: Connection, customer_id: int) -> dict[str, Wallet]:
    """A customer's wallets by their unit, without their lots."""
    rows = connection.execute(
        sa.select(*_WALLET).where(wallets.c.customer_id == customer_id).order_by(wallets.c.id)
    )
    return {row.unit: Wallet(*tuple(row)) for row in rows}


def load_lots(connection: Connection, wallet: Wallet) -> None:
    """Put the open lots, in burn order, and the debt into a wallet."""
    rows = connection.execute(
        sa.select(*_LOT).where(
            accounts.c.customer_id == wallet.customer_id, IS_OPEN, accounts.c.unit == wallet.unit
        )
    )
    for row in rows:
        if row.kind == DEBT:
            wallet.debt = row.debits_posted - row.credits_posted
        else:
            wallet.lots.append(Lot(*tuple(row)))
    wallet.lots.sort(key=Lot.burn_key)
