"""What every payment provider must do, told by the port alone: the same scenarios run on each implementation.

A ``Driver`` does what somebody else would do by hand: pay on a page, dispute a payment, let a month pass.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, Protocol, TypeAlias

import pytest

from tallystick.core.times import HOUR
from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.payments import (
    CardOrder,
    Checkout,
    CheckoutMode,
    CheckoutOrder,
    Event,
    Payment,
    PaymentProvider,
    Subscription,
)

CardWord: TypeAlias = Literal[
    "good",  # pays, here and later
    "soft",  # declined on the page; a later try may help
    "hard",  # declined on the page, for good
    "authentication",  # on the page its owner confirms it; later it is declined
    "later",  # pays later, by hand
    "then_soft",  # pays on the page; later declined softly
    "then_hard",  # pays on the page; later declined for good
    "then_unknown_done",  # pays on the page; later it is charged, and the first answer is lost
    "then_unknown_lost",  # pays on the page; later the first request is lost
]

_numbers = itertools.count(1)


class Driver(Protocol):
    """The provider, and whatever others do."""

    @property
    def provider(self) -> PaymentProvider:
        """The provider under test."""
        ...

    def now(self) -> int:
        """The provider's time."""
        ...

    def pay(self, checkout: Checkout, card: CardWord) -> None:
        """Somebody pays on the page, or tries to."""
        ...

    def settle(self, payment: str, *, succeeded: bool) -> None:
        """A payment that takes its time comes, or does not."""
        ...

    def dispute(self, payment: str) -> None:
        """The payer's bank takes the money back."""
        ...

    def inquire(self, payment: str) -> None:
        """The payer's bank asks, and takes nothing yet."""
        ...

    def decide(self, payment: str, *, won: bool) -> None:
        """The bank decides the open dispute, or drops its inquiry."""
        ...

    def let_expire(self, checkout: Checkout) -> None:
        """Time passes until the page has expired."""
        ...

    def end_period(self, subscription: Subscription) -> None:
        """Time passes until the period has ended and what follows was done."""
        ...

    def told(self) -> list[Event]:
        """The events that were sent since the last call, read as a webhook reads them."""
        ...


# --- words for the scenarios -----------------------------------------------------------------------------------------


def fresh(prefix: str = "pay") -> str:
    """An id of ours, or a key, that nobody used."""
    return f"{prefix}_{next(_numbers)}"


def payer_of(driver: Driver) -> str:
    """A new payer."""
    return driver.provider.create_payer(reference=fresh("cust"), email="ada@example.test", key=fresh("key"))


def page_of(
    driver: Driver,
    payer: str,
    *,
    mode: CheckoutMode = "payment",
    cents: int = 1_000,
    save_card: bool = False,
    plan: str | None = None,
    key: str | None = None,
) -> Checkout:
    """A page that is open for an hour."""
    order = CheckoutOrder(
        reference=fresh(),
        mode=mode,
        payer=payer,
        title="Middle pack",
        success_url="https://shop.example.test/done",
        cancel_url="https://shop.example.test/back",
        expires_at=driver.now() + HOUR,
        amount_cents=0 if mode == "setup" else cents,
        plan=plan,
        save_card=save_card,
    )
    return driver.provider.create_checkout(order, key=key or fresh("key"))


def read(driver: Driver, checkout: Checkout) -> Checkout:
    """A page as it is now."""
    found = driver.provider.checkout(checkout.id)
    assert found is not None
    return found


def payment_of(driver: Driver, payment: str | None) -> Payment:
    """A payment as it is now."""
    assert payment is not None
    found = driver.provider.payment(payment)
    assert found is not None
    return found


def bought(driver: Driver, *, cents: int = 1_000) -> Payment:
    """A payment that was made on a page."""
    page = page_of(driver, payer_of(driver), cents=cents)
    driver.pay(page, "good")
    return payment_of(driver, read(driver, page).payment)


