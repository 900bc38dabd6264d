"""The ledger in the database: load what a batch touches into a Book, let operations change it, write what changed.

``post`` is the one posting function. Services call it inside their own database transaction, so that their rows commit
with the money; the group commit calls it for everyone who queued up. Every statement works on a whole batch.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.book import Book
from tallystick.core.catalog import Economy
from tallystick.core.holdings import Wallet
from tallystick.core.ids import to_text
from tallystick.core.limits import HOUR_MICROS, hour_of
from tallystick.core.operations import Limit, Operation, PricedOperation
from tallystick.core.words import SYSTEM, SYSTEM_ACCOUNTS
from tallystick.store.driver import Driver, Row
from tallystick.store.engine import raw_connection
from tallystick.store.kept import KeptWallets, StampedWallets
from tallystick.store.loading import Loader
from tallystick.store.results import Outcome, Trial, decode_result, encode_result
from tallystick.store.system import SystemAccounts
from tallystick.store.writing import INSERT_ACCOUNTS, SET_HAS_BUDGETS, SET_WATCH, Writer


class Ledger:
    """Posts operations. ``new_id`` makes ids; ``economy()`` gives the active economy."""

    def __init__(self, *, driver: Driver, new_id: Callable[[], int], economy: Callable[[], Economy]) -> None:
        self._driver = driver
        self._new_id = new_id
        self._system = SystemAccounts()
        self._loader = Loader(driver=driver, new_id=new_id, economy=economy, system=self._system)
        self._writer = Writer(driver=driver, system=self._system)

    # --- accounts of the system ------------------------------------------------------------------------------------

    def open_units(self, connection: Connection, units: Iterable[str]) -> None:
        """Make sure that every unit has its system accounts; several processes may do so at once."""
        raw, driver = raw_connection(connection), self._driver
        self._loader.kept = KeptWallets()
        rows = [
            (self._new_id(), SYSTEM, unit, code, None, None, None, None, None, None)
            for unit in units
            for code in SYSTEM_ACCOUNTS
            if (unit, code) not in self._system
        ]
        if rows:
            driver.insert(raw, INSERT_ACCOUNTS._replace(suffix="ON CONFLICT DO NOTHING"), rows)
        statement = "SELECT unit, code, id FROM accounts WHERE code IS NOT NULL"
        [found] = driver.fetch(raw, [(statement, ())])
        self._system.set(found)

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
        self._writer.write(raw, book)
        return outcomes, book

    def post_hot(
        self, connection: Connection, operations: Sequence[Operation], *, now: int
    ) -> tuple[list[Outcome], Book]:
        """As ``post_book``, from memory where nothing has to be read; the database refuses what has changed meanwhile.

        A key that is not new is then a conflict. What memory would refuse is looked at again in the database.
        """
        book = self._loader.recall(operations, now)
        if book is not None:
            repeats: dict[str, Row] = {}
            outcomes = [self._apply(book, operation, repeats) for operation in operations]
            if all(outcome.refusal is None for outcome in outcomes):
                self._writer.write(raw_connection(connection), book)
                return outcomes, book
        return self.post_book(connection, operations, now=now)

    def try_out(self, connection: Connection, operation: PricedOperation, *, now: int) -> Trial:
        """What the operation would meet now: nothing of it is written, but what is due for the customer is booked."""
        raw = raw_connection(connection)
        book, _ = self._load_settled(raw, [operation], now)
        self._writer.write(raw, book)
        if operation.customer_id in book.missing:
            raise errors.UnknownCustomer(to_text("cust", operation.customer_id))
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
        stamped = self._loader.stamped
        if stamped is None:
            self._loader.kept.put(book)
        else:
            row = None if book.stamps is None else book.stamps.fetchone()
            stamped.put(book, None if row is None else row[0])

    def beware(self) -> None:
        """After a batch that the database refused: what is remembered is not relied on for a while."""
        if self._loader.stamped is not None:
            self._loader.stamped.beware()

    def forget(self) -> None:
        """After a fault: nothing that is remembered is relied on."""
        if self._loader.stamped is not None:
            self._loader.stamped = StampedWallets()

    def settle(self, connection: Connection, customer_ids: Sequence[int], *, now: int) -> dict[str, int]:
        """Book whatever is due for these customers; gives how many events of each kind."""
        raw = raw_connection(connection)
        book, _ = self._loader.load(raw, [], now, customer_ids=customer_ids)
        self._writer.write(raw, book)
        return book.settled

    def settled(self, connection: Connection, customer_ids: Sequence[int], *, now: int) -> list[Wallet]:
        """These customers' wallets after all that is due was booked; nobody changes them before the transaction ends."""
        raw = raw_connection(connection)
        book, _ = self._load_settled(raw, [], now, customer_ids=customer_ids)
        self._writer.write(raw, book)
        return list(book.wallets.values())

    def set_watch(self, connection: Connection, wallets: Sequence[Wallet]) -> None:
        """Store what ``settled`` wallets are to be compared with from now on; every process sees it with its next charge.

        It is no posting: the figures say when to look at a wallet, and nothing of what is in it.
        """
        rows = [(*each.watch, each.refill_below, each.id) for each in sorted(wallets, key=_by_id)]
        self._driver.change(raw_connection(connection), SET_WATCH, rows)

    def set_refill_below(
        self,
        connection: Connection,
        customer_id: int,
        unit: str,
        micros: int | None,
        *,
        now: int,
        at_once: bool = True,
    ) -> None:
        """From the end of this transaction on, have a refill requested whenever a wallet falls below ``micros``.

        Where it is below already, the worker is told ``at_once``, or with the next charge. None ends it. Raises
        ``UnknownCustomer`` and ``UnknownUnit``.
        """
        wallets = {each.unit: each for each in self.settled(connection, [customer_id], now=now)}
        if not wallets:
            raise errors.UnknownCustomer(to_text("cust", customer_id))
        if unit not in wallets:
            raise errors.UnknownUnit(unit)
        wallet = wallets[unit]
        if wallet.refill_below != micros:
            wallet.set_watch(wallet.watch, micros)
            self.set_watch(connection, [wallet])
        if at_once and micros is not None and wallet.available(now) < micros:
            self._writer.alert(raw_connection(connection), [wallet], now=now)

    def mark_budgets(self, connection: Connection, customer_id: int) -> None:
        """Have every charge of this customer look for budgets, and lock its wallets until the end of the transaction."""
        raw, driver = raw_connection(connection), self._driver
        driver.fetch(raw, [(self._loader.wallets + driver.for_update, (driver.numbers([customer_id]),))])
        driver.change(raw, SET_HAS_BUDGETS, [(True, customer_id)])
        self._loader.kept.drop(customer_id)

    def _apply(self, book: Book, operation: Operation, repeats: dict[str, Row]) -> Outcome:
        key = operation.idempotency
        if key is not None and key in repeats:
            _, kind, digest, result = repeats[key]
            if digest != operation.request_digest:
                return Outcome(refusal=errors.IdempotencyKeyReused())
            return Outcome(
                result=decode_result(kind, result) if isinstance(result, str) else result, replayed=True
            )
        if operation.customer_id in book.missing:
            return Outcome(refusal=errors.UnknownCustomer(to_text("cust", operation.customer_id)))
        before = len(book.transactions)
        try:
            result = operation.apply(book)
        except errors.Refusal as refusal:
            return Outcome(refusal=refusal)
        transaction = book.transactions[before]
        transaction.result = encode_result(result)  # also without a key: the audit derives state from it
        if key is not None:
            repeats[key] = (key, transaction.kind, operation.request_digest, result)
        return Outcome(result=result)

    def _load_settled(
        self,
        raw: Any,  # noqa: ANN401 - the driver's own connection
        operations: Sequence[Operation],
        now: int,
        *,
        customer_ids: Sequence[int] = (),
    ) -> tuple[Book, dict[str, Row]]:
        """As ``Loader.load``, however much was due: nothing is drawn before all of it is booked."""
        book, repeats = self._loader.load(raw, operations, now, customer_ids=customer_ids)
        while book.unsettled:
            self._writer.write(raw, book)
            book, repeats = self._loader.load(raw, operations, now, customer_ids=customer_ids)
        return book, repeats


_by_id: Final = attrgetter("id")
