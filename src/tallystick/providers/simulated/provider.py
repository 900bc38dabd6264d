"""The simulated payment provider behind the port, and what only a simulation has: its pages and controls by hand.

Every method is one short transaction. A key that is repeated within a day gives what it has made, as that stands now; with
another request it is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from sqlalchemy.engine import Connection

from tallystick.core.times import DAY
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.payments import (
    Card,
    CardOrder,
    Checkout,
    CheckoutOrder,
    Event,
    Invoice,
    Payment,
    Refund,
    Subscription,
)
from tallystick.providers.simulated import (
    by_hand,
    charging,
    clockwork,
    events,
    pages,
    portal,
    receipts,
    reversals,
    subscriptions,
)
from tallystick.providers.simulated.books import Books, Making, read
from tallystick.providers.simulated.documents import (
    Document,
    InvoiceDocument,
    PageDocument,
    PayerDocument,
    PaymentDocument,
    SubscriptionDocument,
)
from tallystick.providers.simulated.events import Handler
from tallystick.providers.simulated.portal import PortalView
from tallystick.store import settings, simulated
from tallystick.store.engine import Database

T = TypeVar("T")
D = TypeVar("D", bound=Document)

KEY_KEPT_MICROS: Final = DAY
SECRET: Final = "simulated_webhook_secret"  # noqa: S105 - the name of the setting
TURN: Final = 200


class SimulatedPayments:
    """A payment provider that moves no money, and everything else as a real one does."""

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], int],
        new_id: Callable[[], int],
        random: Callable[[int], bytes],
        public_url: str,
    ) -> None:
        self._database = database
        self._now = now
        self._making = Making(new_id=new_id, random=random)
        self._public_url = public_url
        self._secret: str | None = None

    @property
    def name(self) -> str:
        """What payments are filed under."""
        return "simulated"

    @property
    def live(self) -> bool:
        """No real money ever moves."""
        return False

    # --- payers and their cards ------------------------------------------------------------------------------------

    def create_payer(self, *, reference: str, email: str | None, key: str) -> str:
        """A new payer; gives its id."""

        def work(books: Books) -> str:
            return books.add(PayerDocument(created_at=books.now, reference=reference, email=email)).id

        return self._once(key, ("create_payer", reference, email), work, lambda _books, payer: payer)

    def default_card(self, payer: str) -> Card | None:
        """The payer's default card, or the one that was saved last."""
        found = self._look(lambda books: books.find(PayerDocument, payer))
        card = None if found is None else found.card()
        return None if card is None else charging.shown_card(card)

    def portal(self, payer: str, *, return_url: str) -> str:
        """The address of the payer's own page, for an hour."""
        return self._do(lambda books: portal.create(books, payer, return_url=return_url))

    # --- one-time payments -----------------------------------------------------------------------------------------

    def create_checkout(self, order: CheckoutOrder, *, key: str) -> Checkout:
        """A new page; its end is brought within the bounds of half an hour and a day."""
        content = (
            "create_checkout",
            order.payer,
            order.mode,
            order.reference,
            order.amount_cents,
            order.currency,
        )
        return self._once(key, content, lambda books: pages.create(books, order).id, _checkout)

    def checkout(self, checkout_id: str) -> Checkout | None:
        """A page as it stands now."""

        def work(books: Books) -> Checkout | None:
            page = books.find(PageDocument, checkout_id)
            return None if page is None else pages.shown(books, page)

        return self._look(work)

    def expire_checkout(self, checkout_id: str) -> None:
        """Let nobody pay on a page any more."""
        self._do(lambda books: pages.expire(books, books.find(PageDocument, checkout_id, lock=True)))

    def charge_card(self, order: CardOrder, *, key: str) -> Payment:
        """Charge a saved card now. Raises ``ProviderRefused`` with ``no_card`` where there is none."""
        if self._do(lambda books: self._gets_lost(books, order, key)):
            raise OutcomeUnknown("the connection broke before the request arrived (a test card for that)")
        made: list[PaymentDocument] = []

        def work(books: Books) -> str:
            made[:] = [_charge(books, order)]
            return made[0].id

        content = ("charge_card", order.payer, order.reference, order.amount_cents, order.currency)
        answer = self._once(key, content, work, _payment)
        for payment in made:  # not where the key was known: then this is the answer that was lost
            charging.check_answer(payment)
        return answer

    def _gets_lost(self, books: Books, order: CardOrder, key: str) -> bool:
        """Whether this request is lost on its way: the first with this key is, where the card is for that."""
        payer = books.find(PayerDocument, order.payer)
        if payer is None or not charging.lost_request(payer.card(order.card)):
            return False
        return simulated.take_key(books.connection, f"lost:{key}", digest="", now=books.now) is None

    def payment(self, payment_id: str) -> Payment | None:
        """What became of a payment."""
        return self._look(lambda books: _shown(books, books.find(PaymentDocument, payment_id)))

    def find_payment(self, *, payer: str, reference: str, since: int) -> Payment | None:
        """The newest payment of a payer with this reference, made at ``since`` or later."""

        def work(books: Books) -> Payment | None:
            rows = simulated.newest(
                books.connection, kind=PaymentDocument.kind, payer=payer, reference=reference, since=since
            )
            return _shown(books, read(PaymentDocument, rows[0]) if rows else None)

        return self._look(work)

    def refund(self, payment_id: str, *, amount_cents: int, reference: str, key: str) -> Refund:
        """Give money back."""

        def work(books: Books) -> str:
            payment = books.get(PaymentDocument, payment_id)
            return reversals.refund(books, payment, amount_cents=amount_cents, reference=reference).id

        def shown(books: Books, refund_id: str) -> Refund:
            payment = books.get(PaymentDocument, payment_id)
            made = next(each for each in payment.refunds if each.id == refund_id)
            return charging.shown_refund(payment, made)

        return self._once(key, ("refund", payment_id, amount_cents, reference), work, shown)

    def refunds(self, payment_id: str) -> list[Refund]:
        """All refunds of a payment, newest first."""
        payment = self._look(lambda books: books.find(PaymentDocument, payment_id))
        made = [] if payment is None else payment.refunds
        return [charging.shown_refund(payment, each) for each in reversed(made) if payment is not None]

    # --- monthly plans ---------------------------------------------------------------------------------------------

    def subscription(self, subscription_id: str) -> Subscription | None:
        """A subscription as it stands now."""
        found = self._look(lambda books: books.find(SubscriptionDocument, subscription_id))
        return None if found is None else subscriptions.shown_subscription(found)

    def change_subscription(
        self, subscription_id: str, *, plan: str, title: str, amount_cents: int, price: str | None, key: str
    ) -> Subscription:
        """Change the plan now. Raises ``ProviderRefused`` when the difference cannot be paid."""

        def work(books: Books) -> str:
            found = books.get(SubscriptionDocument, subscription_id)
            subscriptions.change(books, found, plan=plan, title=title, amount_cents=amount_cents)
            return found.id

        content = ("change_subscription", subscription_id, plan, title, amount_cents, price)
        return self._once(key, content, work, _subscription)

    def cancel_subscription(self, subscription_id: str, *, at_period_end: bool, key: str) -> Subscription:
        """End it with its period, or at once. One that has ended stays as it is."""

        def work(books: Books) -> str:
            found = books.get(SubscriptionDocument, subscription_id)
            subscriptions.cancel(books, found, at_period_end=at_period_end)
            return found.id

        content = ("cancel_subscription", subscription_id, at_period_end)
        return self._once(key, content, work, _subscription)

    def invoice(self, invoice_id: str) -> Invoice | None:
        """A bill as it stands now."""

        def work(books: Books) -> Invoice | None:
            found = books.find(InvoiceDocument, invoice_id)
            return None if found is None else subscriptions.shown_invoice(books, found)

        return self._look(work)

    # --- what happened ---------------------------------------------------------------------------------------------

    def read_event(self, body: bytes, signature: str | None) -> Event:
        """An event as ``deliver`` sends it."""
        return events.verified(body, signature, secret=self._signing_secret(), now=self._now())

    def events(self, *, since: int) -> Iterator[Event]:
        """All events made at ``since`` or later, newest first."""
        return events.all_since(self._database, since)

    def deliver(self, handler: Handler, *, limit: int = TURN) -> dict[str, int]:
        """Hand waiting events to ``handler`` as a webhook would get them; gives how many were taken, and how many not."""
        return events.deliver(
            self._database, handler, secret=self._signing_secret(), now=self._now, limit=limit
        )

    def run_once(self) -> dict[str, int]:
        """Let the clock do what is due, a bounded turn of it: renewals, late payments, pages that expire."""
        counts: dict[str, int] = {}
        if not self._look(lambda books: simulated.is_due(books.connection, now=books.now)):
            return counts  # without a write, as most turns
        for _ in range(TURN):
            done = self._do(clockwork.run)
            if done is None:
                break
            counts[done] = counts.get(done, 0) + 1
        return counts

    # --- pages -----------------------------------------------------------------------------------------------------

    def page(self, page_id: str) -> pages.PageView | None:
        """A checkout page as it is shown."""

        def work(books: Books) -> pages.PageView | None:
            found = books.find(PageDocument, page_id)
            return None if found is None else pages.view(books, found)

        return self._look(work)

    def pay(self, page_id: str, number: str, *, confirmed: bool = False) -> pages.Outcome:
        """Pay on a page with a test card. Raises ``ProviderRefused`` for any other number."""
        return self._do(lambda books: pages.pay(books, page_id, number, confirmed=confirmed))

    def refuse(self, page_id: str) -> pages.Outcome:
        """Refuse to confirm a payment on a page."""
        return self._do(lambda books: pages.refuse(books, page_id))

    def portal_view(self, portal_id: str) -> PortalView | None:
        """A payer's own page as it is shown."""
        return self._look(lambda books: portal.view(books, portal_id))

    def set_card(self, portal_id: str, number: str) -> bool:
        """Change the card on a payer's own page. Raises ``ProviderRefused``."""
        return self._do(lambda books: portal.set_card(books, portal_id, number))

    def end_subscription(self, portal_id: str, subscription_id: str, *, ends: bool) -> bool:
        """End a plan with its period on a payer's own page, or take that back. Raises ``ProviderRefused``."""
        return self._do(lambda books: portal.end_subscription(books, portal_id, subscription_id, ends=ends))

    def receipt(self, subject_id: str) -> receipts.Receipt | None:
        """What a payment or a bill came to."""
        return self._look(lambda books: receipts.find(books, subject_id))

    # --- controls by hand ------------------------------------------------------------------------------------------

    def act(self, payment: str, action: str, *, amount_cents: int | None = None) -> Payment | None:
        """Do by hand what else a bank or an operator does; None when there is no such payment.

        ``payment`` is the provider's id or our own. Raises ``ProviderRefused`` when its state does not allow it.
        """

        def work(books: Books) -> Payment | None:
            found = by_hand.find(books, payment)
            if found is None:
                return None
            by_hand.act(books, found, action, amount_cents=amount_cents)
            return charging.shown_payment(books, found)

        return self._do(work)

    # --- transactions ----------------------------------------------------------------------------------------------

    def _books(self, connection: Connection) -> Books:
        now = self._now()
        return Books(
            connection=connection,
            making=self._making,
            now=now,
            public_url=self._public_url,
            told_at=now,
        )

    def _do(self, work: Callable[[Books], T]) -> T:
        return self._database.transact(lambda connection: work(self._books(connection)))

    def _look(self, work: Callable[[Books], T]) -> T:
        with self._database.read() as connection:
            return work(self._books(connection))

    def _once(
        self,
        key: str,
        content: tuple[object, ...],
        make: Callable[[Books], str],
        shown: Callable[[Books, str], T],
    ) -> T:
        """Make something and show it by its id; with a key that has made it before, only show it."""
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()

        def keyed(books: Books) -> T:
            taken = simulated.take_key(books.connection, key, digest=digest, now=books.now)
            if taken is not None and books.now - taken.created_at < KEY_KEPT_MICROS:
                if taken.digest != digest:
                    raise ProviderRefused("the key was used for another request", code="idempotency_error")
                return shown(books, taken.made)
            if taken is not None:
                simulated.renew_key(books.connection, key, digest=digest, now=books.now)
            made = make(books)
            simulated.note_made(books.connection, key, made)
            return shown(books, made)

        return self._do(keyed)

    def _signing_secret(self) -> str:
        if self._secret is None:
            fresh = self._making.token("whsec")
            self._secret = self._database.transact(
                lambda connection: settings.put_once(connection, SECRET, fresh)
            )
        return self._secret