def with_card(driver: Driver, card: CardWord) -> str:
    """A payer who has saved a card."""
    payer = payer_of(driver)
    driver.pay(page_of(driver, payer, mode="setup"), card)
    driver.told()
    return payer


def order_of(payer: str, *, cents: int = 2_500) -> CardOrder:
    """A charge of the payer's default card."""
    return CardOrder(reference=fresh(), payer=payer, amount_cents=cents, description="Refill")


def subscribed(driver: Driver, card: CardWord = "good", *, cents: int = 2_000) -> Subscription:
    """A plan that somebody has begun to pay."""
    page = page_of(driver, payer_of(driver), mode="subscription", cents=cents, plan="pro")
    driver.pay(page, card)
    return plan_of(driver, read(driver, page).subscription)


def plan_of(driver: Driver, subscription: str | None) -> Subscription:
    """A subscription as it is now."""
    assert subscription is not None
    found = driver.provider.subscription(subscription)
    assert found is not None
    return found


def kinds(driver: Driver) -> set[tuple[str, str]]:
    """What was told since the last time, and what about."""
    return {(event.type, event.subject_id) for event in driver.told()}


@contextmanager
def refused() -> Iterator[None]:
    """The provider says no."""
    with pytest.raises(ProviderRefused) as caught:
        yield
    assert caught.value.detail


# --- pages -----------------------------------------------------------------------------------------------------------


def purchase_paid(driver: Driver) -> None:
    """A page is open, is paid once, and says what it made."""
    payer = payer_of(driver)
    page = page_of(driver, payer, save_card=True)
    assert ("open", "unpaid", 1_000, payer) == (page.status, page.paid, page.amount_cents, page.payer)
    assert page.url is not None
    assert not page.live

    driver.pay(page, "good")
    done = read(driver, page)
    assert ("complete", "paid", page.reference) == (done.status, done.paid, done.reference)
    payment = payment_of(driver, done.payment)
    assert ("succeeded", 1_000, 0, ()) == (
        payment.status, payment.amount_cents, payment.refunded_cents, payment.disputes
    )  # fmt: skip
    assert (page.reference, payer, "usd") == (payment.reference, payment.payer, payment.currency)
    assert driver.provider.default_card(payer) is not None
    assert {
        ("checkout.session.completed", page.id),
        ("payment_intent.succeeded", payment.id),
    } <= kinds(driver)


def purchase_declined_then_paid(driver: Driver) -> None:
    """A declined card leaves the page open; another card pays on it."""
    page = page_of(driver, payer_of(driver))
    driver.pay(page, "soft")
    tried = read(driver, page)
    assert ("open", "unpaid") == (tried.status, tried.paid)
    assert "payment_intent.payment_failed" in {kind for kind, _ in kinds(driver)}

    driver.pay(page, "good")
    done = read(driver, page)
    assert ("complete", "paid") == (done.status, done.paid)
    assert (None, None) == (
        payment_of(driver, done.payment).decline, payment_of(driver, done.payment).failure
    )  # fmt: skip


def purchase_confirmed(driver: Driver) -> None:
    """A card that wants its owner's word pays when the owner gives it."""
    page = page_of(driver, payer_of(driver))
    driver.pay(page, "authentication")
    assert "paid" == read(driver, page).paid


def purchase_paid_later(driver: Driver) -> None:
    """A page is complete before the money comes; only then it is paid."""
    page = page_of(driver, payer_of(driver))
    driver.pay(page, "later")
    waiting = read(driver, page)
    assert ("complete", "unpaid") == (waiting.status, waiting.paid)
    assert "processing" == payment_of(driver, waiting.payment).status
    assert ("checkout.session.completed", page.id) in kinds(driver)

    assert waiting.payment is not None
    driver.settle(waiting.payment, succeeded=True)
    assert "paid" == read(driver, page).paid
    assert "succeeded" == payment_of(driver, waiting.payment).status
    assert ("checkout.session.async_payment_succeeded", page.id) in kinds(driver)


