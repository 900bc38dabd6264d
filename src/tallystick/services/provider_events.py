"""What the provider tells us, by webhook or when asked what we missed: each event handled once, its mark beside its effect.

An event only says where to look. It may come twice, late, before another that happened earlier, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog
from sqlalchemy.engine import Connection

from tallystick.core import errors
from tallystick.core.ids import from_text
from tallystick.ports import OutcomeUnknown
from tallystick.ports.payments import Checkout, Event, Payment, PaymentProvider, SignatureInvalid
from tallystick.services.context import Context
from tallystick.services.fulfilment import Fulfilment, Mark
from tallystick.services.refills import Refills
from tallystick.store import payments as store
from tallystick.store.payments import PaymentRow

IGNORED: Final = "ignored"
REPEAT: Final = "repeat"

log = structlog.get_logger(__name__)


class Subscribed(Protocol):
    """What follows subscriptions and their bills. Each gives what came of it, or None when it is none of ours."""

    def look_checkout(self, page: Checkout, mark: Mark) -> str | None:
        """A subscription's page was completed or has expired."""

    def look_invoice(self, invoice_id: str, mark: Mark) -> str | None:
        """A bill was paid or could not be paid."""

    def look_subscription(self, subscription_id: str, mark: Mark) -> str | None:
        """A subscription changed or ended."""


class ProviderEvents:
    """Handles events."""

    def __init__(
        self,
        context: Context,
        provider: PaymentProvider,
        fulfilment: Fulfilment,
        refills: Refills,
        subscribed: Subscribed,
    ) -> None:
        self._context = context
        self._provider = provider
        self._fulfilment = fulfilment
        self._refills = refills
        self._subscribed = subscribed
        self._handlers: Mapping[str, Callable[[Event, Mark], str | None]] = {
            "checkout": self._checkout,
            "payment": self._payment,
            "invoice": lambda event, mark: subscribed.look_invoice(event.subject_id, mark),
            "subscription": lambda event, mark: subscribed.look_subscription(event.subject_id, mark),
            "payer": self._payer,
        }

    def receive(self, body: bytes, signature: str | None) -> str:
        """An event as it was sent; gives what came of it, after the commit.

        Raises ``InvalidSignature``; ``PaymentsUnavailable`` when the provider must send it again.
        """
        try:
            event = self._provider.read_event(body, signature)
        except SignatureInvalid as error:
            raise errors.InvalidSignature from error
        return self.handle(event)

    def handle(self, event: Event) -> str:
        """One event; a repeat changes nothing."""
        context, name = self._context, self._provider.name
        known = None
        with context.database.read() as connection:
            if store.event_is_handled(connection, name, event.id):
                return REPEAT
            if event.subject == "checkout":
                known = store.by_provider_id(connection, name, "checkout", event.subject_id)
        mark = self._marker(event)
        outcome = self._effect(event, known, mark) if event.live == self._provider.live else None
        if outcome is None:
            context.database.transact(lambda connection: mark(connection, IGNORED))
            outcome = IGNORED
        log.info("provider event", id=event.id, type=event.type, outcome=outcome)
        return outcome

    def _effect(self, event: Event, known: PaymentRow | None, mark: Mark) -> str | None:
        """What came of an event, or None where it is none of ours; a payment that is ``known`` is asked for once."""
        if known is not None:  # as nearly always
            row = self._fulfilment.look(known.id, mark=mark, known=known)
            return None if row is None else row.status
        if event.subject not in self._handlers:
            return None
        try:
            return self._handlers[event.subject](event, mark)
        except OutcomeUnknown as error:
            raise errors.PaymentsUnavailable from error

    def _marker(self, event: Event) -> Mark:
        def mark(connection: Connection, outcome: str) -> None:
            store.mark_event(
                connection,
                provider=self._provider.name,
                event_id=event.id,
                event_type=event.type,
                subject=event.subject,
                subject_id=event.subject_id,
                created_at=event.created_at,
                now=self._context.now(),
                outcome=outcome,
            )

        return mark

    def _checkout(self, event: Event, mark: Mark) -> str | None:
        """A page that is not known: for a card or a subscription, or one whose answer we never got."""
        page = self._provider.checkout(event.subject_id)
        if page is None:
            return None
        if page.mode == "subscription":
            return self._subscribed.look_checkout(page, mark)
        if page.mode == "setup":
            return self._card_saved(page, mark)
        number = from_text("pay", page.reference or "")
        if number is None or not self._belongs(number, page):
            return None
        row = self._fulfilment.look(number, mark=mark)
        return None if row is None else row.status

    def _belongs(self, number: int, page: Checkout) -> bool:
        """Whether a page is that of a payment of ours; one whose answer we never got is noted now."""
        context = self._context

        def work(connection: Connection) -> bool:
            row = store.by_id(connection, number, lock=True)
            if row is None or row.provider != self._provider.name:
                return False
            if row.checkout is None:
                store.change(connection, number, checkout=page.id, expires_at=page.expires_at)
                return True
            return row.checkout == page.id

        return context.database.transact(work)

    def _card_saved(self, page: Checkout, mark: Mark) -> str | None:
        number = from_text("cust", page.reference or "")
        if number is None or page.status != "complete":
            return None

        def work(connection: Connection) -> None:
            self._refills.card_saved(number, connection)
            mark(connection, "card_saved")

        self._context.database.transact(work)
        return "card_saved"

    def _payment(self, event: Event, mark: Mark) -> str | None:
        payment = self._provider.payment(event.subject_id)
        number = None if payment is None else self._row_of(payment)
        row = None if number is None else self._fulfilment.look(number, mark=mark)
        return None if row is None else row.status

    def _row_of(self, payment: Payment) -> int | None:
        """Our payment's id: by what the provider was given for it, or by what the provider gave."""
        name = self._provider.name
        with self._context.database.read() as connection:
            number = from_text("pay", payment.reference or "")
            row = None if number is None else store.by_id(connection, number)
            row = row or store.by_provider_id(connection, name, "reference", payment.id)
            if row is None and payment.invoice is not None:
                row = store.by_provider_id(connection, name, "invoice", payment.invoice)
        return None if row is None or row.provider != name else row.id

    def _payer(self, event: Event, mark: Mark) -> str | None:
        """A payer is gone, or its card is."""
        name, now = self._provider.name, self._context.now()
        with self._context.database.read() as connection:
            customer_id = store.customer_of_payer(connection, name, event.subject_id)
        if customer_id is None:
            return None
        gone = event.type == "customer.deleted"
        has_card = not gone and self._provider.default_card(event.subject_id) is not None

        def work(connection: Connection) -> None:
            if gone:
                store.payer_is_gone(connection, name, event.subject_id, now=now)
            if not has_card:
                self._refills.card_gone(customer_id, connection)
            mark(connection, "noted")

        self._context.database.transact(work)
        return "noted"
