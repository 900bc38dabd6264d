"""What is due is booked before anything is shown, so that every door shows the same figure."""

from __future__ import annotations

from tallystick.services.context import Context
from tallystick.store import wallets


def settle_if_due(context: Context, customer_id: int) -> None:
    """Book all that time alone made happen to a customer; usually that is nothing, and one look tells."""
    ledger = context.ledger
    while True:
        units = len(context.economy().units)
        with context.database.read() as connection:
            if not wallets.is_due(connection, customer_id, now=context.now(), units=units):
                return
        context.database.transact(
            lambda connection: ledger.settle(connection, [customer_id], now=context.now())
        )