def purchase_failed_later(driver: Driver) -> None:
    """The money of a complete page never comes."""
    page = page_of(driver, payer_of(driver))
    driver.pay(page, "later")
    payment = read(driver, page).payment
    assert payment is not None
    driver.settle(payment, succeeded=False)
    failed = read(driver, page)
    assert ("complete", "unpaid") == (failed.status, failed.paid)
    assert "failed" == payment_of(driver, payment).status
    assert ("checkout.session.async_payment_failed", page.id) in kinds(driver)


def page_expires(driver: Driver) -> None:
    """Nobody pays on a page after its time."""
    page = page_of(driver, payer_of(driver))
    driver.let_expire(page)
    gone = read(driver, page)
    assert ("expired", "unpaid", None) == (gone.status, gone.paid, gone.url)
    assert ("checkout.session.expired", page.id) in kinds(driver)


def page_is_closed(driver: Driver) -> None:
    """A page that was closed by us is expired; one that is paid stays as it is."""
    page = page_of(driver, payer_of(driver))
    driver.provider.expire_checkout(page.id)
    driver.provider.expire_checkout(page.id)
    assert "expired" == read(driver, page).status

    paid = page_of(driver, payer_of(driver))
    driver.pay(paid, "good")
    driver.provider.expire_checkout(paid.id)
    assert ("complete", "paid") == (read(driver, paid).status, read(driver, paid).paid)


def card_is_saved(driver: Driver) -> None:
    """A page in the mode setup charges nothing and leaves a card; the card that was saved last is the default."""
    payer = payer_of(driver)
    assert driver.provider.default_card(payer) is None
    page = page_of(driver, payer, mode="setup")
    driver.pay(page, "good")
    done = read(driver, page)
    assert ("complete", "nothing_due") == (done.status, done.paid)
    first = driver.provider.default_card(payer)
    assert first is not None
    assert done.card == first.id
    assert (4, True) == (len(first.last4), 1 <= first.exp_month <= 12)

    driver.pay(page_of(driver, payer, mode="setup"), "then_soft")
    second = driver.provider.default_card(payer)
    assert second is not None
    assert first.id != second.id


def repeats_of_a_page(driver: Driver) -> None:
    """The same key gives the same page; with another request it is refused."""
    payer = payer_of(driver)
    order = CheckoutOrder(
        reference=fresh(),
        mode="payment",
        payer=payer,
        title="Pack",
        success_url="https://shop.example.test/done",
        cancel_url="https://shop.example.test/back",
        expires_at=driver.now() + HOUR,
        amount_cents=1_000,
    )
    key = fresh("key")
    first = driver.provider.create_checkout(order, key=key)
    assert first == driver.provider.create_checkout(order, key=key)
    with refused():
        page_of(driver, payer, cents=2_000, key=key)


def nothing_there(driver: Driver) -> None:
    """Looking up what does not exist gives None."""
    provider = driver.provider
    assert [None] * 4 == [
        provider.checkout("cs_none"),
        provider.payment("pi_none"),
        provider.subscription("sub_none"),
        provider.invoice("in_none"),
    ]
    assert provider.find_payment(payer=payer_of(driver), reference=fresh(), since=0) is None


# --- saved cards -----------------------------------------------------------------------------------------------------


def refill_succeeds(driver: Driver) -> None:
    """A saved card is charged; a repeat with the key charges nothing more, another order with it is refused."""
    payer = with_card(driver, "good")
    since = driver.now()
    order, key = order_of(payer), fresh("key")
    payment = driver.provider.charge_card(order, key=key)
    assert ("succeeded", 2_500, order.reference) == (payment.status, payment.amount_cents, payment.reference)
    assert payment.id == driver.provider.charge_card(order, key=key).id
    assert payment == driver.provider.find_payment(payer=payer, reference=order.reference, since=since - HOUR)
    assert [("payment_intent.succeeded", payment.id)] == [
        (event.type, event.subject_id) for event in driver.told() if event.subject == "payment"
    ]
    with refused():
        driver.provider.charge_card(order_of(payer, cents=9_900), key=key)
    with refused():
        driver.provider.charge_card(order_of(payer_of(driver)), key=fresh("key"))


