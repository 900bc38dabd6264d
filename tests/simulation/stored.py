"""What is stored, read past the ledger: compared with the model and with the rules of the ledger."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.store.schema import accounts, budget_counters, entries, grants, hourly_counters, wallets
from tests.judge import TOTALS, compare, lots_of, state_of
from tests.model import Mismatch, Model
from tests.model.holdings import FOREVER

# Each finds what breaks a rule of the ledger, by its own arithmetic over all rows; empty is right.
RULES = {
    "per unit, debits equal credits, posted and pending": """
        SELECT unit FROM accounts GROUP BY unit
        HAVING sum(debits_posted) <> sum(credits_posted) OR sum(debits_pending) <> sum(credits_pending)""",
    "a lot is never overdrawn": """
        SELECT id FROM accounts
        WHERE kind IN ('lot', 'cover') AND debits_posted + debits_pending > credits_posted""",
    "a balance is the sum of the lots less the debt": """
        SELECT w.id FROM wallets w JOIN accounts a ON a.customer_id = w.customer_id AND a.unit = w.unit
        GROUP BY w.id, w.balance HAVING w.balance <> sum(a.credits_posted - a.debits_posted)""",
    "each entry's balance is the previous one plus its amount": """
        SELECT * FROM (SELECT wallet_id, sequence, amount, balance_after,
            coalesce(lag(balance_after) OVER statement, 0) AS before,
            coalesce(lag(sequence) OVER statement, 0) AS previous,
            coalesce(lag(at) OVER statement, 0) AS earlier, at
            FROM entries WINDOW statement AS (PARTITION BY wallet_id ORDER BY sequence)) AS lines
        WHERE balance_after <> before + amount OR sequence <> previous + 1 OR at < earlier""",
    "a pending amount is exactly the sum of the open holds on it": """
        SELECT a.id FROM accounts a LEFT JOIN (
            SELECT t.debit_id, sum(t.amount) AS held FROM transfers t
            JOIN holds h ON h.id = t.transaction_id AND h.status = 'open'
            WHERE t.phase = 1 GROUP BY t.debit_id) AS p
        ON p.debit_id = a.id WHERE a.debits_pending <> coalesce(p.held, 0)""",
    "replaying all transfers gives the stored totals": """
        SELECT a.id FROM accounts a LEFT JOIN (SELECT id, sum(debit) AS debit, sum(credit) AS credit,
            sum(debit_pending) AS debit_pending, sum(credit_pending) AS credit_pending FROM (
                SELECT debit_id AS id, CASE WHEN phase IN (0, 2) THEN amount ELSE 0 END AS debit, 0 AS credit,
                    CASE phase WHEN 1 THEN amount WHEN 0 THEN 0 ELSE -amount END AS debit_pending,
                    0 AS credit_pending FROM transfers
                UNION ALL
                SELECT credit_id, 0, CASE WHEN phase IN (0, 2) THEN amount ELSE 0 END, 0,
                    CASE phase WHEN 1 THEN amount WHEN 0 THEN 0 ELSE -amount END FROM transfers
            ) AS sides GROUP BY id) AS r ON r.id = a.id
        WHERE a.debits_posted <> coalesce(r.debit, 0) OR a.credits_posted <> coalesce(r.credit, 0)
            OR a.debits_pending <> coalesce(r.debit_pending, 0)
            OR a.credits_pending <> coalesce(r.credit_pending, 0)""",
    "an account is marked open when it has something": """
        SELECT id FROM accounts WHERE kind <> 'system' AND is_open <> (CASE kind
            WHEN 'debt' THEN debits_posted > credits_posted ELSE credits_posted > debits_posted END)""",
    "a wallet that has left the figures it is watched for has a mark, or has asked for its refill": """
        SELECT w.id FROM wallets w JOIN (
            SELECT customer_id, unit,
                sum(CASE WHEN kind = 'lot' AND NOT voided THEN credits_posted - debits_posted - debits_pending ELSE 0 END)
                    AS available
            FROM accounts GROUP BY customer_id, unit) AS s ON s.customer_id = w.customer_id AND s.unit = w.unit
        LEFT JOIN balance_alerts b ON b.wallet_id = w.id
        LEFT JOIN refill_requests r ON r.customer_id = w.customer_id AND r.unit = w.unit
        WHERE b.wallet_id IS NULL AND w.frozen_at IS NULL AND w.cover_id IS NULL AND (
            s.available < coalesce(w.watch_below, 0)
            OR (s.available < coalesce(w.refill_below, 0) AND r.at IS NULL)
            OR s.available >= coalesce(w.watch_above, 9223372036854775807))""",
    "one key, one effect": """
        SELECT idempotency FROM transactions WHERE idempotency IS NOT NULL GROUP BY 1 HAVING count(*) > 1""",
    "a transaction with a key has its digest and its answer": """
        SELECT id FROM transactions
        WHERE idempotency_key IS NOT NULL AND (request_digest IS NULL OR result IS NULL)""",
}


def check_rules(connection: Connection) -> None:
    """Every rule that can be seen in the rows alone."""
    for rule, statement in RULES.items():
        compare("stored", rule, [], list(connection.execute(sa.text(statement))))


def new_grants(
    connection: Connection, customer_ids: Iterable[int], model: Model
) -> list[tuple[int, str, int]]:
    """The customers' grants that the model does not know yet, in the order in which they were made."""
    query = (
        sa.select(grants.c.customer_id, accounts.c.unit, grants.c.id)
        .join_from(grants, accounts, accounts.c.id == grants.c.id)
        .where(grants.c.customer_id.in_(list(customer_ids)))
        .order_by(grants.c.id)
    )
    return [
        (owner, unit, number)
        for owner, unit, number in connection.execute(query)
        if number not in model.grants
    ]


