"""The ledger in the database: load what a batch touches into a Book, let operations change it, write what changed.

``post`` is the one posting function. Services call it inside their own database transaction, so that their rows commit
with the money; the group commit calls it for everyone who queued up. Every statement works on a whole batch. Customers
are locked first, by their wallets, in sorted order; whatever else is read belongs to them.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.adjustments import ClawbackResult, FreezeResult, GrantResult, RefundResult
from tallystick.core.book import Book, DueWork, GrantTerms, Hold, Lot, Membership, PastCharge, Transaction, Wallet
from tallystick.core.catalog import Economy
from tallystick.core.due import HOLD, MAX_EVENTS, START, settle
from tallystick.core.ids import to_text
from tallystick.core.limits import HOUR_MICROS, Budget, hour_of, period_start
from tallystick.core.membership import OpenCustomer, PlanResult, open_wallet
from tallystick.core.operations import ChargeResult, HoldResult, Limit, Operation, PricedOperation, ResolveResult
from tallystick.core.settlement import SettlementResult
from tallystick.core.words import DEBT, REVENUE, SYSTEM, SYSTEM_ACCOUNTS
from tallystick.store.driver import Change, Driver, Insert, Row
from tallystick.store.engine import raw_connection
from tallystick.store.seals import seal_of

RESULTS: Final[dict[str, type]] = {
    "charge": ChargeResult,
    "hold": HoldResult,
    "capture": ResolveResult,
    "release": ResolveResult,
    "refund": RefundResult,
    "grant": GrantResult,
    "void": GrantResult,
    "clawback": ClawbackResult,
    "freeze": FreezeResult,
    "thaw": FreezeResult,
    "plan_change": PlanResult,
    "sign_up": PlanResult,
    "settlement": SettlementResult,
}
_encode: Final = msgspec.json.Encoder().encode
_decoders: Final = {kind: msgspec.json.Decoder(result).decode for kind, result in RESULTS.items()}

_LOT_COLUMNS: Final = (
    "id, customer_id, unit, kind, category, origin, priority, effective_at, expires_at, voided, "
    "debits_posted, credits_posted, debits_pending"
)
_WALLETS: Final = (
    "SELECT id, customer_id, unit, debt_account_id, cover_id, frozen_at, next_due_at, has_budgets, sequence, last_at, "
    "balance, granted, purchased, earned, spent, expired, removed FROM wallets WHERE {ids:customer_id} ORDER BY id "
)
_OPEN_LOTS: Final = f"SELECT {_LOT_COLUMNS} FROM accounts WHERE {{ids:customer_id}} AND is_open"  # noqa: S608
_LOTS: Final = f"SELECT {_LOT_COLUMNS} FROM accounts WHERE {{ids:id}}"  # noqa: S608
_REPEATS: Final = "SELECT idempotency, kind, request_digest, result FROM transactions WHERE {names:idempotency}"
_HOURLY: Final = "SELECT customer_id, meter, window_at, used FROM hourly_counters WHERE {ids:customer_id} AND window_at = ?"
_HOLD_COLUMNS: Final = (
    "id, customer_id, status, maker, expires_at, meter, category, quantity, economy, amounts, spends, resolved_at, resolved_by"
)
_HOLDS: Final = f"SELECT {_HOLD_COLUMNS} FROM holds WHERE {{ids:id}}"  # noqa: S608
_LEGS: Final = "SELECT transaction_id, debit_id, amount FROM transfers WHERE {ids:transaction_id} AND phase = 1 ORDER BY 1, number"
_DUE_HOLDS: Final = (
    f"SELECT {_HOLD_COLUMNS} FROM holds WHERE {{ids:customer_id}} AND status = 'open' AND expires_at <= ? "  # noqa: S608
    f"ORDER BY expires_at, id LIMIT {MAX_EVENTS}"
)
_NEXT_HOLDS: Final = (
    "SELECT customer_id, MIN(expires_at) FROM holds WHERE {ids:customer_id} AND status = 'open' AND expires_at > ? "
    "GROUP BY customer_id"
)
_GRANT_COLUMNS: Final = (
    "id, amount, created_at, transaction_id, booked_at, voided_at, clawed_back, reason, reference, cost_micros"
)
_SCHEDULED: Final = (
    f"SELECT {_GRANT_COLUMNS} FROM grants WHERE {{ids:customer_id}} AND booked_at IS NULL AND effective_at <= ? "  # noqa: S608
    f"AND voided_at IS NULL ORDER BY effective_at, id LIMIT {MAX_EVENTS}"
)
_NEXT_SCHEDULED: Final = (
    "SELECT customer_id, MIN(effective_at) FROM grants WHERE {ids:customer_id} AND booked_at IS NULL "
    "AND effective_at > ? AND voided_at IS NULL GROUP BY customer_id"
)
_GRANTS: Final = f"SELECT {_GRANT_COLUMNS} FROM grants WHERE {{ids:id}}"  # noqa: S608
_MEMBERSHIPS: Final = (
    "SELECT customer_id, plan, since, anchor_at, period_start, period_end, granted FROM memberships WHERE {ids:customer_id}"
)
_CHARGES: Final = (
    "SELECT id, customer_id, unit, meter, category, kind, result FROM transactions "
    "WHERE {ids:id} AND kind IN ('charge', 'capture')"
)
_CHARGE_LEGS: Final = (
    "SELECT transaction_id, debit_id, amount FROM transfers WHERE {ids:transaction_id} AND phase IN (0, 2) "
    "AND {ids:credit_id} ORDER BY transaction_id, number"
)
_REFUND_LEGS: Final = (
    "SELECT s.subject_id, t.credit_id, t.amount FROM transactions s JOIN transfers t ON t.transaction_id = s.id "
    "WHERE {ids:s.subject_id} AND s.kind = 'refund'"
)
_BUDGETS: Final = (
    "SELECT b.id, b.customer_id, b.level, b.key_id, b.agent, b.unit, b.amount, b.per FROM budgets b "
    "WHERE {ids:b.customer_id} AND b.level <> 'key' UNION ALL "
    "SELECT b.id, b.customer_id, b.level, b.key_id, b.agent, b.unit, b.amount, b.per FROM budgets b "
    "WHERE {ids:b.key_id} AND b.level = 'key' ORDER BY 1"
)
_LOCK_BUDGETS: Final = "SELECT id FROM budgets WHERE {ids:id} ORDER BY id "
_SPENT: Final = "SELECT budget_id, period_at, spent FROM budget_counters WHERE {ids:budget_id} AND period_at IN (?, ?)"

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
_INSERT_ACCOUNTS: Final = Insert(
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
    "wallets", (("id", _B), ("customer_id", _B), ("unit", _T), ("debt_account_id", _B), ("next_due_at", _B))
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
_SET_WALLET_STATE: Final = Change("wallets", "id", sets=(("cover_id", _B), ("frozen_at", _B), ("next_due_at", _B)))
_SET_HAS_BUDGETS: Final = Change("wallets", "customer_id", sets=(("has_budgets", "boolean"),))
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
        ("seal", _T),
    ),
    "ON CONFLICT (customer_id) DO UPDATE SET plan = excluded.plan, since = excluded.since, "
    "anchor_at = excluded.anchor_at, period_start = excluded.period_start, period_end = excluded.period_end, "
    "granted = excluded.granted, seal = excluded.seal",
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


@dataclass(slots=True)
class Outcome:
    """What came of one operation: its result, or the refusal. ``replayed`` marks a repeat of something done before."""

    result: Any = None
    refusal: errors.Refusal | None = None
    replayed: bool = False

    def value(self) -> Any:  # noqa: ANN401 - the operation's result
        """The result, or raise the refusal."""
        if self.refusal is not None:
            raise self.refusal
        return self.result


@dataclass(frozen=True, slots=True)
class Trial:
    """What an operation would meet: the available amount, its hourly limit's state, and the refusal if there is one."""

    available: int
    limit: Limit | None
    refusal: errors.Refusal | None


