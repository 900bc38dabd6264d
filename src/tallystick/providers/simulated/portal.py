"""The payer's own page: cards, plans and bills. Whoever has its address may use it, for an hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tallystick.core.times import HOUR
from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Card, Invoice, Subscription
from tallystick.providers.simulated import charging, pages, subscriptions
from tallystick.providers.simulated.books import Books
from tallystick.providers.simulated.cards import sentence_of
from tallystick.providers.simulated.documents import (
    InvoiceDocument,
    PayerDocument,
    PortalDocument,
    SubscriptionDocument,
)

OPEN_MICROS: Final = HOUR
SHOWN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalView:
    """What a payer sees of itself. ``titles`` names what each subscription and bill is for, by its id."""

    id: str
    email: str | None
    return_url: str
    cards: tuple[Card, ...]
    default: str | None
    subscriptions: tuple[Subscription, ...]
    invoices: tuple[Invoice, ...]
    titles: dict[str, str]


def create(books: Books, payer: str, *, return_url: str) -> str:
    """A way in; gives its address."""
    pages.check_address(return_url)
    books.get(PayerDocument, payer, lock=False)
    made = books.add(
        PortalDocument(
            created_at=books.now, payer=payer, return_url=return_url, expires_at=books.now + OPEN_MICROS
        )
    )
    return f"{books.public_url}/simulated/portal/{made.id}"


def _payer_of(
    books: Books, portal_id: str, *, lock: bool = True
) -> tuple[PortalDocument, PayerDocument] | None:
    portal = books.find(PortalDocument, portal_id)
    if portal is None or portal.expires_at <= books.now:
        return None
    return portal, books.get(PayerDocument, portal.payer, lock=lock)


def view(books: Books, portal_id: str) -> PortalView | None:
    """What the payer sees; None when there is no such page any more."""
    found = _payer_of(books, portal_id, lock=False)
    if found is None:
        return None
    portal, payer = found
    plans = books.newest(SubscriptionDocument, payer=payer.id, limit=SHOWN)
    bills = books.newest(InvoiceDocument, payer=payer.id, limit=SHOWN)
    default = payer.card()
    return PortalView(
        id=portal.id,
        email=payer.email,
        return_url=portal.return_url,
        cards=tuple(charging.shown_card(card) for card in payer.cards),
        default=None if default is None else default.id,
        subscriptions=tuple(subscriptions.shown_subscription(each) for each in plans),
        invoices=tuple(subscriptions.shown_invoice(books, each) for each in bills),
        titles={each.id: each.title for each in plans} | {each.id: each.title for each in bills},
    )


def set_card(books: Books, portal_id: str, number: str) -> bool:
    """Save a test card and charge it from now on; what is owed is tried again with it. False when there is no page.

    Raises ``ProviderRefused`` for a card that its bank does not let be saved.
    """
    found = _payer_of(books, portal_id)
    if found is None:
        return False
    _, payer = found
    card = charging.known_card(number)
    if card.here == "decline":
        raise ProviderRefused(sentence_of(card.here_code), code=card.here_code)
    payer.default = charging.save_card(books, payer, card.number).id
    books.save(payer)
    for each in books.newest(SubscriptionDocument, payer=payer.id, limit=SHOWN):
        subscription = books.get(SubscriptionDocument, each.id)
        if subscription.retry_at is not None:
            subscription.retry_at = books.now
            books.save(subscription)
    return True


def end_subscription(books: Books, portal_id: str, subscription_id: str, *, ends: bool) -> bool:
    """Let a plan end with its period, or take that back. False when there is no such page, or plan of this payer."""
    found = _payer_of(books, portal_id)
    subscription = books.find(SubscriptionDocument, subscription_id, lock=True)
    if found is None or subscription is None or subscription.payer != found[1].id:
        return False
    subscriptions.end_with_period(books, subscription, ends=ends)
    return True
