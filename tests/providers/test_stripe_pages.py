"""Payers, their cards, and the pages that they pay on."""

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Card, PaymentProvider
from tallystick.providers.stripe import StripePayments
from tests.providers.orders import HOUR, moment, pack, subscribe, there
from tests.stripe_double import StripeDouble


def sent(double: StripeDouble, address: str) -> list[dict[str, str]]:
    """The forms that were posted to an address."""
    return [
        dict(parse_qsl(each.form))
        for each in double.requests
        if (each.method, each.address) == ("POST", address)
    ]


def test_it_is_a_provider_called_stripe(stripe_double: StripeDouble) -> None:
    """Its key tells whether real money moves, also a restricted one."""
    lives = {}
    for key in ("sk_test_1", "rk_test_1", "sk_live_1", "rk_live_1", "sk_living_1"):
        provider: PaymentProvider = StripePayments(
            key, webhook_secrets=[], api_base=stripe_double.url, now=lambda: 0
        )
        assert "stripe" == provider.name
        lives[key] = provider.live
    assert ["sk_live_1", "rk_live_1"] == [key for key, live in lives.items() if live]


# --- payers and cards --------------------------------------------------------------------------------------


def test_a_payer_is_made_once(stripe_double: StripeDouble, payments: StripePayments) -> None:
    """A repeat gives the same one, with our reference; an email is no must."""
    first = payments.create_payer(reference="cus_1", email="ann@example.com", key="k1")
    assert first == payments.create_payer(reference="cus_1", email="ann@example.com", key="k1")
    nameless = payments.create_payer(reference="cus_2", email=None, key="k2")
    made = stripe_double.account.objects
    assert ("ann@example.com", "cus_1") == (made[first]["email"], made[first]["metadata"]["reference"])
    assert (None, "cus_2") == (made[nameless]["email"], made[nameless]["metadata"]["reference"])
    assert 2 == len(stripe_double.account.all("customer"))