def idempotency_of(scope: str, key: str) -> str:
    """What a key of one caller is stored and looked up under: short, whatever the key's length."""
    digest = hashlib.blake2b(f"{scope}\x00{key}".encode(), digest_size=15).digest()
    return base64.urlsafe_b64encode(digest).decode()


class KeptWallets:
    """Wallets as the last batches left them, for as long as nobody else has written to the database.

    ``version`` is what the driver says of the database: it changes with every commit of another connection, and is None
    where that cannot be known (then nothing is kept). What a batch takes is only put back after its commit, and not when
    another transaction of this process came in between: that one may have changed the same wallets.
    """

    def __init__(self, *, most: int = 20_000) -> None:
        self._most = most
        self._version: int | None = None
        self._wallets: dict[int, list[Wallet]] = {}
        self._latest: Book | None = None
        self._guard = threading.Lock()

    def take(self, book: Book, customers: Sequence[int], version: int | None) -> list[int]:
        """Move what is kept of these customers into the book; gives the customers that must be read."""
        with self._guard:
            self._latest = book
            return self._take(book, customers, version)

    def _take(self, book: Book, customers: Sequence[int], version: int | None) -> list[int]:
        if version is None or version != self._version:
            self._wallets.clear()
            self._version = version
            return list(customers)
        fresh: list[int] = []
        kept = self._wallets
        for customer_id in customers:
            wallets = kept.pop(customer_id, None)
            if wallets is None:
                fresh.append(customer_id)
                continue
            for wallet in wallets:
                book.wallets[customer_id, wallet.unit] = wallet
                for lot in wallet.lots:
                    book.lots[lot.id] = lot
        return fresh

    def put(self, book: Book) -> None:
        """Keep the book's wallets; the longest unused make room."""
        with self._guard:
            if self._version is not None and self._latest is book:
                self._put(book)
            self._latest = None

    def drop(self, customer_id: int) -> None:
        """Have the customer's wallets read anew, also where a batch is about to put them back."""
        with self._guard:
            self._wallets.pop(customer_id, None)
            self._latest = None

    def _put(self, book: Book) -> None:
        kept = self._wallets
        for (customer_id, _), wallet in book.wallets.items():
            wallet.settle_lots()
            kept.setdefault(customer_id, []).append(wallet)
        while len(kept) > self._most:
            del kept[next(iter(kept))]