def refill_declined(driver: Driver) -> None:
    """A declined card is an answer: soft where a later try may help, hard where only another card can."""
    cases: tuple[tuple[CardWord, str], ...] = (
        ("then_soft", "soft"), ("then_hard", "hard"), ("authentication", "authentication")
    )  # fmt: skip
    for card, expected in cases:
        payer = with_card(driver, card)
        payment = driver.provider.charge_card(order_of(payer), key=fresh("key"))
        assert ("failed", expected) == (payment.status, payment.decline)
        assert payment.failure
        assert payment.failure_text
        assert ("payment_intent.payment_failed", payment.id) in kinds(driver)


def refill_answer_lost(driver: Driver) -> None:
    """It was charged and the answer was lost: it is found by its reference, and a repeat charges nothing more."""
    payer = with_card(driver, "then_unknown_done")
    order, key, since = order_of(payer), fresh("key"), driver.now()
    with pytest.raises(OutcomeUnknown):
        driver.provider.charge_card(order, key=key)
    found = driver.provider.find_payment(payer=payer, reference=order.reference, since=since - HOUR)
    assert found is not None
    assert "succeeded" == found.status
    assert found.id == driver.provider.charge_card(order, key=key).id


def refill_request_lost(driver: Driver) -> None:
    """The request never arrived: nothing is found, and a repeat with the same key charges once."""
    payer = with_card(driver, "then_unknown_lost")
    order, key = order_of(payer), fresh("key")
    with pytest.raises(OutcomeUnknown):
        driver.provider.charge_card(order, key=key)
    assert driver.provider.find_payment(payer=payer, reference=order.reference, since=0) is None
    payment = driver.provider.charge_card(order, key=key)
    assert "succeeded" == payment.status
    assert payment.id == driver.provider.charge_card(order, key=key).id


# --- money that goes back --------------------------------------------------------------------------------------------


def refunds_up_to_the_whole(driver: Driver) -> None:
    """Refunds add up, each key refunds once, and no more goes back than came."""
    payment = bought(driver)
    driver.told()
    provider, key, reference = driver.provider, fresh("key"), fresh("refund")
    first = provider.refund(payment.id, amount_cents=300, reference=reference, key=key)
    assert ("succeeded", 300, payment.id, reference) == (
        first.status, first.amount_cents, first.payment, first.reference
    )  # fmt: skip
    assert first == provider.refund(payment.id, amount_cents=300, reference=reference, key=key)
    assert 300 == payment_of(driver, payment.id).refunded_cents
    assert ("charge.refunded", payment.id) in kinds(driver)

    with refused():
        provider.refund(payment.id, amount_cents=701, reference=fresh("refund"), key=fresh("key"))
    second = provider.refund(payment.id, amount_cents=700, reference=fresh("refund"), key=fresh("key"))
    assert [second.id, first.id] == [each.id for each in provider.refunds(payment.id)]
    whole = payment_of(driver, payment.id)
    assert ("succeeded", 1_000) == (whole.status, whole.refunded_cents)
    with refused():
        provider.refund(payment.id, amount_cents=1, reference=fresh("refund"), key=fresh("key"))


def dispute_won(driver: Driver) -> None:
    """A dispute takes the money, and a won one gives it back. Meanwhile nothing can be refunded."""
    payment = bought(driver)
    driver.told()
    driver.dispute(payment.id)
    [dispute] = payment_of(driver, payment.id).disputes
    assert ("open", 1_000, 1_000) == (dispute.status, dispute.amount_cents, dispute.withdrawn_cents)
    assert dispute.evidence_due_at is not None
    assert {
        ("charge.dispute.created", payment.id),
        ("charge.dispute.funds_withdrawn", payment.id),
    } <= kinds(driver)
    with refused():
        driver.provider.refund(payment.id, amount_cents=100, reference=fresh("refund"), key=fresh("key"))

    driver.decide(payment.id, won=True)
    [dispute] = payment_of(driver, payment.id).disputes
    assert ("won", 0) == (dispute.status, dispute.withdrawn_cents)
    assert {
        ("charge.dispute.closed", payment.id),
        ("charge.dispute.funds_reinstated", payment.id),
    } <= kinds(driver)


