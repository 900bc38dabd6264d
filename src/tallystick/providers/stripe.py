"""Stripe behind the port of ``ports``, by its official SDK.

Whatever we make carries our reference and the key it was made with. Stripe remembers a key for a day at least, and refuses
it for a request that differs in anything; a repeat of ours may differ in what we choose here (which card is the default,
how long a page may live). So when a key is refused for that, the thing that was made with it is looked for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import stripe
from stripe.params import CustomerCreateParams

from tallystick.core.times import HOUR, MINUTE, SECOND
from tallystick.ports import ProviderRefused
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
from tallystick.providers.stripe_calls import (
    PAGE,
    error_fields,
    every,
    found,
    is_repeat,
    making,
    open_client,
)
from tallystick.providers.stripe_events import SUBSCRIBED, read_event, verified_event
from tallystick.providers.stripe_orders import (
    CHANGE,
    KEY,
    PLAN,
    REFERENCE,
    change_parameters,
    charge_parameters,
    checkout_parameters,
)
from tallystick.providers.stripe_reading import (
    id_of,
    named,
    read_card,
    read_checkout,
    read_invoice,
    read_payment,
    read_refund,
    read_subscription,
)

__all__ = ["SUBSCRIBED", "StripePayments"]

_TYPES_AT_ONCE: Final = 20  # Stripe lists events of no more types together
_KEYS_LIVE: Final = 48 * HOUR  # longer than Stripe remembers a key
_CLOCKS_DIFFER: Final = MINUTE
_LIVE_KEYS: Final = ("sk_live_", "rk_live_")
_CHECKOUT_PARTS: Final = ["payment_intent", "setup_intent", "subscription"]


class StripePayments:
    """A Stripe account.

    ``now`` is the real time (microseconds), as Stripe has it: never a test clock. ``webhook_secrets`` are two while one
    replaces the other.
    """

    def __init__(
        self,
        secret_key: str,
        *,
        webhook_secrets: Sequence[str],
        now: Callable[[], int],
        api_base: str = stripe.DEFAULT_API_BASE,
    ) -> None:
        self._client = open_client(secret_key, api_base=api_base)
        self._secrets = tuple(webhook_secrets)
        self._now = now
        self._live = secret_key.startswith(_LIVE_KEYS)

    @property
    def name(self) -> str:
        """What payments are filed under."""
        return "stripe"

    @property
    def live(self) -> bool:
        """Whether real money moves: the key tells."""
        return self._live

    # --- payers and their cards ------------------------------------------------------------------------------------

    def create_payer(self, *, reference: str, email: str | None, key: str) -> str:
        """Make a Customer."""
        parameters: CustomerCreateParams = {"metadata": {REFERENCE: reference, KEY: key}}
        if email is not None:
            parameters["email"] = email
        with making():
            return self._client.v1.customers.create(parameters, {"idempotency_key": key}).id

    def default_card(self, payer: str) -> Card | None:
        """The card that is set for invoices (the portal does), or the one that was saved last."""
        v1 = self._client.v1
        customer = found(lambda: v1.customers.retrieve(payer))
        if customer is None or customer.to_dict().get("deleted"):  # of one who is there, it is left out
            return None
        settings = customer.invoice_settings
        chosen = None if settings is None else id_of(settings.default_payment_method)
        card = read_card(found(lambda: v1.payment_methods.retrieve(chosen))) if chosen else None
        if card is not None:
            return card
        saved = every(lambda: v1.customers.payment_methods.list(payer, {"type": "card", "limit": 1}))
        return read_card(next(saved, None))

    def portal(self, payer: str, *, return_url: str) -> str:
        """A page of Stripe's customer portal, good for a few minutes."""
        with making():
            session = self._client.v1.billing_portal.sessions.create(
                {"customer": payer, "return_url": return_url}
            )
        return session.url

    # --- one-time payments -----------------------------------------------------------------------------------------

    def create_checkout(self, order: CheckoutOrder, *, key: str) -> Checkout:
        """Make a Checkout Session."""
        parameters = checkout_parameters(order, key=key, now=self._now())
        with making():
            try:
                session = self._client.v1.checkout.sessions.create(parameters, {"idempotency_key": key})
            except stripe.IdempotencyError:
                made = self._checkout_made_with(order, key)
                if made is None:
                    raise
                return made
        return (self.checkout(session.id) if is_repeat(session) else None) or read_checkout(session)

    def _checkout_made_with(self, order: CheckoutOrder, key: str) -> Checkout | None:
        """The page that this key has made, if it was for the same order."""
        sessions = self._client.v1.checkout.sessions
        since = (self._now() - _KEYS_LIVE) // SECOND
        made = every(
            lambda: sessions.list({"customer": order.payer, "created": {"gte": since}, "limit": PAGE})
        )
        session = next((each for each in made if named(each.metadata, KEY) == key), None)
        checkout = None if session is None else read_checkout(session)
        if checkout is None or (checkout.mode, checkout.reference) != (order.mode, order.reference):
            return None
        asked = (order.amount_cents, order.currency)
        priced_here = order.price is None and order.mode != "setup"
        return None if priced_here and (checkout.amount_cents, checkout.currency) != asked else checkout

    def checkout(self, checkout_id: str) -> Checkout | None:
        """A Checkout Session as it stands now."""
        sessions = self._client.v1.checkout.sessions
        session = found(lambda: sessions.retrieve(checkout_id, {"expand": _CHECKOUT_PARTS}))
        return None if session is None else read_checkout(session)

    def expire_checkout(self, checkout_id: str) -> None:
        """Let nobody pay on it any more."""
        try:
            with making():
                self._client.v1.checkout.sessions.expire(checkout_id)
        except ProviderRefused:
            checkout = self.checkout(checkout_id)
            if checkout is not None and checkout.status == "open":
                raise

    def charge_card(self, order: CardOrder, *, key: str) -> Payment:
        """Confirm a PaymentIntent off session. Without a card that could be charged, ``ProviderRefused`` has ``no_card``."""
        card = order.card or self._default_card_id(order.payer)
        if card is None:
            raise ProviderRefused("The payer has no saved card.", code="no_card")
        parameters = charge_parameters(order, card=card, key=key)
        with making():
            try:
                intent = self._client.v1.payment_intents.create(parameters, {"idempotency_key": key})
            except stripe.IdempotencyError:
                made = self._payment_made_with(order, key)
                if made is None:
                    raise
                return made
            except stripe.CardError as error:
                declined = None if error.error is None else error.error.payment_intent
                if declined is None:
                    raise
                current = self.payment(declined.id) if is_repeat(error) else None
                return current or read_payment(declined, error=error_fields(error))
        return (self.payment(intent.id) if is_repeat(intent) else None) or read_payment(intent)

    def _default_card_id(self, payer: str) -> str | None:
        card = self.default_card(payer)
        return None if card is None else card.id

    def _payment_made_with(self, order: CardOrder, key: str) -> Payment | None:
        """The payment that this key has made, if it was for the same order."""
        made = self._payments_of(order.payer, since=self._now() - _KEYS_LIVE)
        intent = next((each for each in made if named(each.metadata, KEY) == key), None)
        if intent is None or (intent.amount, intent.currency, named(intent.metadata, REFERENCE)) != (
            order.amount_cents,
            order.currency,
            order.reference,
        ):
            return None
        return self._with_history(intent)

    def payment(self, payment_id: str) -> Payment | None:
        """A PaymentIntent with its refunds, disputes and invoice."""
        intents = self._client.v1.payment_intents
        intent = found(lambda: intents.retrieve(payment_id, {"expand": ["latest_charge"]}))
        return None if intent is None else self._with_history(intent)

    def _with_history(self, intent: stripe.PaymentIntent) -> Payment:
        v1, name = self._client.v1, intent.id
        invoices = every(
            lambda: v1.invoice_payments.list(
                {
                    "payment": {"type": "payment_intent", "payment_intent": name},
                    "expand": ["data.invoice"],
                    "limit": 1,
                }
            )
        )
        paid_for = next(invoices, None)
        invoice = None if paid_for is None else paid_for.invoice
        if intent.latest_charge is None:  # nothing to give or take back
            return read_payment(intent, invoice=invoice)
        return read_payment(
            intent,
            refunds=every(lambda: v1.refunds.list({"payment_intent": name, "limit": PAGE})),
            disputes=every(lambda: v1.disputes.list({"payment_intent": name, "limit": PAGE})),
            invoice=invoice,
        )

    def _payments_of(self, payer: str, *, since: int) -> Iterator[stripe.PaymentIntent]:
        """The payments of a payer from a moment on, newest first."""
        intents = self._client.v1.payment_intents
        return every(
            lambda: intents.list(
                {
                    "customer": payer,
                    "created": {"gte": since // SECOND},
                    "limit": PAGE,
                    "expand": ["data.latest_charge"],
                }
            )
        )

    def find_payment(self, *, payer: str, reference: str, since: int) -> Payment | None:
        """The newest payment of a payer with this reference.

        Stripe's clock and ours differ: it is looked for from a minute before ``since``, so that none is missed.
        """
        made = self._payments_of(payer, since=since - _CLOCKS_DIFFER)
        intent = next((each for each in made if named(each.metadata, REFERENCE) == reference), None)
        return None if intent is None else self._with_history(intent)

    def refund(self, payment_id: str, *, amount_cents: int, reference: str, key: str) -> Refund:
        """Give money back."""
        refunds = self._client.v1.refunds
        with making():
            refund = refunds.create(
                {
                    "payment_intent": payment_id,
                    "amount": amount_cents,
                    "metadata": {REFERENCE: reference, KEY: key},
                },
                {"idempotency_key": key},
            )
        current = found(lambda: refunds.retrieve(refund.id)) if is_repeat(refund) else None
        return read_refund(current or refund, payment=payment_id)

    def refunds(self, payment_id: str) -> list[Refund]:
        """All refunds of a payment, newest first."""
        made = every(lambda: self._client.v1.refunds.list({"payment_intent": payment_id, "limit": PAGE}))
        return [read_refund(each, payment=payment_id) for each in made]

    # --- monthly plans ---------------------------------------------------------------------------------------------

    def subscription(self, subscription_id: str) -> Subscription | None:
        """A subscription as it stands now."""
        subscription = found(lambda: self._client.v1.subscriptions.retrieve(subscription_id))
        return None if subscription is None else read_subscription(subscription)

    def change_subscription(
        self, subscription_id: str, *, plan: str, title: str, amount_cents: int, price: str | None, key: str
    ) -> Subscription:
        """Put another price on the item. When the difference cannot be paid, nothing changes: ``ProviderRefused``.

        The key is kept with the subscription, so that a repeat is known as one even when Stripe has forgotten it.
        """
        subscriptions = self._client.v1.subscriptions
        with making():
            now = subscriptions.retrieve(subscription_id)
            if named(now.metadata, CHANGE) == key:
                return read_subscription(now)
            parameters = change_parameters(
                item=now.items.data[0].id,
                plan=plan,
                amount_cents=amount_cents,
                currency=now.currency,
                price=price,
                product=None if price is not None else self._product(plan, title),
                key=key,
            )
            if now.cancel_at_period_end:
                parameters["cancel_at_period_end"] = False
            elif now.cancel_at is not None:
                parameters["cancel_at"] = ""
            changed = subscriptions.update(subscription_id, parameters, {"idempotency_key": key})
        return read_subscription(changed)

    def _product(self, plan: str, title: str) -> str:
        """The product of a plan, for a price that only one subscription has; made when it is first wanted."""
        name = f"tallystick_{plan}"
        try:
            return self._client.v1.products.create({"id": name, "name": title, "metadata": {PLAN: plan}}).id
        except stripe.InvalidRequestError as error:
            if error.code != "resource_already_exists":
                raise
            return name

    def cancel_subscription(self, subscription_id: str, *, at_period_end: bool, key: str) -> Subscription:
        """End it with the period that is paid, or at once. One that has ended stays as it is."""
        subscriptions = self._client.v1.subscriptions
        try:
            with making():
                told = (
                    subscriptions.update(
                        subscription_id, {"cancel_at_period_end": True}, {"idempotency_key": key}
                    )
                    if at_period_end
                    else subscriptions.cancel(subscription_id, {}, {"idempotency_key": key})
                )
        except ProviderRefused:
            current = self.subscription(subscription_id)
            if current is None or current.status != "canceled":
                raise
            return current
        return (self.subscription(told.id) if is_repeat(told) else None) or read_subscription(told)

    def invoice(self, invoice_id: str) -> Invoice | None:
        """A bill as it stands now."""
        parts = ["payments.data.payment.payment_intent"]
        invoice = found(lambda: self._client.v1.invoices.retrieve(invoice_id, {"expand": parts}))
        return None if invoice is None else read_invoice(invoice)

    # --- what happened ---------------------------------------------------------------------------------------------

    def read_event(self, body: bytes, signature: str | None) -> Event:
        """An event as a webhook has sent it."""
        return verified_event(self._client, body, signature, secrets=self._secrets, now=self._now())

    def events(self, *, since: int) -> Iterator[Event]:
        """All events of the last 30 days, for Stripe keeps them no longer, from ``since`` on."""
        lists = [
            self._events_of(SUBSCRIBED[start : start + _TYPES_AT_ONCE], since=since)
            for start in range(0, len(SUBSCRIBED), _TYPES_AT_ONCE)
        ]
        for event in heapq.merge(*lists, key=lambda event: event.created, reverse=True):
            yield read_event(event)

    def _events_of(self, types: Sequence[str], *, since: int) -> Iterator[stripe.Event]:
        events = self._client.v1.events
        return every(
            lambda: events.list({"types": list(types), "created": {"gte": since // SECOND}, "limit": PAGE})
        )
