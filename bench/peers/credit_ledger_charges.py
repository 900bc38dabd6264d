"""Charges through `credit-ledger`, as its README says: a pooled engine, ``decrement`` with a key for each.

The package brings no schema; these are the two tables that its statements name, with the unique key that its
README calls its idempotency guarantee, and a check that no balance falls below nothing. The foreign key to a
table of tenants and the row-level security that it recommends are left out: without them it is faster.
"""

import uuid

from credit_ledger import metering  # type: ignore[import-not-found] # of the peers' environment
from sqlalchemy import create_engine, text

from bench.peers.clients import arguments, drive_threads, prepare, report

BALANCES = """
CREATE TABLE credit_balance (
  tenant_id uuid PRIMARY KEY,
  credits numeric(18, 4) NOT NULL CHECK (credits >= 0),
  updated_at timestamptz NOT NULL DEFAULT now()
)
"""
ENTRIES = """
CREATE TABLE credit_ledger (
  id uuid PRIMARY KEY,
  tenant_id uuid NOT NULL,
  delta numeric(18, 4) NOT NULL,
  reason text NOT NULL,
  idempotency_key text,
  balance_after numeric(18, 4) NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (tenant_id, idempotency_key)
)
"""
PRICE = "0.25"


def main() -> None:
    """Open the accounts, let the clients charge, count what the database holds."""
    asked = arguments()
    url = asked.url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(url, pool_size=asked.connections, max_overflow=0)
    with engine.begin() as connection:
        for statement in (BALANCES, ENTRIES):
            connection.execute(text(statement))
    tenants = [str(uuid.uuid4()) for _ in range(asked.accounts)]

    def grant(tenant: str) -> None:
        metering.grant(tenant, 500_000_000, engine=engine)
        metering.grant(tenant, 500_000_000, engine=engine)

    prepare(grant, tenants, asked)

    def charge(number: int, key: str) -> None:
        if not metering.decrement(tenants[number], PRICE, idempotency_key=key, engine=engine).ok:
            raise AssertionError

    latencies, seconds = drive_threads(charge, asked)
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT count(*) FROM credit_ledger WHERE delta < 0")).scalar_one()
    report(latencies, seconds, rows=rows, asked=asked)


main()
