"""Loading: what a batch touches, read into a Book with a few statements, whatever its size.

Customers are locked first, by their wallets, in sorted order; whatever else is read belongs to them.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from tallystick.core.book import Book
from tallystick.core.catalog import Economy
from tallystick.core.due import HOLD, MAX_EVENTS, START, settle
from tallystick.core.holdings import DueWork, GrantTerms, Hold, Lot, Membership, PastCharge, Wallet
from tallystick.core.limits import Budget, hour_of, period_start
from tallystick.core.membership import OpenCustomer, open_wallet, watch_from_now
from tallystick.core.operations import Operation, PricedOperation
from tallystick.core.tasks import MAKER
from tallystick.core.words import DEBT, REVENUE, SYSTEM, VOID_PENDING
from tallystick.store import task_rows
from tallystick.store.driver import Driver, Row
from tallystick.store.kept import KeptWallets, StampedWallets
from tallystick.store.results import PLAN_KINDS, decode_result, subject_text
from tallystick.store.system import SystemAccounts

_LOT_COLUMNS: Final = (
    "id, customer_id, unit, kind, category, origin, priority, effective_at, expires_at, voided, "
    "debits_posted, credits_posted, debits_pending"
)
WALLETS: Final = (
    "SELECT id, customer_id, unit, debt_account_id, cover_id, frozen_at, next_due_at, has_budgets, sequence, last_at, "
    "balance, granted, purchased, earned, spent, expired, removed, told_below, watch_below, watch_above, "
    "refill_below{stamp} FROM wallets WHERE {ids:customer_id} ORDER BY id "
)
_OPEN_LOTS: Final = f"SELECT {_LOT_COLUMNS} FROM accounts WHERE {{ids:customer_id}} AND is_open"  # noqa: S608
_LOTS: Final = f"SELECT {_LOT_COLUMNS} FROM accounts WHERE {{ids:id}}"  # noqa: S608
_REPEATS: Final = (
    "SELECT idempotency, kind, request_digest, result FROM transactions WHERE {names:idempotency}"
)
_HOURLY: Final = "SELECT customer_id, meter, window_at, used FROM hourly_counters WHERE {ids:customer_id} AND window_at = ?"
_HOLD_COLUMNS: Final = (
    "id, customer_id, status, maker, expires_at, meter, category, quantity, economy, amounts, spends, "
    "resolved_at, resolved_by"
)
_HOLDS: Final = f"SELECT {_HOLD_COLUMNS} FROM holds WHERE {{ids:id}}"  # noqa: S608
_LEGS: Final = (
    "SELECT transaction_id, debit_id, amount FROM transfers WHERE {ids:transaction_id} AND phase = 1 "
    "ORDER BY 1, number"
)
_DUE_HOLDS: Final = (
    f"SELECT {_HOLD_COLUMNS} FROM holds WHERE {{ids:customer_id}} AND status = 'open' AND expires_at <= ? "  # noqa: S608
    f"ORDER BY expires_at, id LIMIT {MAX_EVENTS}"
)
_NEXT_HOLDS: Final = (
    "SELECT customer_id, MIN(expires_at) FROM holds WHERE {ids:customer_id} AND status = 'open' AND expires_at > ? "
    "GROUP BY customer_id"
)
_GRANT_COLUMNS: Final = (
    "id, amount, created_at, transaction_id, booked_at, voided_at, clawed_back, "
    "reason, reference, cost_micros"
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
    "SELECT customer_id, plan, since, anchor_at, period_start, period_end, granted, paid_by, paid_from, "
    "granted_before FROM memberships WHERE {ids:customer_id}"
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
_SPENT: Final = (
    "SELECT budget_id, period_at, spent FROM budget_counters WHERE {ids:budget_id} AND period_at IN (?, ?)"
)


class Loader:
    """Reads Books."""

    def __init__(
        self,
        *,
        driver: Driver,
        new_id: Callable[[], int],
        economy: Callable[[], Economy],
        system: SystemAccounts,
    ) -> None:
        self._driver = driver
        self._new_id = new_id
        self._economy = economy
        self._system = system
        self.kept = KeptWallets()
        self.stamped = None if driver.stamp is None else StampedWallets()
        self.wallets = WALLETS.replace("{stamp}", "" if driver.stamp is None else f", {driver.stamp}")

    def recall(self, operations: Sequence[Operation], now: int) -> Book | None:
        """A book for these operations without reading anything; None where something must be read or booked first."""
        if self.stamped is None:
            return None
        book = self._new_book(now)
        simple = all(
            isinstance(each, PricedOperation)
            and not each.hourly
            and not each.key_has_budget
            and each.task_id is None
            for each in operations
        )
        customers = {each.customer_id for each in operations}
        if not self.stamped.take(book, customers) or not simple:
            return None
        settled = all(each.next_due_at > now and not each.has_budgets for each in book.wallets.values())
        complete = len(book.wallets) == len(customers) * len(self._economy().units)
        return book if settled and complete else None

    def _new_book(self, now: int) -> Book:
        return Book(now=now, new_id=self._new_id, system_account=self._system.id_of)

    def load(
        self,
        raw: Any,  # noqa: ANN401 - the driver's own connection
        operations: Sequence[Operation],
        now: int,
        *,
        customer_ids: Sequence[int] = (),
    ) -> tuple[Book, dict[str, Row]]:
        """What these operations touch, with all that is due booked, and the first answers of repeated keys."""
        driver = self._driver
        book = self._new_book(now)
        wanted = {
            operation.customer_id for operation in operations if not isinstance(operation, OpenCustomer)
        }
        wanted.update(each.other_customer_id for each in operations if each.other_customer_id is not None)
        customers = sorted(wanted.union(customer_ids))
        fresh = self.kept.take(book, customers, driver.version(raw))
        ids = driver.numbers(fresh)
        keys = [operation.idempotency for operation in operations if operation.idempotency is not None]
        statements: list[tuple[str, Row]] = []
        if fresh:
            statements = [(self.wallets + driver.for_update, (ids,)), (_OPEN_LOTS, (ids,))]
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
        joining = {each.customer_id for each in operations if each.kind in PLAN_KINDS}
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
        economy = self._economy()
        if len(book.wallets) == len(customers) * len(economy.units):
            return
        for customer_id in customers:
            for unit in economy.units:
                if customer_id not in book.missing and (customer_id, unit) not in book.wallets:
                    watch_from_now(open_wallet(book, customer_id, unit), economy, book.now)

    def _add_account(self, book: Book, row: Row) -> None:
        if row[3] == DEBT:
            book.wallet(row[1], row[2]).debt = row[10] - row[11]
        else:
            book.add_lot(Lot(*row))

    def _load_named(self, raw: Any, book: Book, operations: Sequence[Operation]) -> None:  # noqa: ANN401
        """What operations name beside their customer: tasks, holds, charges to refund, grants."""
        tasks = {each.task_id for each in operations if each.task_id is not None}
        if tasks:
            self._load_tasks(raw, book, tasks)
        disputed = {each.task_id for each in operations if each.with_payment and each.task_id is not None}
        if disputed:
            self._load_payments(raw, book, disputed)
        hold_ids = {each.hold_id for each in operations if each.hold_id is not None}
        hold_ids.update(each.also_hold_id for each in operations if each.also_hold_id is not None)
        if hold_ids:
            self._load_holds(raw, book, _HOLDS, (self._driver.numbers(sorted(hold_ids)),))
        charge_ids = sorted({each.charge_id for each in operations if each.charge_id is not None})
        if charge_ids:
            self._load_charges(raw, book, charge_ids)
        grant_ids = sorted({each.grant_id for each in operations if each.grant_id is not None})
        if grant_ids:
            self._load_grants(raw, book, _GRANTS, (self._driver.numbers(grant_ids),))

    def _load_tasks(self, raw: Any, book: Book, task_ids: Iterable[int]) -> None:  # noqa: ANN401
        """Tasks with their parents, and what they hold."""
        driver = self._driver
        ids = driver.numbers(sorted(task_ids))
        [rows] = driver.fetch(raw, [(task_rows.SELECT, (ids, ids))])
        for row in rows:
            if row[0] not in book.tasks:
                book.tasks[row[0]] = task_rows.task_of(row)
        holding = {task.hold_id for task in book.tasks.values() if task.hold_id is not None}
        missing = sorted(holding.difference(book.holds))
        if missing:
            self._load_holds(raw, book, _HOLDS, (driver.numbers(missing),))

    def _load_payments(self, raw: Any, book: Book, task_ids: Iterable[int]) -> None:  # noqa: ANN401
        """What tasks were paid with: each lot of the payer's, the account that got it, and how much."""
        settled = {
            task.settlement_id: task
            for task in (book.tasks.get(number) for number in task_ids)
            if task is not None and task.settlement_id is not None
        }
        [rows] = self._driver.fetch(raw, [(task_rows.PAYMENTS, (self._driver.numbers(sorted(settled)),))])
        self._load_lots(raw, book, {number for row in rows for number in row[1:3]})
        drawn: dict[int, dict[int, int]] = {}
        for transaction_id, debit_id, credit_id, amount, phase in rows:
            task, lot = settled[transaction_id], book.lots[debit_id]
            order = drawn.setdefault(task.id, {})
            if phase == VOID_PENDING:
                order[lot.id] = len(order)
            elif lot.id in order:  # and no lot of the owner's, which pays its debt
                book.payments.setdefault(task.id, []).append((lot, credit_id, amount))
        for number, payments in book.payments.items():
            places = drawn[number]
            payments.sort(key=lambda payment: places[payment[0].id])

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
            raw,
            [
                (_CHARGES, (ids,)),
                (_CHARGE_LEGS, (ids, driver.numbers(self._system.with_code(REVENUE)))),
                (_REFUND_LEGS, (ids,)),
            ],
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
        timed_out = [int(hold.maker.removeprefix(MAKER)) for hold in holds if hold.maker.startswith(MAKER)]
        if timed_out:
            self._load_tasks(raw, book, timed_out)
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
        for (
            customer_id,
            plan,
            since,
            anchor_at,
            start,
            end,
            granted,
            paid_by,
            paid_from,
            before,
        ) in memberships:
            book.memberships[customer_id] = Membership(
                customer_id=customer_id,
                plan=plan,
                since=since,
                anchor_at=anchor_at,
                period_start=start,
                period_end=end,
                granted=json.loads(granted),
                paid_by=paid_by,
                paid_from=paid_from,
                before=json.loads(before),
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
                customer_id=customer_id,
            )
            where = ("key", key_id, "") if level == "key" else (level, customer_id, agent or "")
            book.add_budget(where, budget)