def dispute_lost(driver: Driver) -> None:
    """A lost dispute keeps what it took."""
    payment = bought(driver)
    driver.dispute(payment.id)
    driver.told()
    driver.decide(payment.id, won=False)
    [dispute] = payment_of(driver, payment.id).disputes
    assert ("lost", 1_000) == (dispute.status, dispute.withdrawn_cents)
    told = kinds(driver)
    assert ("charge.dispute.closed", payment.id) in told
    assert ("charge.dispute.funds_reinstated", payment.id) not in told


def inquiry_dropped(driver: Driver) -> None:
    """An inquiry takes nothing, and when it is dropped nothing has happened."""
    payment = bought(driver)
    driver.told()
    driver.inquire(payment.id)
    [dispute] = payment_of(driver, payment.id).disputes
    assert ("inquiry", 0) == (dispute.status, dispute.withdrawn_cents)
    told = kinds(driver)
    assert ("charge.dispute.created", payment.id) in told
    assert ("charge.dispute.funds_withdrawn", payment.id) not in told

    driver.decide(payment.id, won=True)
    [dispute] = payment_of(driver, payment.id).disputes
    assert ("closed", 0) == (dispute.status, dispute.withdrawn_cents)


# --- monthly plans ---------------------------------------------------------------------------------------------------


def subscription_begins(driver: Driver) -> None:
    """A page begins a plan, paid for its first month."""
    subscription = subscribed(driver)
    assert ("active", "pro", 2_000) == (subscription.status, subscription.plan, subscription.amount_cents)
    assert subscription.period_start < subscription.period_end
    assert (None, None) == (subscription.ends_at, subscription.canceled_at)
    invoice = driver.provider.invoice(str(subscription.latest_invoice))
    assert invoice is not None
    assert (True, "create", 2_000) == (invoice.paid, invoice.reason, invoice.amount_cents)
    assert (subscription.id, "pro") == (invoice.subscription, invoice.plan)
    told = kinds(driver)
    assert {("customer.subscription.created", subscription.id), ("invoice.paid", invoice.id)} <= told


def subscription_renews(driver: Driver) -> None:
    """The next period begins where the last one ended, and is paid with the saved card."""
    before = subscribed(driver)
    driver.told()
    driver.end_period(before)
    after = plan_of(driver, before.id)
    assert ("active", before.period_end) == (after.status, after.period_start)
    invoice = driver.provider.invoice(str(after.latest_invoice))
    assert invoice is not None
    assert (True, "cycle", 2_000) == (invoice.paid, invoice.reason, invoice.amount_cents)
    assert (after.period_start, after.period_end) == (invoice.period_start, invoice.period_end)
    assert ("invoice.paid", invoice.id) in kinds(driver)


def subscription_past_due(driver: Driver) -> None:
    """A renewal that cannot be paid leaves the plan past due, with the reason on the bill."""
    before = subscribed(driver, "then_soft")
    driver.told()
    driver.end_period(before)
    after = plan_of(driver, before.id)
    assert "past_due" == after.status
    invoice = driver.provider.invoice(str(after.latest_invoice))
    assert invoice is not None
    assert (False, "cycle") == (invoice.paid, invoice.reason)
    told = kinds(driver)
    assert ("invoice.payment_failed", invoice.id) in told
    assert ("customer.subscription.updated", after.id) in told


