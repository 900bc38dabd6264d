"""Wallets that stay in memory between batches, where the database can say that nobody else has written."""

import threading
from collections.abc import Iterable, Sequence
from itertools import islice

from tallystick.core.book import Book
from tallystick.core.holdings import Wallet


class StampedWallets:
    """Wallets as the last batches left them, where each row tells by its stamp whether anybody has changed it since.

    A batch that finds all of its customers here reads nothing. Writing its wallets compares the stamps, and a wallet that
    somebody else has changed makes the database refuse the batch; then, and when an operation is refused by what is
    remembered, everything is read anew. Every change of a wallet or its lots updates the wallet's row.
    """

    def __init__(self, *, most: int = 20_000, caution: int = 20) -> None:
        self._most = most
        self._caution = caution
        self._wary = 0
        self._wallets: dict[int, list[Wallet]] = {}

    def take(self, book: Book, customers: Iterable[int]) -> bool:
        """Move these customers' wallets into the book, if all are here; they are gone from here either way.

        All of them will be written, so that all are compared: what is due for a customer may stand in any of its wallets.
        """
        found = [self._wallets.pop(customer_id, None) for customer_id in customers]
        if self._wary:
            self._wary -= 1
            return False
        for wallets in found:
            if wallets is None:
                return False
            for wallet in wallets:
                book.add_wallet(wallet)
                book.touched[wallet.id] = wallet
                for lot in wallet.lots:
                    book.lots[lot.id] = lot
        return True

    def put(self, book: Book, stamp: int | None) -> None:
        """After a commit: keep the book's wallets. Those that it wrote have the new ``stamp``."""
        kept = self._wallets
        for wallet in book.touched.values():
            wallet.stamp = stamp
        owners: dict[int, list[Wallet]] = {}
        for (customer_id, _), wallet in book.wallets.items():
            owners.setdefault(customer_id, []).append(wallet)
        for customer_id, wallets in owners.items():
            if all(wallet.stamp is not None for wallet in wallets):
                for wallet in wallets:
                    wallet.settle_lots()
                kept[customer_id] = wallets
        for customer_id in list(islice(kept, max(len(kept) - self._most, 0))):
            del kept[customer_id]

    def beware(self) -> None:
        """Somebody else changes the same wallets, or requests are repeated: read for a while."""
        self._wary = self._caution


class KeptWallets:
    """Wallets as the last batches left them, for as long as nobody else has written to the database.

    ``version`` is what the driver says of the database: it changes with every commit of another connection, and is None
    where that cannot be known (then nothing is kept). What a batch takes is only put back after its commit, and not when
    another transaction of this process came in between: that one may have changed the same wallets.
    """

    def __init__(self, *, most: int = 20_000) -> None:
        self._most = most
        self._version: object | None = None
        self._wallets: dict[int, list[Wallet]] = {}
        self._latest: Book | None = None
        self._guard = threading.Lock()

    def take(self, book: Book, customers: Sequence[int], version: object | None) -> list[int]:
        """Move what is kept of these customers into the book; gives the customers that must be read."""
        with self._guard:
            self._latest = book
            return self._take(book, customers, version)

    def _take(self, book: Book, customers: Sequence[int], version: object | None) -> list[int]:
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