def _charge(books: Books, order: CardOrder) -> PaymentDocument:
    charging.check_amount(order.amount_cents)
    payer = books.get(PayerDocument, order.payer, lock=False)
    held = payer.card(order.card)
    if held is None and order.card is not None:
        raise ProviderRefused(f"no such card: {order.card}", code="resource_missing")
    if held is None:
        raise ProviderRefused("the payer has no saved card", code="no_card")
    payment = PaymentDocument(
        id=books.making.token(PaymentDocument.prefix),
        created_at=books.now,
        payer=order.payer,
        reference=order.reference,
        amount_cents=order.amount_cents,
        currency=order.currency,
        description=order.description,
    )
    charging.try_alone(books, payment, held)
    return books.add(payment)


def _shown(books: Books, payment: PaymentDocument | None) -> Payment | None:
    return None if payment is None else charging.shown_payment(books, payment)


def _checkout(books: Books, checkout_id: str) -> Checkout:
    return pages.shown(books, books.get(PageDocument, checkout_id, lock=False))


def _payment(books: Books, payment_id: str) -> Payment:
    return charging.shown_payment(books, books.get(PaymentDocument, payment_id, lock=False))


def _subscription(books: Books, subscription_id: str) -> Subscription:
    return subscriptions.shown_subscription(books.get(SubscriptionDocument, subscription_id, lock=False))