def subscription_changes(driver: Driver) -> None:
    """A dearer plan is billed for the rest of the period at once; the period stays."""
    before = subscribed(driver)
    driver.provider.cancel_subscription(before.id, at_period_end=True, key=fresh("key"))
    driver.told()
    key = fresh("key")
    after = driver.provider.change_subscription(
        before.id, plan="max", title="Max", amount_cents=5_000, price=None, key=key
    )
    assert ("active", "max", 5_000, None) == (after.status, after.plan, after.amount_cents, after.ends_at)
    assert before.period_end == after.period_end
    invoice = driver.provider.invoice(str(after.latest_invoice))
    assert invoice is not None
    assert (True, "update") == (invoice.paid, invoice.reason)
    assert 0 < invoice.amount_cents <= 3_000
    told = kinds(driver)
    assert {("customer.subscription.updated", after.id), ("invoice.paid", invoice.id)} <= told
    again = driver.provider.change_subscription(
        before.id, plan="max", title="Max", amount_cents=5_000, price=None, key=key
    )
    assert after.latest_invoice == again.latest_invoice


def subscription_change_unpaid(driver: Driver) -> None:
    """A change that cannot be paid is refused, and nothing has changed."""
    before = subscribed(driver, "then_soft")
    with refused():
        driver.provider.change_subscription(
            before.id, plan="max", title="Max", amount_cents=5_000, price=None, key=fresh("key")
        )
    after = plan_of(driver, before.id)
    assert ("active", "pro", 2_000) == (after.status, after.plan, after.amount_cents)


def subscription_ends_with_its_period(driver: Driver) -> None:
    """A plan that is told to end goes on until what was paid for is over."""
    before = subscribed(driver)
    told_to = driver.provider.cancel_subscription(before.id, at_period_end=True, key=fresh("key"))
    assert ("active", before.period_end, None) == (told_to.status, told_to.ends_at, told_to.canceled_at)
    driver.told()
    driver.end_period(before)
    after = plan_of(driver, before.id)
    assert "canceled" == after.status
    assert after.canceled_at is not None
    assert ("customer.subscription.deleted", before.id) in kinds(driver)


def subscription_ends_at_once(driver: Driver) -> None:
    """A plan that is canceled is over, and cannot be changed any more."""
    before = subscribed(driver)
    driver.told()
    after = driver.provider.cancel_subscription(before.id, at_period_end=False, key=fresh("key"))
    assert "canceled" == after.status
    assert after.canceled_at is not None
    assert ("customer.subscription.deleted", before.id) in kinds(driver)
    again = driver.provider.cancel_subscription(before.id, at_period_end=True, key=fresh("key"))
    assert ("canceled", after.canceled_at) == (again.status, again.canceled_at)
    with refused():
        driver.provider.change_subscription(
            before.id, plan="max", title="Max", amount_cents=5_000, price=None, key=fresh("key")
        )


def events_are_listed(driver: Driver) -> None:
    """Every event can be listed again, newest first, with what it is about."""
    since = driver.now()
    payment = bought(driver)
    driver.provider.refund(payment.id, amount_cents=100, reference=fresh("refund"), key=fresh("key"))
    told = {event.id: event for event in driver.told() if event.subject != "other"}
    listed = list(driver.provider.events(since=since - HOUR))
    assert set(told) <= {event.id for event in listed}
    assert sorted((event.created_at for event in listed), reverse=True) == [
        event.created_at for event in listed
    ]
    known = {event.id: event for event in listed}
    assert all(
        (event.type, event.subject_id) == (known[name].type, known[name].subject_id)
        for name, event in told.items()
    )


SCENARIOS: tuple[Callable[[Driver], None], ...] = (
    purchase_paid,
    purchase_declined_then_paid,
    purchase_confirmed,
    purchase_paid_later,
    purchase_failed_later,
    page_expires,
    page_is_closed,
    card_is_saved,
    repeats_of_a_page,
    nothing_there,
    refill_succeeds,
    refill_declined,
    refill_answer_lost,
    refill_request_lost,
    refunds_up_to_the_whole,
    dispute_won,
    dispute_lost,
    inquiry_dropped,
    subscription_begins,
    subscription_renews,
    subscription_past_due,
    subscription_changes,
    subscription_change_unpaid,
    subscription_ends_with_its_period,
    subscription_ends_at_once,
    events_are_listed,
)