def compare_wallets(connection: Connection, model: Model, customer_ids: Sequence[int]) -> None:
    """The customers' wallets, lots, debts and new lines as stored must be those of the model."""
    known = [customer_id for customer_id in customer_ids if customer_id in model.customers]
    found = {
        (row.customer_id, row.unit): row
        for row in connection.execute(sa.select(wallets).where(wallets.c.customer_id.in_(known)))
    }
    lots: dict[tuple[int, str], list[sa.Row[tuple[object, ...]]]] = {place: [] for place in found}
    debts = dict.fromkeys(found, 0)
    query = sa.select(accounts).where(accounts.c.customer_id.in_(known), accounts.c.is_open)
    for row in connection.execute(query.order_by(accounts.c.priority, accounts.c.expires_at, accounts.c.id)):
        if row.kind == "debt":
            debts[row.customer_id, row.unit] = row.debits_posted - row.credits_posted
        else:
            lots[row.customer_id, row.unit].append(row)
    for customer_id in known:
        for unit, wallet in model.customers[customer_id].wallets.items():
            where = f"stored: customer {customer_id}, {unit}"
            row = found[customer_id, unit]
            debt = debts[customer_id, unit]
            state = row.balance, debt, row.frozen_at, row.sequence, *(getattr(row, name) for name in TOTALS)
            compare(where, "wallet", state_of(wallet), state)
            open_lots = [
                (lot.id, lot.expires_at, lot.credits_posted - lot.debits_posted, lot.debits_pending)
                for lot in lots[customer_id, unit]
            ]
            compare(where, "lots", sorted(lots_of(wallet)), sorted(open_lots))
            looked_at = wallet.line_count - len(wallet.lines)
            lines = connection.execute(
                sa.select(entries.c.type, entries.c.amount, entries.c.balance_after)
                .where(entries.c.wallet_id == row.id, entries.c.sequence > looked_at)
                .order_by(entries.c.sequence)
            )
            compare(where, "lines", wallet.lines, [tuple(line) for line in lines])
            wallet.lines = []
            due_at = model.next_moment(customer_id)
            earliest = min(
                found[customer_id, each].next_due_at for each in model.customers[customer_id].wallets
            )
            if due_at < min(earliest, FOREVER):
                raise Mismatch(f"{where}: due at {due_at}, and nobody looks before {earliest}")


def compare_counters(connection: Connection, model: Model) -> None:
    """What budgets and hourly limits have counted."""
    spent = {
        (row.budget_id, row.period_at): row.spent for row in connection.execute(sa.select(budget_counters))
    }
    expected = {
        (budget.id, period): amount
        for budget in model.limits
        for period, amount in budget.spent.items()
        if amount
    }
    compare(
        "stored", "budget counters", expected, {place: amount for place, amount in spent.items() if amount}
    )
    calls = {
        (row.customer_id, row.meter, row.window_at): row.used
        for row in connection.execute(sa.select(hourly_counters))
    }
    compare(
        "stored", "hourly counters", {place: count for place, count in model.calls.items() if count}, calls
    )
