"""Settlement: one transaction moves a price from whoever asked to whoever did the work, less the platform's fee.

- fee + payout = price, to the last micro-unit; the fee is taken from the side that is paid.
- Origin survives: what was paid with free credits arrives as free credits. The fee is shared between the origins in
  proportion, rounded down for paid credits: the remainder is taken from the free ones.
- Whoever pays themselves moves nothing, and a price of 0 settles nothing.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from tallystick.core import errors
from tallystick.core.amounts import pro_rata_floor
from tallystick.core.book import Book
from tallystick.core.holdings import MAX_BALANCE, Lot, Transaction, Wallet
from tallystick.core.operations import Draw, Operation, require
from tallystick.core.words import FEES


class SettlementResult(NamedTuple):
    """A settlement as it was made; balances are those of the payer. Amounts in micro-units."""

    id: int
    payer_id: int
    payee_id: int
    unit: str
    price: int
    fee: int
    payout: int
    balance: int
    available: int
    draws: tuple[Draw, ...]
    economy: str | None
    created_at: int


@dataclass(slots=True, kw_only=True)
class Settle(Operation):
    """Pay ``price`` from the customer to ``other_customer_id``; ``fee`` of it goes to the platform."""

    kind: ClassVar[str] = "settlement"
    unit: str
    price: int
    fee: int
    priority: int

    def apply(self, book: Book) -> SettlementResult:
        """Move everything, or nothing."""
        payee_id = self.other_customer_id
        if payee_id is None or payee_id in book.missing:
            raise errors.UnknownCustomer(str(payee_id))
        payer, payee = book.wallet(self.customer_id, self.unit), book.wallet(payee_id, self.unit)
        moves = self.price > 0 and payer is not payee
        if moves:
            if payer.frozen_at is not None:
                raise errors.WalletFrozen(payer.unit)
            if payer.cover_id is None:
                require(book, payer, self.price)
            if payee.balance + self.price > MAX_BALANCE:
                raise errors.AmountTooLarge
        transaction = self.begin(book)
        transaction.unit, transaction.amount = self.unit, self.price if moves else 0
        draws = book.draw(transaction, payer, self.price) if moves else []
        if moves:
            pay(book, transaction, payer, payee, draws=draws, fee=self.fee, priority=self.priority)
        return SettlementResult(
            transaction.id,
            self.customer_id,
            payee_id,
            self.unit,
            self.price if moves else 0,
            self.fee if moves else 0,
            self.price - self.fee if moves else 0,
            payer.balance,
            payer.available(book.now),
            tuple((lot.id, self.unit, take) for lot, take in draws),
            self.economy,
            transaction.at,
        )


def pay(
    book: Book,
    transaction: Transaction,
    payer: Wallet,
    payee: Wallet,
    *,
    draws: list[tuple[Lot, int]],
    fee: int,
    priority: int,
) -> None:
    """Move what ``draws`` names from the payer's lots to earned lots of the payee, one per origin, less the fee."""
    fees = book.system_account(payer.unit, FEES)
    price = sum(take for _, take in draws)
    shares = fee_by_origin(fee, price=price, paid=sum(take for lot, take in draws if lot.origin == "paid"))
    earned: list[Lot] = []
    for origin, share in shares:
        left = share
        lots = [(lot, take) for lot, take in draws if lot.origin == origin]
        payout = sum(take for _, take in lots) - left
        target = None
        if payout:
            target = new_grant(
                book,
                transaction,
                payee,
                payout,
                category="task_credit",
                origin=origin,
                priority=priority,
            )
        for lot, take in lots:
            lot.debits += take
            to_fees = min(left, take)
            left -= to_fees
            if to_fees:
                book.transfer(transaction, lot.id, fees, to_fees)
            if target is not None and take > to_fees:
                target.credits += take - to_fees
                book.transfer(transaction, lot.id, target.id, take - to_fees)
        if target is not None:
            earned.append(target)
    book.entry(transaction, payer, "task_debit", -price)
    book.entry(transaction, payee, "task_credit", price - fee)
    for lot in earned:
        book.enter_burn_order(payee, lot)
        book.repay_debt(transaction, payee, lot)


def fee_by_origin(fee: int, *, price: int, paid: int) -> tuple[tuple[str, int], tuple[str, int]]:
    """What of a fee is taken from paid credits, of which the price has ``paid``, and what from free ones.

    In proportion, rounded down for paid credits: the remainder is taken from the free ones.
    """
    of_paid = pro_rata_floor(paid, price, fee)
    return ("paid", of_paid), ("free", fee - of_paid)


def new_grant(
    book: Book,
    transaction: Transaction,
    wallet: Wallet,
    amount: int,
    *,
    category: str,
    origin: str,
    priority: int,
    expires_at: int | None = None,
) -> Lot:
    """An empty lot with its terms, into which the transaction then pays ``amount`` from elsewhere than an issuance."""
    lot = book.new_lot(
        wallet,
        category=category,
        origin=origin,
        priority=priority,
        effective_at=book.now,
        expires_at=expires_at,
    )
    terms = book.record_grant(transaction, lot, amount)
    terms.reason, terms.booked_at = transaction.description, book.now
    return lot