class Ledger:
    """Posts operations. ``new_id`` makes ids; ``economy()`` gives the active economy."""

    def __init__(self, *, driver: Driver, new_id: Callable[[], int], economy: Callable[[], Economy]) -> None:
        self._driver = driver
        self._new_id = new_id
        self._economy = economy
        self._system: dict[tuple[str, str], int] = {}
        self._kept = KeptWallets()

    # --- accounts of the system ------------------------------------------------------------------------------------

    def open_units(self, connection: Connection, units: Iterable[str]) -> None:
        """Make sure that every unit has its system accounts; several processes may do so at once."""
        raw, driver = raw_connection(connection), self._driver
        self._kept = KeptWallets()
        rows = [
            (self._new_id(), SYSTEM, unit, code, None, None, None, None, None, None)
            for unit in units
            for code in SYSTEM_ACCOUNTS
            if (unit, code) not in self._system
        ]
        if rows:
            driver.insert(raw, _INSERT_ACCOUNTS._replace(suffix="ON CONFLICT DO NOTHING"), rows)
        statement = "SELECT unit, code, id FROM accounts WHERE code IS NOT NULL"
        [found] = driver.fetch(raw, [(statement, ())])
        self._system = {(unit, code): number for unit, code, number in found}

    def system_account(self, unit: str, code: str) -> int:
        """The id of a system account."""
        try:
            return self._system[unit, code]
        except KeyError:
            raise errors.UnknownUnit(unit) from None

    # --- posting ---------------------------------------------------------------------------------------------------

    def post(self, connection: Connection, operations: Sequence[Operation], *, now: int) -> list[Outcome]:
        """Apply ``operations`` in order inside the caller's database transaction; one that is refused changes nothing.

        What is due for the customers that are named is booked first. The caller commits.
        """
        return self.post_book(connection, operations, now=now)[0]

    def post_book(
        self, connection: Connection, operations: Sequence[Operation], *, now: int
    ) -> tuple[list[Outcome], Book]:
        """As ``post``, and gives the book, which ``keep`` may take after the commit."""
        raw = raw_connection(connection)
        book, repeats = self._load_settled(raw, operations, now)
        outcomes = [self._apply(book, operation, repeats) for operation in operations]
        self._flush(raw, book)
        return outcomes, book

    def try_out(self, connection: Connection, operation: PricedOperation, *, now: int) -> Trial:
        """What the operation would meet now: nothing of it is written, but what is due for the customer is booked."""
        raw = raw_connection(connection)
        book, _ = self._load_settled(raw, [operation], now)
        self._flush(raw, book)
        if operation.customer_id in book.missing:
            raise errors.UnknownCustomer(str(operation.customer_id))
        available = book.wallet(operation.customer_id, operation.parts[0].unit).available(now)
        limit = None
        if operation.hourly:
            meter, most, _ = operation.hourly[0]
            window_at = hour_of(now)
            used = book.hourly.get((operation.customer_id, meter, window_at), 0)
            limit = Limit(most, max(most - used, 0), window_at + HOUR_MICROS)
        try:
            operation.wallets_of(book)
        except errors.Refusal as refusal:
            return Trial(available, limit, refusal)
        return Trial(available, limit, None)

    def keep(self, book: Book) -> None:
        """After the commit of a batch: its wallets need not be read again while nobody else writes to the database."""
        self._kept.put(book)

    def settle(self, connection: Connection, customer_ids: Sequence[int], *, now: int) -> dict[str, int]:
        """Book whatever is due for these customers; gives how many events of each kind."""
        raw = raw_connection(connection)
        book, _ = self._load(raw, [], now, customer_ids=customer_ids)
        self._flush(raw, book)
        return book.settled

    def mark_budgets(self, connection: Connection, customer_id: int) -> None:
        """Have every charge of this customer look for budgets, and lock its wallets until the end of the transaction."""
        raw, driver = raw_connection(connection), self._driver
        driver.fetch(raw, [(_WALLETS + driver.for_update, (driver.numbers([customer_id]),))])
        driver.change(raw, _SET_HAS_BUDGETS, [(True, customer_id)])
        self._kept.drop(customer_id)

    def _apply(self, book: Book, operation: Operation, repeats: dict[str, Row]) -> Outcome:
        key = operation.idempotency
        if key is not None and key in repeats:
            _, kind, digest, result = repeats[key]
            if digest != operation.request_digest:
                return Outcome(refusal=errors.IdempotencyKeyReused())
            return Outcome(result=decode_result(kind, result) if isinstance(result, str) else result, replayed=True)
        if operation.customer_id in book.missing:
            return Outcome(refusal=errors.UnknownCustomer(str(operation.customer_id)))
        before = len(book.transactions)
        try:
            result = operation.apply(book)
        except errors.Refusal as refusal:
            return Outcome(refusal=refusal)
        transaction = book.transactions[before]
        transaction.result = _encode(result).decode()  # also without a key: the audit derives state from it
        if key is not None:
            repeats[key] = (key, transaction.kind, operation.request_digest, result)
        return Outcome(result=result)

    def _load_settled(self, raw: Any, operations: Sequence[Operation], now: int) -> tuple[Book, dict[str, Row]]:  # noqa: ANN401
        """As ``_load``, however much was due: nothing is drawn before all of it is booked."""
        book, repeats = self._load(raw, operations, now)
        while book.unsettled:
            self._flush(raw, book)
            book, repeats = self._load(raw, operations, now)
        return book, repeats

    # --- loading ---------------------------------------------------------------------------------------------------

    def _load(
        self, raw: Any, operations: Sequence[Operation], now: int, *, customer_ids: Sequence[int] = ()
    ) -> tuple[Book, dict[str, Row]]:  # noqa: ANN401
        driver = self._driver
        book = Book(now=now, new_id=self._new_id, system_account=self.system_account)
        wanted = {operation.customer_id for operation in operations if not isinstance(operation, OpenCustomer)}
        wanted.update(each.other_customer_id for each in operations if each.other_customer_id is not None)
        customers = sorted(wanted.union(customer_ids))
        fresh = self._kept.take(book, customers, driver.version(raw))
        ids = driver.numbers(fresh)
        keys = [operation.idempotency for operation in operations if operation.idempotency is not None]
        statements: list[tuple[str, Row]] = []
        if fresh:
            statements = [(_WALLETS + driver.for_update, (ids,)), (_OPEN_LOTS, (ids,))]
        if keys:
            statements.append((_REPEATS, (driver.names(keys),)))
        hourly = any(operation.hourly for operation in operations)
        if hourly:
            statements.append((_HOURLY, (driver.numbers(customers), hour_of(now))))
        rows = driver.fetch(raw, statements)
        if fresh:
            for row in rows[0]:
                book.add_wallet(Wallet(*row))
            book.missing = set(fresh).difference([owner for owner, _ in book.wallets])
            self._open_missing_wallets(book, customers)
            for row in rows[1]:
                self._add_account(book, row)
        repeats = {row[0]: row for row in rows[2 if fresh else 0]} if keys else {}
        if hourly:
            book.hourly = {(customer, meter, at): used for customer, meter, at, used in rows[-1]}
        self._load_named(raw, book, operations)
        self._load_budgets(raw, book, operations)
        due = {wallet.customer_id for wallet in book.wallets.values() if wallet.next_due_at <= now}
        joining = {each.customer_id for each in operations if each.kind == "plan_change"}
        if due or joining:
            self._load_due(raw, book, sorted(due | joining), now)
            for customer_id in sorted(due):
                self._settle(book, customer_id)
        return book, repeats

    def _settle(self, book: Book, customer_id: int) -> None:
        economy = self._economy()
        for name, count in settle(book, customer_id, economy.plans.get, economy.priority).items():
            book.settled[name] = book.settled.get(name, 0) + count

    def _open_missing_wallets(self, book: Book, customers: Sequence[int]) -> None:
        """A unit that the economy gained later gets its wallets when they are first looked at."""
        units = self._economy().units
        if len(book.wallets) == len(customers) * len(units):
            return
        for customer_id in customers:
            for unit in units:
                if customer_id not in book.missing and (customer_id, unit) not in book.wallets:
                    open_wallet(book, customer_id, unit)

    def _add_account(self, book: Book, row: Row) -> None:
        if row[3] == DEBT:
            book.wallet(row[1], row[2]).debt = row[10] - row[11]
        else:
            book.add_lot(Lot(*row))

    def _load_named(self, raw: Any, book: Book, operations: Sequence[Operation]) -> None:  # noqa: ANN401
        """What operations name beside their customer: holds, charges to refund, grants."""
        hold_ids = sorted({each.hold_id for each in operations if each.hold_id is not None})
        if hold_ids:
            self._load_holds(raw, book, _HOLDS, (self._driver.numbers(hold_ids),))
        charge_ids = sorted({each.charge_id for each in operations if each.charge_id is not None})
        if charge_ids:
            self._load_charges(raw, book, charge_ids)
        grant_ids = sorted({each.grant_id for each in operations if each.grant_id is not None})
        if grant_ids:
            self._load_grants(raw, book, _GRANTS, (self._driver.numbers(grant_ids),))

    def _load_holds(self, raw: Any, book: Book, statement: str, parameters: Row) -> list[Hold]:  # noqa: ANN401
        driver = self._driver
        [rows] = driver.fetch(raw, [(statement, parameters)])
        holds: list[Hold] = []
        for row in rows:
            known = book.holds.get(row[0])
            holds.append(known if known is not None else self._hold(row))
        fresh = {hold.id: hold for hold in holds if hold.id not in book.holds}
        if fresh:
            [legs] = driver.fetch(raw, [(_LEGS, (driver.numbers(fresh),))])
            self._load_lots(raw, book, [lot_id for _, lot_id, _ in legs])
            for hold_id, lot_id, amount in legs:
                fresh[hold_id].legs.append((book.lots[lot_id], amount))
            book.holds.update(fresh)
        return holds

    def _hold(self, row: Row) -> Hold:
        hold = Hold(id=row[0], customer_id=row[1], status=row[2], maker=row[3], expires_at=row[4])
        hold.meter, hold.category, hold.quantity, hold.economy = row[5:9]
        hold.amounts = tuple((unit, amount) for unit, amount in json.loads(row[9]))
        hold.spends = tuple((number, unit, at, amount) for number, unit, at, amount in json.loads(row[10]))
        hold.resolved_at, hold.resolved_by = row[11:13]
        return hold

    def _load_lots(self, raw: Any, book: Book, lot_ids: Iterable[int]) -> None:  # noqa: ANN401
        missing = sorted(set(lot_ids).difference(book.lots))
        if missing:
            [rows] = self._driver.fetch(raw, [(_LOTS, (self._driver.numbers(missing),))])
            for row in rows:
                if row[3] not in {DEBT, SYSTEM}:
                    book.add_lot(Lot(*row))

    def _load_charges(self, raw: Any, book: Book, charge_ids: Sequence[int]) -> None:  # noqa: ANN401
        driver = self._driver
        ids = driver.numbers(charge_ids)
        found, legs, refunds = driver.fetch(
            raw, [(_CHARGES, (ids,)), (_CHARGE_LEGS, (ids, self._revenue())), (_REFUND_LEGS, (ids,))]
        )
        for number, customer_id, unit, meter, category, kind, result in found:
            charge = PastCharge(id=number, customer_id=customer_id, unit=unit, meter=meter, category=category)
            if result is not None:
                charge.spends = decode_result(kind, result).spends
            book.charges[number] = charge
        self._load_lots(raw, book, [lot_id for _, lot_id, _ in legs] + [lot_id for _, lot_id, _ in refunds])
        for number, lot_id, amount in legs:
            if number in book.charges:
                book.charges[number].draws.append((book.lots[lot_id], amount))
        for number, lot_id, amount in refunds:
            refunded = book.charges[number].refunded
            if lot_id in book.lots:
                refunded[lot_id] = refunded.get(lot_id, 0) + amount

    def _revenue(self) -> Any:  # noqa: ANN401
        """What a charge pays; a capture may give to other accounts too, such as what a lapsed lot had released."""
        return self._driver.numbers(number for (_, code), number in self._system.items() if code == REVENUE)

    def _load_grants(self, raw: Any, book: Book, statement: str, parameters: Row) -> list[GrantTerms]:  # noqa: ANN401
        [rows] = self._driver.fetch(raw, [(statement, parameters)])
        self._load_lots(raw, book, [row[0] for row in rows])
        found: list[GrantTerms] = []
        for row in rows:
            terms = book.grants.get(row[0])
            if terms is None:
                terms = GrantTerms(
                    lot=book.lots[row[0]], amount=row[1], created_at=row[2], transaction_id=row[3]
                )
                terms.booked_at, terms.voided_at, terms.clawed_back = row[4:7]
                terms.reason, terms.reference, terms.cost_micros = row[7:10]
                book.grants[row[0]] = terms
            found.append(terms)
        return found

    def _load_due(self, raw: Any, book: Book, customer_ids: Sequence[int], now: int) -> None:  # noqa: ANN401
        driver = self._driver
        ids = driver.numbers(customer_ids)
        for customer_id in customer_ids:
            book.due[customer_id] = DueWork()
        holds = self._load_holds(raw, book, _DUE_HOLDS, (ids, now))
        scheduled = self._load_grants(raw, book, _SCHEDULED, (ids, now))
        for hold in holds:
            book.due[hold.customer_id].holds.append(hold)
        for terms in scheduled:
            book.due[terms.lot.customer_id].scheduled.append(terms)
        # Where a limit cut them off, nobody is settled past the last one that was read.
        ends = [(holds[-1].expires_at, HOLD)] if len(holds) == MAX_EVENTS else []
        ends += [(scheduled[-1].lot.effective_at, START)] if len(scheduled) == MAX_EVENTS else []
        for customer_id in customer_ids:
            book.due[customer_id].read_until = min(ends, default=None)
        next_holds, next_grants, memberships = driver.fetch(
            raw, [(_NEXT_HOLDS, (ids, now)), (_NEXT_SCHEDULED, (ids, now)), (_MEMBERSHIPS, (ids,))]
        )
        for customer_id, at in next_holds:
            book.due[customer_id].next_hold_at = at
        for customer_id, at in next_grants:
            book.due[customer_id].next_grant_at = at
        for customer_id, plan, since, anchor_at, start, end, granted in memberships:
            book.memberships[customer_id] = Membership(
                customer_id=customer_id,
                plan=plan,
                since=since,
                anchor_at=anchor_at,
                period_start=start,
                period_end=end,
                granted=json.loads(granted),
            )

    def _load_budgets(self, raw: Any, book: Book, operations: Sequence[Operation]) -> None:  # noqa: ANN401
        customers = sorted({wallet.customer_id for wallet in book.wallets.values() if wallet.has_budgets})
        keys = sorted({each.key_id for each in operations if each.key_has_budget and each.key_id is not None})
        if not customers and not keys:
            return
        driver = self._driver
        [rows] = driver.fetch(raw, [(_BUDGETS, (driver.numbers(customers), driver.numbers(keys)))])
        ids = driver.numbers(row[0] for row in rows)
        periods = {per: period_start(per, book.now) for per in ("day", "month")}
        _, spent = driver.fetch(
            raw,
            [(_LOCK_BUDGETS + driver.for_update, (ids,)), (_SPENT, (ids, periods["day"], periods["month"]))],
        )
        counters = {(budget_id, at): amount for budget_id, at, amount in spent}
        for number, customer_id, level, key_id, agent, unit, amount, per in rows:
            subject = {"customer": customer_id, "agent": agent, "key": key_id}[level]
            budget = Budget(
                id=number,
                level=level,
                subject=subject_text(level, subject),
                unit=unit,
                limit=amount,
                per=per,
                period_at=periods[per],
                spent=counters.get((number, periods[per]), 0),
            )
            where = ("key", key_id, "") if level == "key" else (level, customer_id, agent or "")
            book.add_budget(where, budget)

    # --- writing ---------------------------------------------------------------------------------------------------

    def _flush(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        """Write what the book changed, one statement per table; on PostgreSQL nobody waits for them before the commit."""
        driver = self._driver
        with driver.pipeline(raw):
            if book.new_wallets:
                self._insert_wallets(raw, book)
            if book.new_grants:
                self._insert_grants(raw, book)
            if book.transactions:
                driver.insert(raw, _INSERT_TRANSACTIONS, _transaction_rows(book))
            if book.transfers:
                driver.insert(raw, _INSERT_TRANSFERS, book.transfers)
            if book.entries:
                driver.insert(raw, _INSERT_ENTRIES, book.entries)
            if book.touched:
                self._update_wallets(raw, book)
            if book.placed:
                driver.insert(raw, _INSERT_HOLDS, [_hold_row(hold) for hold in book.placed])
            self._update_terms(raw, book)
            if book.hourly_deltas:
                rows = [(*key, used) for key, used in sorted(book.hourly_deltas.items())]
                driver.insert(raw, _COUNT_HOURLY, rows)
            if book.budget_deltas:
                rows = [(*key, spent) for key, spent in sorted(book.budget_deltas.items())]
                driver.insert(raw, _COUNT_BUDGETS, rows)
            if book.deltas:
                self._update_accounts(raw, book)

    def _insert_wallets(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        wallets = book.new_wallets
        self._driver.insert(
            raw,
            _INSERT_ACCOUNTS,
            [
                (wallet.debt_account_id, DEBT, wallet.unit, None, wallet.customer_id, None, None, None, None, None)
                for wallet in wallets
            ],
        )
        self._driver.insert(
            raw,
            _INSERT_WALLETS,
            [(each.id, each.customer_id, each.unit, each.debt_account_id, each.next_due_at) for each in wallets],
        )

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
        self._driver.insert(raw, _INSERT_ACCOUNTS, accounts)
        self._driver.insert(raw, _INSERT_GRANTS, rows)

    def _update_wallets(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        wallets = book.touched.values()
        self._driver.change(
            raw,
            _SET_WALLETS,
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
                raw, _SET_GRANTS, [(each.booked_at, each.voided_at, each.clawed_back, each.lot.id) for each in terms]
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
                (each.customer_id, each.plan, each.since, each.anchor_at, each.period_start, each.period_end)
                + (json.dumps(each.granted),)
                for each in book.changed_memberships.values()
            ]
            driver.insert(raw, _UPSERT_MEMBERSHIPS, [(*row, seal_of(row)) for row in rows])

    def _update_accounts(self, raw: Any, book: Book) -> None:  # noqa: ANN401
        """Fold: one update per account, however many operations moved it. System accounts come last, in sorted order."""
        driver, lots = self._driver, book.lots
        system = set(self._system.values())
        rows = [(*change, number) for number, change in book.deltas.items() if number not in system]
        driver.change(raw, _ADD_TO_ACCOUNTS, rows)
        flipped = [
            (lot.credits > lot.debits, lot.id)
            for lot in (lots[number] for number in book.deltas if number in lots)
            if (lot.credits > lot.debits) != lot.stored_open
        ]
        for wallet in book.wallets.values():
            if wallet.debt_account_id in book.deltas:
                flipped.append((wallet.debt > 0, wallet.debt_account_id))
        if flipped:
            driver.change(raw, _SET_OPEN, flipped)
        for number in sorted(system.intersection(book.deltas)):
            driver.change(raw, _ADD_TO_ACCOUNTS, [(*book.deltas[number], number)])


def decode_result(kind: str, text: str) -> Any:  # noqa: ANN401 - one of RESULTS
    """The first answer of an operation, from the journal."""
    return _decoders[kind](text)


def subject_text(level: str, subject: Any) -> str:  # noqa: ANN401 - an id or an agent's name
    """What a budget is named by in a refusal."""
    prefixes = {"customer": "cust", "key": "key"}
    return to_text(prefixes[level], subject) if level in prefixes else str(subject)


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
    """What never changes of a grant, its account's terms included; ``store.audit.journal`` reads the same back."""
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
