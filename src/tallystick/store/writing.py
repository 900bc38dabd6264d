"""Writing: what a Book changed, one statement per table and one update per row, however many operations moved it."""

import json
from operator import attrgetter
from typing import Any, Final

from tallystick.core.book import Book
from tallystick.core.holdings import GrantTerms, Hold, Transaction, Wallet
from tallystick.core.words import DEBT
from tallystick.store import task_rows
from tallystick.store.driver import Change, Driver, Insert, Row
from tallystick.store.notifications import write_events
from tallystick.store.seals import seal_of
from tallystick.store.system import SystemAccounts

_B, _T = "bigint", "text"
_INSERT_TRANSACTIONS: Final = Insert(
    "transactions",
    (
        ("id", _B),
        ("kind", _T),
        ("at", _B),
        ("customer_id", _B),
        ("caller", _T),
        ("agent", _T),
        ("idempotency", _T),
        ("idempotency_key", _T),
        ("request_digest", _T),
        ("unit", _T),
        ("amount", _B),
        ("meter", _T),
        ("category", _T),
        ("quantity", _B),
        ("economy", _T),
        ("subject_id", _B),
        ("description", _T),
        ("metadata", _T),
        ("result", _T),
        ("seal", _T),
    ),
)
_INSERT_TRANSFERS: Final = Insert(
    "transfers",
    (
        ("transaction_id", _B),
        ("number", "smallint"),
        ("debit_id", _B),
        ("credit_id", _B),
        ("amount", _B),
        ("phase", "smallint"),
        ("hold_id", _B),
    ),
)
_INSERT_ENTRIES: Final = Insert(
    "entries",
    (
        ("transaction_id", _B),
        ("number", "smallint"),
        ("wallet_id", _B),
        ("sequence", _B),
        ("at", _B),
        ("type", _T),
        ("category", _T),
        ("meter", _T),
        ("amount", _B),
        ("balance_after", _B),
    ),
)
INSERT_ACCOUNTS: Final = Insert(
    "accounts",
    (
        ("id", _B),
        ("kind", _T),
        ("unit", _T),
        ("code", _T),
        ("customer_id", _B),
        ("category", _T),
        ("origin", _T),
        ("priority", "smallint"),
        ("effective_at", _B),
        ("expires_at", _B),
    ),
)
_INSERT_GRANTS: Final = Insert(
    "grants",
    (
        ("id", _B),
        ("customer_id", _B),
        ("wallet_id", _B),
        ("transaction_id", _B),
        ("amount", _B),
        ("reason", _T),
        ("reference", _T),
        ("cost_micros", _B),
        ("created_at", _B),
        ("effective_at", _B),
        ("first_expires_at", _B),
        ("booked_at", _B),
    ),
)
_INSERT_WALLETS: Final = Insert(
    "wallets",
    (
        ("id", _B),
        ("customer_id", _B),
        ("unit", _T),
        ("debt_account_id", _B),
        ("next_due_at", _B),
        ("has_budgets", "boolean"),
        ("told_below", _B),
        ("watch_below", _B),
        ("watch_above", _B),
        ("refill_below", _B),
    ),
)
_INSERT_ALERTS: Final = Insert(
    "balance_alerts",
    (("wallet_id", _B), ("customer_id", _B), ("unit", _T), ("at", _B)),
    "ON CONFLICT (wallet_id) DO NOTHING",
)
_INSERT_HOLDS: Final = Insert(
    "holds",
    (
        ("id", _B),
        ("customer_id", _B),
        ("status", _T),
        ("maker", _T),
        ("expires_at", _B),
        ("meter", _T),
        ("category", _T),
        ("quantity", _B),
        ("economy", _T),
        ("amounts", _T),
        ("spends", _T),
        ("resolved_at", _B),
        ("resolved_by", _B),
    ),
)
_ADD_TO_ACCOUNTS: Final = Change(
    "accounts", "id", adds=("debits_posted", "credits_posted", "debits_pending", "credits_pending")
)
_SET_OPEN: Final = Change("accounts", "id", sets=(("is_open", "boolean"),))
_SET_TERMS: Final = Change("accounts", "id", sets=(("expires_at", _B), ("voided", "boolean")))
_SET_GRANTS: Final = Change("grants", "id", sets=(("booked_at", _B), ("voided_at", _B), ("clawed_back", _B)))
_SET_HOLDS: Final = Change("holds", "id", sets=(("status", _T), ("resolved_at", _B), ("resolved_by", _B)))
_SET_WALLETS: Final = Change(
    "wallets",
    "id",
    sets=(
        ("sequence", _B),
        ("last_at", _B),
        ("balance", _B),
        ("granted", _B),
        ("purchased", _B),
        ("earned", _B),
        ("spent", _B),
        ("expired", _B),
        ("removed", _B),
    ),
)
_SET_STAMPED_WALLETS: Final = _SET_WALLETS._replace(stamped=True)
_SET_WALLET_STATE: Final = Change(
    "wallets", "id", sets=(("cover_id", _B), ("frozen_at", _B), ("next_due_at", _B))
)
SET_WATCH: Final = Change(
    "wallets",
    "id",
    sets=(("told_below", _B), ("watch_below", _B), ("watch_above", _B), ("refill_below", _B)),
)
SET_HAS_BUDGETS: Final = Change("wallets", "customer_id", sets=(("has_budgets", "boolean"),))
_UPSERT_MEMBERSHIPS: Final = Insert(
    "memberships",
    (
        ("customer_id", _B),
        ("plan", _T),
        ("since", _B),
        ("anchor_at", _B),
        ("period_start", _B),
        ("period_end", _B),
        ("granted", _T),
        ("paid_by", _T),
        ("paid_from", _B),
        ("granted_before", _T),
        ("seal", _T),
    ),
    "ON CONFLICT (customer_id) DO UPDATE SET plan = excluded.plan, since = excluded.since, "
    "anchor_at = excluded.anchor_at, period_start = excluded.period_start, period_end = excluded.period_end, "
    "granted = excluded.granted, paid_by = excluded.paid_by, paid_from = excluded.paid_from, "
    "granted_before = excluded.granted_before, seal = excluded.seal",
)
_COUNT_HOURLY: Final = Insert(
    "hourly_counters",
    (("customer_id", _B), ("meter", _T), ("window_at", _B), ("used", _B)),
    "ON CONFLICT (customer_id, meter, window_at) DO UPDATE SET used = hourly_counters.used + excluded.used",
)
_COUNT_BUDGETS: Final = Insert(
    "budget_counters",
    (("budget_id", _B), ("period_at", _B), ("spent", _B)),
    "ON CONFLICT (budget_id, period_at) DO UPDATE SET spent = budget_counters.spent + excluded.spent",
)


