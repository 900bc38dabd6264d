"""Charges through `hf-nostro`, as its README says: its migration, a pool, accounts read once, ``debit``.

An account has two lots here as well. ``threads`` use its ``Ledger``, ``coroutines`` its ``AsyncLedger``.
"""

import argparse
import asyncio

import psycopg
from nostro import Account, AsyncLedger, Ledger  # type: ignore[import-not-found] # of the peers' environment
from nostro.migrate import migrate  # type: ignore[import-not-found] # as above
from psycopg_pool import AsyncConnectionPool, ConnectionPool  # type: ignore[import-not-found] # as above

from bench.peers.clients import arguments, drive_tasks, drive_threads, prepare, report

SCALE = 6


def main() -> None:
    """Open the accounts, let the clients charge, count what the database holds."""
    asked = arguments()
    migrate(dsn=asked.url, scale=SCALE)
    with ConnectionPool(asked.url, min_size=asked.connections, max_size=asked.connections) as pool:
        pool.wait()
        ledger = Ledger(pool=pool, scale=SCALE)

        def open_account(number: int) -> Account:
            account = ledger.accounts.get_or_create("bench", f"customer-{number}")
            for lot in ("first", "second"):
                ledger.credit(account, ledger.amount("500000000"), category="bonus", idempotency_key=lot)
            return account

        accounts = prepare(open_account, range(asked.accounts), asked)
        if asked.kind == "threads":
            price = ledger.amount("0.25")

            def charge(number: int, key: str) -> None:
                ledger.debit(accounts[number], price, category="api", idempotency_key=key)

            latencies, seconds = drive_threads(charge, asked)
    if asked.kind == "coroutines":
        latencies, seconds = asyncio.run(tasks(asked, accounts))
    with psycopg.connect(asked.url) as connection:
        found = connection.execute("SELECT count(*) FROM nostro.entry WHERE amount < 0").fetchone()
    assert found is not None
    report(latencies, seconds, rows=found[0], asked=asked)


async def tasks(asked: argparse.Namespace, accounts: list[Account]) -> tuple[list[float], float]:
    """The asynchronous client."""
    size = asked.connections
    async with AsyncConnectionPool(asked.url, min_size=size, max_size=size, open=False) as pool:
        await pool.wait()
        ledger = AsyncLedger(pool=pool, scale=SCALE)
        price = ledger.amount("0.25")

        async def charge(number: int, key: str) -> None:
            await ledger.debit(accounts[number], price, category="api", idempotency_key=key)

        return await drive_tasks(charge, asked)


main()
