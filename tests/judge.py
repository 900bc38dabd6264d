"""The judge: holds what a ledger answered, and what it keeps, to the model."""

from collections import deque
from collections.abc import Iterable, Sequence

from tallystick.core.book import Book
from tallystick.core.catalog import Economy
from tallystick.core.holdings import Wallet as BookWallet
from tallystick.core.membership import OpenCustomer
from tallystick.core.operations import Operation
from tallystick.store.results import Outcome
from tests.model import Mismatch, Model, Refused
from tests.model.holdings import Lot, Wallet

TOTALS = ("granted", "purchased", "earned", "spent", "expired", "removed")

NewGrant = tuple[int, str, int]  # customer, unit, id


class Judge:
    """Runs the model behind a ledger and raises ``Mismatch`` where they part."""

    def __init__(self, economy: Economy) -> None:
        self.model = Model(economy)

    def batch(
        self,
        operations: Sequence[Operation],
        outcomes: Sequence[Outcome],
        *,
        now: int,
        new_grants: Iterable[NewGrant],
        customer_ids: Iterable[int] = (),
    ) -> None:
        """A batch was posted at ``now``: every operation must have come out as the model says.

        ``new_grants`` are the grants that it made, in order; ``customer_ids`` were settled without a request.
        """
        self._tell(new_grants)
        # Nothing is booked for a customer whose opening is merely repeated.
        named = {each.customer_id for each in operations if not isinstance(each, OpenCustomer)}
        named.update(customer_ids)
        named.update(each.other_customer_id for each in operations if each.other_customer_id is not None)
        self.model.now = now
        for customer_id in sorted(named.intersection(self.model.customers)):
            self.model.catch_up(customer_id, now)
        for operation, outcome in zip(operations, outcomes, strict=True):
            self._judge(operation, outcome)
        self._end(named)

    def settled(self, customer_ids: Iterable[int], *, now: int, new_grants: Iterable[NewGrant]) -> None:
        """What was due for these customers was booked."""
        self.batch([], [], now=now, new_grants=new_grants, customer_ids=customer_ids)

    def _tell(self, new_grants: Iterable[NewGrant]) -> None:
        self.model.new_ids = {}
        for customer_id, unit, number in new_grants:
            self.model.new_ids.setdefault((customer_id, unit), deque()).append(number)

    def _end(self, named: Iterable[int]) -> None:
        surplus = {owner: list(ids) for owner, ids in self.model.new_ids.items() if ids}
        if surplus:
            raise Mismatch(f"the ledger made grants that the model does not: {surplus}")
        for customer_id in named:
            customer = self.model.customers.get(customer_id)
            for wallet in customer.wallets.values() if customer is not None else ():
                wallet.check()

    def _judge(self, operation: Operation, outcome: Outcome) -> None:
        refusal = outcome.refusal
        try:
            figures, replayed = self.model.apply(operation, 0 if refusal else outcome.result.id)
        except Refused as refused:
            if refusal is None or refusal.code != refused.code:
                found = outcome.result if refusal is None else refusal.code
                message = (
                    f"{operation}\nmust be refused: {refused.code} {refused.figures}\nand found: {found}"
                )
                raise Mismatch(message) from None
            expected, actual = refused.figures, {name: refusal.fields.get(name) for name in refused.figures}
        else:
            if refusal is not None:
                message = (
                    f"{operation}\nmust give {figures}\nand was refused: {refusal.code} {refusal.fields}"
                )
                raise Mismatch(message)
            expected = figures | {"replayed": replayed}
            actual = {name: getattr(outcome.result, name) for name in figures} | {
                "replayed": outcome.replayed
            }
        if expected != actual:
            parted = {
                name: (expected[name], actual[name]) for name in expected if expected[name] != actual[name]
            }
            raise Mismatch(f"{operation}\nexpected and found: {parted}")

    # --- what the ledger keeps -----------------------------------------------------------------------------

    def look(self, book: Book) -> None:
        """The wallets of a book that was just written, and its new lines, must be as in the model."""
        lines: dict[int, list[tuple[str, int, int]]] = {}
        for _, _, wallet_id, _, _, kind, _, _, amount, balance in book.entries:
            lines.setdefault(wallet_id, []).append((kind, amount, balance))
        for (customer_id, unit), found in book.wallets.items():
            wallet = self.model.customers[customer_id].wallets[unit]
            where = f"customer {customer_id}, {unit}"
            compare(where, "lines", wallet.lines, lines.get(found.id, []))
            wallet.lines = []
            compare(where, "wallet", state_of(wallet), state_in_book(found))
            compare(where, "lots", lots_of(wallet), lots_in_book(found))


def compare(where: str, what: str, expected: object, found: object) -> None:
    """Raise ``Mismatch`` unless both are equal."""
    if expected != found:
        raise Mismatch(f"{where}: {what}\nexpected {expected}\nfound    {found}")


def state_of(wallet: Wallet) -> tuple[object, ...]:
    """A wallet's figures in the model."""
    totals = tuple(wallet.totals[name] for name in TOTALS)
    return wallet.balance, wallet.debt, wallet.frozen_at, wallet.line_count, *totals


def state_in_book(wallet: BookWallet) -> tuple[object, ...]:
    """The same figures of a loaded wallet."""
    totals = tuple(getattr(wallet, name) for name in TOTALS)
    return wallet.balance, wallet.debt, wallet.frozen_at, wallet.sequence, *totals


def lots_of(wallet: Wallet) -> list[tuple[int, int | None, int, int]]:
    """A wallet's open lots in the model, in burn order: id, expiry, what is left and what is held."""
    lots: list[Lot] = sorted((lot for lot in wallet.lots if lot.left), key=lambda lot: lot.turn)
    return [(lot.id, lot.expires_at, lot.left, lot.held) for lot in lots]


def lots_in_book(wallet: BookWallet) -> list[tuple[int, int | None, int, int]]:
    """The same of a loaded wallet."""
    lots = sorted((lot for lot in wallet.lots if lot.credits > lot.debits), key=lambda lot: lot.burn_key())
    return [(lot.id, lot.expires_at, lot.credits - lot.debits, lot.held) for lot in lots]