_by_id: Final = attrgetter("id")


class Writer:
    """Writes Books."""

    def __init__(self, *, driver: Driver, system: SystemAccounts) -> None:
        self._driver = driver
        self._system = system

    def write(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        """Write what the book changed, one statement per table; on PostgreSQL nobody waits for them before the commit."""
        driver = self._driver
        with driver.pipeline(raw):
            if book.new_wallets:
                self._insert_wallets(raw, book)
            self._touch_owners(book)
            if book.touched:  # First: they are locked in sorted order, and everything else belongs to them.
                self._update_wallets(raw, book)
            self._alert(raw, book)
            # What takes longest to write down goes last: PostgreSQL is busy with the rest meanwhile.
            if book.transfers:
                driver.insert(raw, _INSERT_TRANSFERS, book.transfers)
            if book.entries:
                driver.insert(raw, _INSERT_ENTRIES, book.entries)
            if book.new_grants:
                self._insert_grants(raw, book)
            if book.placed:
                driver.insert(raw, _INSERT_HOLDS, [_hold_row(hold) for hold in book.placed])
            task_rows.write(driver, raw, book)
            self._update_terms(raw, book)
            self._count(raw, book)
            if book.deltas:
                self._update_accounts(raw, book)
            if book.transactions:
                driver.insert(raw, _INSERT_TRANSACTIONS, _transaction_rows(book))
            if book.deltas:
                self._update_system_accounts(raw, book)

    def _count(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        """Add to the counters of hourly limits, budgets and notifications, in sorted order."""
        if book.hourly_deltas:
            calls = [(*key, used) for key, used in sorted(book.hourly_deltas.items())]
            self._driver.insert(raw, _COUNT_HOURLY, calls)
        if book.budget_deltas:
            spent = [(*key, amount) for key, amount in sorted(book.budget_deltas.items())]
            self._driver.insert(raw, _COUNT_BUDGETS, spent)
        if book.events:
            write_events(self._driver, raw, book.new_id, book.events)

    def _insert_wallets(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        wallets = book.new_wallets
        self._driver.insert(
            raw,
            INSERT_ACCOUNTS,
            [
                (
                    wallet.debt_account_id,
                    DEBT,
                    wallet.unit,
                    None,
                    wallet.customer_id,
                    None,
                    None,
                    None,
                    None,
                    None,
                )
                for wallet in wallets
            ],
        )
        self._driver.insert(
            raw,
            _INSERT_WALLETS,
            [
                (
                    each.id,
                    each.customer_id,
                    each.unit,
                    each.debt_account_id,
                    each.next_due_at,
                    each.has_budgets,
                    *each.watch,
                    each.refill_below,
                )
                for each in wallets
            ],
        )

    def _alert(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        """Have a worker look at the wallets that it concerns; their rows are locked by now."""
        alerts = book.alerts()
        if alerts:
            self.alert(raw, alerts, now=book.now)
            book.alerted = True

    def alert(self, raw: Any, wallets: list[Wallet], *, now: int) -> None:  # noqa: ANN401
        """Note that these wallets are to be looked at; once is enough."""
        rows = [(each.id, each.customer_id, each.unit, now) for each in wallets]
        self._driver.insert(raw, _INSERT_ALERTS, sorted(rows))

    def _insert_grants(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        accounts, rows = [], []
        for terms in book.new_grants:
            lot = terms.lot
            accounts.append(
                (
                    lot.id,
                    lot.kind,
                    lot.unit,
                    None,
                    lot.customer_id,
                    lot.category,
                    lot.origin,
                    lot.priority,
                    lot.effective_at,
                    lot.expires_at,
                )
            )
            rows.append(
                (
                    lot.id,
                    lot.customer_id,
                    book.wallet(lot.customer_id, lot.unit).id,
                    terms.transaction_id,
                    terms.amount,
                    terms.reason,
                    terms.reference,
                    terms.cost_micros,
                    terms.created_at,
                    lot.effective_at,
                    terms.first_expires_at,
                    terms.booked_at,
                )
            )
            book.changed_grants.pop(lot.id, None)
        self._driver.insert(raw, INSERT_ACCOUNTS, accounts)
        self._driver.insert(raw, _INSERT_GRANTS, rows)

    def _touch_owners(self, book: Book) -> None:
        """Where rows have stamps, a wallet's row tells of every change to its lots."""
        if self._driver.stamp is None:
            return
        lots = [book.lots[number] for number in book.deltas if number in book.lots]
        for lot in (*lots, *book.moved_expiry.values()):
            wallet = book.wallet(lot.customer_id, lot.unit)
            book.touched[wallet.id] = wallet

    def _update_wallets(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        wallets = sorted(book.touched.values(), key=_by_id)
        stamped = self._driver.stamp is not None
        book.stamps = self._driver.change(
            raw,
            _SET_STAMPED_WALLETS if stamped else _SET_WALLETS,
            [
                (
                    wallet.sequence,
                    wallet.last_at,
                    wallet.balance,
                    wallet.granted,
                    wallet.purchased,
                    wallet.earned,
                    wallet.spent,
                    wallet.expired,
                    wallet.removed,
                    *((wallet.stamp,) if stamped else ()),
                    wallet.id,
                )
                for wallet in wallets
            ],
        )
        state = [
            (wallet.cover_id, wallet.frozen_at, wallet.next_due_at, wallet.id)
            for wallet in wallets
            if wallet.state_changed()
        ]
        if state:
            self._driver.change(raw, _SET_WALLET_STATE, state)

    def _update_terms(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        driver = self._driver
        if book.changed_grants:
            terms = book.changed_grants.values()
            driver.change(
                raw,
                _SET_GRANTS,
                [(each.booked_at, each.voided_at, each.clawed_back, each.lot.id) for each in terms],
            )
        lots = {lot.id: lot for lot in book.moved_expiry.values()}
        lots.update({each.lot.id: each.lot for each in book.changed_grants.values() if each.lot.voided})
        if lots:
            driver.change(raw, _SET_TERMS, [(lot.expires_at, lot.voided, lot.id) for lot in lots.values()])
        if book.resolved:
            driver.change(
                raw,
                _SET_HOLDS,
                [(hold.status, hold.resolved_at, hold.resolved_by, hold.id) for hold in book.resolved],
            )
        if book.changed_memberships:
            rows = [
                (
                    each.customer_id,
                    each.plan,
                    each.since,
                    each.anchor_at,
                    each.period_start,
                    each.period_end,
                    json.dumps(each.granted),
                    each.paid_by,
                    each.paid_from,
                    json.dumps(each.before),
                )
                for each in book.changed_memberships.values()
            ]
            driver.insert(raw, _UPSERT_MEMBERSHIPS, [(*row, seal_of(row)) for row in rows])

    def _update_accounts(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        """Fold: one update per account, however many operations moved it."""
        driver, lots = self._driver, book.lots
        system = self._system.all_ids
        rows = [(*change, number) for number, change in book.deltas.items() if number not in system]
        driver.change(raw, _ADD_TO_ACCOUNTS, rows)
        flipped = [
            (lot.credits > lot.debits, lot.id)
            for lot in (lots[number] for number in book.deltas if number in lots)
            if (lot.credits > lot.debits) != lot.stored_open
        ]
        flipped += [
            (wallet.debt > 0, wallet.debt_account_id)
            for wallet in book.wallets.values()
            if wallet.debt_account_id in book.deltas
        ]
        if flipped:
            driver.change(raw, _SET_OPEN, flipped)

    def _update_system_accounts(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        """All processes update these rows: last, so that nobody waits for them long, and in sorted order."""
        driver, system = self._driver, self._system.all_ids
        for number in sorted(number for number in book.deltas if number in system):
            driver.change(raw, _ADD_TO_ACCOUNTS, [(*book.deltas[number], number)])


def _transaction_rows(book: Book) -> list[Row]:
    transfers: dict[int, list[Row]] = {}
    for transfer in book.transfers:
        transfers.setdefault(transfer[0], []).append(transfer)
    entries: dict[int, list[Row]] = {}
    for entry in book.entries:
        entries.setdefault(entry[0], []).append(entry)
    made = {hold.id: [_sealed_hold(hold)] for hold in book.placed}
    for terms in book.new_grants:
        made.setdefault(terms.transaction_id, []).append(_sealed_grant(terms, book))
    rows = []
    for each in book.transactions:
        row = _transaction_row(each)
        number = each.id
        content = (row, transfers.get(number, ()), entries.get(number, ()), made.get(number, ()))
        rows.append((*row, seal_of(content)))
    return rows


def _transaction_row(each: Transaction) -> Row:
    return (
        each.id,
        each.kind,
        each.at,
        each.customer_id,
        each.caller,
        each.agent,
        each.idempotency,
        each.idempotency_key,
        each.request_digest,
        each.unit,
        each.amount,
        each.meter,
        each.category,
        each.quantity,
        each.economy,
        each.subject_id,
        each.description,
        each.metadata,
        each.result,
    )


def _sealed_grant(terms: GrantTerms, book: Book) -> Row:
    """What never changes of a grant and its account; ``store.audit.journal`` reads the same back."""
    lot = terms.lot
    return (
        lot.id,
        lot.customer_id,
        book.wallet(lot.customer_id, lot.unit).id,
        lot.unit,
        lot.kind,
        lot.category,
        lot.origin,
        lot.priority,
        terms.amount,
        terms.reason,
        terms.reference,
        terms.cost_micros,
        terms.created_at,
        lot.effective_at,
        terms.first_expires_at,
    )


def _sealed_hold(hold: Hold) -> Row:
    """What never changes of a hold; ``store.audit.journal`` reads the same back."""
    return (
        hold.id,
        hold.customer_id,
        hold.maker,
        hold.expires_at,
        hold.meter,
        hold.category,
        hold.quantity,
        hold.economy,
        hold.amounts,
        hold.spends,
    )


def _hold_row(hold: Hold) -> Row:
    return (
        hold.id,
        hold.customer_id,
        hold.status,
        hold.maker,
        hold.expires_at,
        hold.meter,
        hold.category,
        hold.quantity,
        hold.economy,
        json.dumps(hold.amounts),
        json.dumps(hold.spends),
        hold.resolved_at,
        hold.resolved_by,
    )