def test_the_default_card(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Is the last one saved, unless the payer has chosen another; no other way to pay is taken for a card."""
    assert payments.default_card(payer) is None
    stripe_double.save_card(payer, "us_bank_account")
    assert payments.default_card(payer) is None
    first = stripe_double.save_card(payer, "visa")["id"]
    second = stripe_double.save_card(payer, "mastercard")["id"]
    assert payments.default_card(payer) == Card(
        id=second, brand="mastercard", last4="4444", exp_month=12, exp_year=2034
    )
    stripe_double.client().v1.customers.update(payer, {"invoice_settings": {"default_payment_method": first}})
    assert payments.default_card(payer) == Card(
        id=first, brand="visa", last4="4242", exp_month=12, exp_year=2034
    )
    stripe_double.detach(first)
    chosen = there(payments.default_card(payer))
    assert second == chosen.id


def test_a_payer_who_is_gone_has_no_card(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """Neither one that was deleted at Stripe nor one that never was."""
    stripe_double.save_card(payer)
    stripe_double.delete_customer(payer)
    assert payments.default_card(payer) is None
    assert payments.default_card("cus_of_nobody") is None


def test_the_portal(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Is a page of Stripe; there is none for a payer who is gone."""
    assert payments.portal(payer, return_url="https://tally.example.com/").startswith("https://")
    stripe_double.delete_customer(payer)
    with pytest.raises(ProviderRefused) as caught:
        payments.portal(payer, return_url="https://tally.example.com/")
    assert "resource_missing" == caught.value.code


# --- packs -------------------------------------------------------------------------------------------------


def test_a_pack_is_paid(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """A page is open and unpaid, then complete and paid, and leads to the payment and its invoice."""
    order = pack(payer, now=moment(stripe_double))
    made = payments.create_checkout(order, key="k")
    assert (
        "payment",
        "open",
        "unpaid",
        "pay_1",
        payer,
        2500,
        "usd",
        False,
        order.expires_at,
        None,
        None,
    ) == (
        made.mode,
        made.status,
        made.paid,
        made.reference,
        made.payer,
        made.amount_cents,
        made.currency,
        made.live,
        made.expires_at,
        made.payment,
        made.card,
    )
    assert made.url is not None
    assert made == payments.checkout(made.id)

    stripe_double.complete(made.id)
    paid = there(payments.checkout(made.id))
    assert ("complete", "paid", None, None) == (paid.status, paid.paid, paid.url, paid.card)
    payment = there(payments.payment(there(paid.payment)))
    assert ("succeeded", "pay_1", payer, 2500, "usd", False, 0) == (
        payment.status,
        payment.reference,
        payment.payer,
        payment.amount_cents,
        payment.currency,
        payment.live,
        payment.refunded_cents,
    )
    assert paid.invoice is not None
    assert (paid.invoice, f"https://invoice.stripe.test/i/{paid.invoice}") == (
        payment.invoice,
        payment.invoice_url,
    )
    assert payment.receipt_url is not None


def test_what_is_sent_for_a_pack(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """The amount as it is, an invoice, no conversion into other currencies; and no list of ways to pay."""
    payments.create_checkout(pack(payer, now=moment(stripe_double), save_card=True), key="k")
    [form] = sent(stripe_double, "/v1/checkout/sessions")
    assert ("2500", "usd", "1", "Pro pack") == (
        form["line_items[0][price_data][unit_amount]"],
        form["line_items[0][price_data][currency]"],
        form["line_items[0][quantity]"],
        form["line_items[0][price_data][product_data][name]"],
    )
    assert ("pay_1", "pay_1", "pay_1") == (
        form["client_reference_id"],
        form["metadata[reference]"],
        form["payment_intent_data[metadata][reference]"],
    )
    assert ("true", "false", "off_session") == (
        form["invoice_creation[enabled]"],
        form["adaptive_pricing[enabled]"],
        form["payment_intent_data[setup_future_usage]"],
    )
    assert [] == [name for name in form if "payment_method" in name]


def test_a_pack_at_a_price_of_the_operator(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """What it costs is what the price says."""
    price = stripe_double.client().v1.prices.create(
        {"currency": "usd", "unit_amount": 4000, "product_data": {"name": "Pro"}}
    )
    made = payments.create_checkout(pack(payer, now=moment(stripe_double), price=price.id), key="k")
    assert 4000 == made.amount_cents
    with pytest.raises(ProviderRefused) as caught:
        payments.create_checkout(pack(payer, now=moment(stripe_double), price="price_of_nobody"), key="k2")
    assert "resource_missing" == caught.value.code


def test_a_currency_without_cents(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """2,500 yen are 2,500, not 250,000."""
    made = payments.create_checkout(pack(payer, now=moment(stripe_double), currency="jpy"), key="k")
    stripe_double.complete(made.id)
    found = there(payments.checkout(made.id))
    payment = there(payments.payment(there(found.payment)))
    assert (2500, "jpy", 2500) == (found.amount_cents, found.currency, payment.amount_cents)


def test_a_payment_leaves_its_card_when_that_is_wanted(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """It is the card of the page, and from then on the payer's."""
    made = payments.create_checkout(pack(payer, now=moment(stripe_double), save_card=True), key="k")
    stripe_double.complete(made.id, "mastercard")
    found, card = there(payments.checkout(made.id)), there(payments.default_card(payer))
    assert card.id == found.card


def test_a_page_that_is_declined_stays_open(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """Another card may still pay on it, and then the failure is gone."""
    made = payments.create_checkout(pack(payer, now=moment(stripe_double)), key="k")
    stripe_double.decline(made.id)
    found = there(payments.checkout(made.id))
    assert ("open", "unpaid") == (found.status, found.paid)
    tried = there(payments.payment(there(found.payment)))
    assert ("failed", "soft", "generic_decline") == (tried.status, tried.decline, tried.failure)
    stripe_double.complete(made.id)
    paid = there(payments.payment(there(found.payment)))
    assert ("succeeded", None, None) == (paid.status, paid.decline, paid.failure_text)


@pytest.mark.parametrize("paid", [True, False])
def test_a_page_that_is_paid_later(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, *, paid: bool
) -> None:
    """It is complete and unpaid, its payment processing, until the bank answers."""
    made = payments.create_checkout(pack(payer, now=moment(stripe_double)), key="k")
    stripe_double.pay_later(made.id)
    waiting = there(payments.checkout(made.id))
    payment = there(payments.payment(there(waiting.payment)))
    assert ("complete", "unpaid", "processing") == (waiting.status, waiting.paid, payment.status)
    stripe_double.bank_answers(made.id, paid=paid)
    answered, ended = there(payments.checkout(made.id)), there(payments.payment(there(waiting.payment)))
    assert (("paid", "succeeded") if paid else ("unpaid", "failed")) == (answered.paid, ended.status)


def test_saving_a_card(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Nothing is due, and the card is the payer's afterwards."""
    order = pack(payer, now=moment(stripe_double), mode="setup", amount_cents=0, reference="card_1")
    made = payments.create_checkout(order, key="k")
    stripe_double.complete(made.id, "mastercard")
    found, card = there(payments.checkout(made.id)), there(payments.default_card(payer))
    assert ("setup", "complete", "nothing_due", "card_1", card.id, None) == (
        found.mode,
        found.status,
        found.paid,
        found.reference,
        found.card,
        found.payment,
    )


def test_subscribing(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Leads to the subscription, its first invoice and the card that it is paid with."""
    found = subscribe(stripe_double, payments, payer)
    assert ("subscription", "complete", "paid", "sub_1", 2900) == (
        found.mode,
        found.status,
        found.paid,
        found.reference,
        found.amount_cents,
    )
    assert None not in {found.subscription, found.invoice, found.card}


# --- how long a page lives ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "shortest", "longest"),
    [(-HOUR, HOUR // 2, 32 * HOUR // 60), (HOUR, HOUR, HOUR), (30 * HOUR, 23 * HOUR, 24 * HOUR)],
)
def test_the_end_of_a_page_is_brought_within_stripes_bounds(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, asked: int, shortest: int, longest: int
) -> None:
    """Half an hour to a day from now; what lies between is kept."""
    begun = moment(stripe_double)
    order = pack(payer, now=begun, expires_at=begun + asked)
    left = payments.create_checkout(order, key="k").expires_at - begun
    assert shortest <= left <= longest + 10**6


def test_a_page_is_made_once_though_the_clock_goes_on(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """Its end was brought within bounds, so a repeat sends another one, which Stripe refuses: the page is found."""
    order = pack(payer, now=moment(stripe_double), expires_at=moment(stripe_double) + 100 * HOUR)
    made = payments.create_checkout(order, key="k")
    stripe_double.advance(seconds=90)
    assert made == payments.create_checkout(order, key="k")
    stripe_double.complete(made.id)
    again = payments.create_checkout(order, key="k")
    assert (made.id, "complete", "paid") == (again.id, again.status, again.paid)
    assert 1 == len(stripe_double.account.all("checkout.session"))


def test_a_repeat_tells_how_a_page_stands_now(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """Not how it stood when it was made, which is what Stripe repeats."""
    order = pack(payer, now=moment(stripe_double))
    made = payments.create_checkout(order, key="k")
    stripe_double.complete(made.id)
    assert payments.checkout(made.id) == payments.create_checkout(order, key="k")


@pytest.mark.parametrize("change", [{"amount_cents": 9900}, {"reference": "pay_9"}, {"currency": "eur"}])
def test_a_key_is_for_one_order(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, change: dict[str, Any]
) -> None:
    """Another order with the same key is refused, and nothing is made."""
    order = pack(payer, now=moment(stripe_double))
    payments.create_checkout(order, key="k")
    with pytest.raises(ProviderRefused) as caught:
        payments.create_checkout(replace(order, **change), key="k")
    assert "idempotency_error" == caught.value.code
    assert 1 == len(stripe_double.account.all("checkout.session"))


def test_ending_a_page(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Nobody can pay on it any more; one that is paid, ended or unknown stays as it is."""
    opened = payments.create_checkout(pack(payer, now=moment(stripe_double)), key="k1")
    payments.expire_checkout(opened.id)
    payments.expire_checkout(opened.id)
    ended = there(payments.checkout(opened.id))
    assert ("expired", "unpaid", None) == (ended.status, ended.paid, ended.url)

    paid = payments.create_checkout(pack(payer, now=moment(stripe_double)), key="k2")
    stripe_double.complete(paid.id)
    payments.expire_checkout(paid.id)
    found = there(payments.checkout(paid.id))
    assert ("complete", "paid") == (found.status, found.paid)
    payments.expire_checkout("cs_of_nobody")


def test_a_page_that_is_not_there(payments: StripePayments) -> None:
    """Is None."""
    assert payments.checkout("cs_of_nobody") is None
