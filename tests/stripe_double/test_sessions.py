"""Checkout sessions: paid, declined, paid later, expired, abandoned, free, saving a card."""

from typing import Any

import pytest
import stripe

from tests.stripe_double import StripeDouble, scenes


@pytest.fixture
def ann(stripe_client: stripe.StripeClient) -> str:
    """A customer."""
    return scenes.customer(stripe_client)


def test_a_pack_is_paid(stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str) -> None:
    """The session, its payment, its invoice and the saved card hang together, and the events tell it."""
    session = scenes.pack(stripe_client, ann)
    opened = stripe_client.v1.checkout.sessions.retrieve(session)
    assert ("open", "unpaid", None, 1000, "usd") == (
        opened.status,
        opened.payment_status,
        opened.payment_intent,
        opened.amount_total,
        opened.currency,
    )
    assert str(opened.url).startswith("https://")
    stripe_double.complete(session)
    done = stripe_client.v1.checkout.sessions.retrieve(
        session, {"expand": ["payment_intent", "invoice.payments"]}
    )
    found = done.to_dict()
    assert ("complete", "paid", "purchase-1", None) == (
        found["status"],
        found["payment_status"],
        found["client_reference_id"],
        found["url"],
    )
    assert {"purchase_id": "purchase-1"} == found["metadata"] == found["payment_intent"]["metadata"]
    assert ("paid", 1000) == (found["invoice"]["status"], found["invoice"]["amount_paid"])
    assert found["invoice"]["hosted_invoice_url"].startswith("https://")
    assert found["invoice"]["invoice_pdf"].startswith("https://")
    [payment] = found["invoice"]["payments"]["data"]
    assert found["payment_intent"]["id"] == payment["payment"]["payment_intent"]
    [card] = stripe_client.v1.payment_methods.list({"customer": ann}).data
    assert card.id == found["payment_intent"]["payment_method"]
    assert "checkout.session.completed" == scenes.types(stripe_double, "")[-1]
    assert ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"] == scenes.types(
        stripe_double, "payment_intent", "charge"
    )
    assert [
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
    ] == scenes.types(stripe_double, "invoice.")
    with pytest.raises(ValueError, match="complete"):
        stripe_double.complete(session)


def test_a_declined_card_leaves_the_page_open(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """The payer may try another card: one payment, two charges."""
    session = scenes.pack(stripe_client, ann)
    stripe_double.decline(session, "insufficient_funds")
    opened = stripe_client.v1.checkout.sessions.retrieve(session)
    assert ("open", "unpaid") == (opened.status, opened.payment_status)
    stripe_double.complete(session)
    done = stripe_client.v1.checkout.sessions.retrieve(session)
    assert ("paid", opened.payment_intent) == (done.payment_status, done.payment_intent)
    charges = stripe_client.v1.charges.list({"payment_intent": str(done.payment_intent)}).data
    assert ["succeeded", "failed"] == [each.status for each in charges]
    with pytest.raises(ValueError, match="Your card was declined"):
        stripe_double.complete(scenes.pack(stripe_client, ann), "charge_declined")


@pytest.mark.parametrize("paid", [True, False])
def test_a_payment_can_come_later(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str, *, paid: bool
) -> None:
    """The session is complete and unpaid until the bank has answered; then another event tells how it ended."""
    session = scenes.pack(stripe_client, ann)
    stripe_double.pay_later(session)
    waiting = stripe_client.v1.checkout.sessions.retrieve(session)
    assert ("complete", "unpaid") == (waiting.status, waiting.payment_status)
    [completed] = stripe_double.outbox.pending("checkout.session.completed")
    assert "unpaid" == completed["data"]["object"]["payment_status"]
    stripe_double.bank_answers(session, paid=paid)
    done = stripe_client.v1.checkout.sessions.retrieve(session)
    assert ("complete", "paid" if paid else "unpaid") == (done.status, done.payment_status)
    assert paid is (done.invoice is not None)
    ending = "succeeded" if paid else "failed"
    assert f"checkout.session.async_payment_{ending}" == scenes.types(stripe_double, "checkout")[-1]
    with pytest.raises(ValueError, match=r"the session is complete|is requires_payment_method"):
        stripe_double.bank_answers(session, paid=True)


def test_a_session_is_expired_by_the_product(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """Its address is gone, what was tried is canceled, and nobody can pay it any more."""
    session = scenes.pack(stripe_client, ann)
    stripe_double.decline(session)
    expired = stripe_client.v1.checkout.sessions.expire(session)
    assert ("expired", None) == (expired.status, expired.url)
    assert "canceled" == stripe_client.v1.payment_intents.retrieve(str(expired.payment_intent)).status
    assert ["checkout.session.expired"] == scenes.types(stripe_double, "checkout")
    with pytest.raises(stripe.InvalidRequestError, match="expired"):
        stripe_client.v1.checkout.sessions.expire(session)
    with pytest.raises(ValueError, match="expired"):
        stripe_double.complete(session)


def test_a_session_expires_by_itself(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """An abandoned one ends at its time, not a second before."""
    ends = stripe_double.clock.now() + 3600
    session = scenes.pack(stripe_client, ann, expires_at=ends)
    assert "open" == stripe_double.abandon(session)["status"]
    stripe_double.advance_to(ends - 1)
    assert "open" == stripe_client.v1.checkout.sessions.retrieve(session).status
    stripe_double.advance(seconds=1)
    assert "expired" == stripe_client.v1.checkout.sessions.retrieve(session).status
    other = scenes.pack(stripe_client, ann)
    stripe_double.expire(other)
    assert [other, session] == [
        each.id for each in stripe_client.v1.checkout.sessions.list({"status": "expired"}).data
    ]


@pytest.mark.parametrize("seconds", [29 * 60, 24 * 3600 + 60])
def test_a_session_lasts_half_an_hour_to_a_day(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str, seconds: int
) -> None:
    """Other times are refused."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        scenes.pack(stripe_client, ann, expires_at=stripe_double.clock.now() + seconds)
    assert "expires_at" == caught.value.param


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"mode": None}, "mode"),
        ({"line_items": None}, "line_items"),
        ({"success_url": None}, "success_url"),
        ({"customer": "cus_nobody"}, "customer"),
        ({"customer_email": "ann@example.com"}, None),
        ({"subscription_data": {"metadata": {"a": "b"}}}, "subscription_data"),
        ({"client_reference_id": "x" * 201}, "client_reference_id"),
        ({"line_items": [{"price": "price_nobody", "quantity": 1}]}, "line_items[0][price]"),
    ],
)
def test_a_session_is_refused(
    stripe_client: stripe.StripeClient, ann: str, change: dict[str, Any], param: str | None
) -> None:
    """Each thing that Stripe asks for is asked for."""
    wanted = {key: value for key, value in change.items() if value is not None}
    without = set(change) - set(wanted)
    price = {"currency": "usd", "unit_amount": 1000, "product_data": {"name": "Starter"}}
    asked: Any = {"mode": "payment", "customer": ann, "line_items": [{"price_data": price, "quantity": 1}]}
    asked |= scenes.PAGES | wanted
    with pytest.raises(stripe.InvalidRequestError) as caught:
        stripe_client.v1.checkout.sessions.create({k: v for k, v in asked.items() if k not in without})  # type: ignore[arg-type]
    assert param == caught.value.param


@pytest.mark.parametrize(("currency", "amount"), [("usd", 49), ("jpy", 49), ("usd", 100_000_000)])
def test_totals_have_limits(stripe_client: stripe.StripeClient, ann: str, currency: str, amount: int) -> None:
    """A total below the smallest charge of its currency or above the largest is refused."""
    price = {"currency": currency, "unit_amount": amount, "product_data": {"name": "Odd"}}
    with pytest.raises(stripe.InvalidRequestError):
        scenes.pack(stripe_client, ann, line_items=[{"price_data": price, "quantity": 1}])


def test_a_configured_price_is_paid_several_times(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """Quantity times price is the total; yen have no decimals; a recurring price is no pack."""
    price = stripe_client.v1.prices.create(
        {"currency": "jpy", "unit_amount": 500, "product_data": {"name": "Starter"}}
    )
    session = scenes.pack(stripe_client, ann, line_items=[{"price": price.id, "quantity": 3}])
    stripe_double.complete(session)
    done = stripe_client.v1.checkout.sessions.retrieve(session)
    assert (1500, "jpy") == (done.amount_total, done.currency)
    [item] = stripe_client.v1.checkout.sessions.line_items.list(session).data
    assert (3, 1500) == (item.quantity, item.amount_total)
    monthly = scenes.monthly(stripe_client, "Pro", 1900)
    with pytest.raises(stripe.InvalidRequestError, match="recurring"):
        scenes.pack(stripe_client, ann, line_items=[{"price": monthly, "quantity": 1}])
    stripe_client.v1.prices.update(price.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        scenes.pack(stripe_client, ann, line_items=[{"price": price.id, "quantity": 1}])


def test_a_free_session_needs_no_payment(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """A total of nothing is completed without a payment."""
    price = {"currency": "usd", "unit_amount": 0, "product_data": {"name": "Free"}}
    session = scenes.pack(stripe_client, ann, line_items=[{"price_data": price, "quantity": 1}])
    stripe_double.complete(session)
    done = stripe_client.v1.checkout.sessions.retrieve(session)
    assert ("complete", "no_payment_required", None) == (
        done.status,
        done.payment_status,
        done.payment_intent,
    )


def test_another_currency_is_offered_only_where_it_may_be(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """With adaptive pricing the payer sees another amount; the session's own stays what was asked for."""
    plain = scenes.pack(stripe_client, ann)
    with pytest.raises(ValueError, match="no other currency"):
        stripe_double.complete_in_currency(plain, currency="eur", amount=920)
    session = scenes.pack(stripe_client, ann, adaptive_pricing={"enabled": True})
    stripe_double.complete_in_currency(session, currency="eur", amount=920)
    done = stripe_client.v1.checkout.sessions.retrieve(session)
    assert done.presentment_details is not None
    assert ("eur", 1000, "usd") == (
        done.presentment_details.presentment_currency,
        done.amount_total,
        done.currency,
    )


def test_a_card_is_saved_on_a_session(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """Nothing is paid; the card is the customer's; a refused one leaves the page open."""
    asked: Any = {
        "mode": "setup",
        "currency": "usd",
        "customer": ann,
        "setup_intent_data": {"metadata": {"a": "b"}},
    }
    session = stripe_client.v1.checkout.sessions.create(asked | scenes.PAGES).id
    stripe_double.decline(session, "expired_card")
    stripe_double.complete(session, "authentication_required")
    done = stripe_client.v1.checkout.sessions.retrieve(session, {"expand": ["setup_intent"]}).to_dict()
    assert ("complete", "no_payment_required", "succeeded") == (
        done["status"],
        done["payment_status"],
        done["setup_intent"]["status"],
    )
    [card] = stripe_client.v1.payment_methods.list({"customer": ann}).data
    assert card.id == done["setup_intent"]["payment_method"]
    with pytest.raises(stripe.CardError) as caught:
        stripe_client.v1.payment_intents.create(scenes.refill(ann, card.id))
    assert "authentication_required" == caught.value.code


def test_a_guest_becomes_a_customer_if_something_is_saved(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """Without a customer one is made where the card or an invoice needs it, and not otherwise."""
    assert ann
    price = {"currency": "usd", "unit_amount": 1000, "product_data": {"name": "Starter"}}
    asked: Any = {"mode": "payment", "line_items": [{"price_data": price, "quantity": 1}]} | scenes.PAGES
    guest = stripe_client.v1.checkout.sessions.create(asked).id
    asked["payment_intent_data"] = {"setup_future_usage": "off_session"}
    saving = stripe_client.v1.checkout.sessions.create(asked).id
    for session in (guest, saving):
        stripe_double.complete(session, email="bob@example.com")
    assert stripe_client.v1.checkout.sessions.retrieve(guest).customer is None
    done = stripe_client.v1.checkout.sessions.retrieve(saving, {"expand": ["customer"]}).to_dict()
    assert "bob@example.com" == done["customer"]["email"] == done["customer_details"]["email"]


def test_a_deleted_customer_cannot_pay(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """The page of a customer who is gone does nothing."""
    session = scenes.pack(stripe_client, ann)
    stripe_double.delete_customer(ann)
    with pytest.raises(ValueError, match="deleted"):
        stripe_double.complete(session)


def test_sessions_are_found_by_their_payment(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, ann: str
) -> None:
    """A list by payment intent leads from a refund back to the purchase."""
    first, second = scenes.pack(stripe_client, ann), scenes.pack(stripe_client, ann)
    stripe_double.complete(first)
    intent = stripe_double.complete(second)["payment_intent"]
    assert [second] == [
        each.id for each in stripe_client.v1.checkout.sessions.list({"payment_intent": intent}).data
    ]
    assert [second, first] == [
        each.id for each in stripe_client.v1.checkout.sessions.list({"customer": ann}).data
    ]


def test_the_portal_has_an_address(stripe_client: stripe.StripeClient, ann: str) -> None:
    """A portal session leads to a page, and needs a customer."""
    portal = stripe_client.v1.billing_portal.sessions.create(
        {"customer": ann, "return_url": "https://shop.example"}
    )
    assert portal.url.startswith("https://")
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.billing_portal.sessions.create({"customer": "cus_nobody"})


def test_time_that_went_by_is_noticed() -> None:
    """With a clock of the product's, a session is found expired, at its own time, by whoever asks next."""
    moments = [1_800_000_000]
    with StripeDouble() as double:
        double.clock.follow(lambda: moments[-1])
        client = double.client()
        session = scenes.pack(client, scenes.customer(client), expires_at=moments[0] + 3600)
        moments.append(moments[0] + 7200)
        assert "expired" == client.v1.checkout.sessions.retrieve(session).status
        [event] = double.outbox.pending("checkout.session.expired")
        assert moments[0] + 3600 == event["created"]
        other = scenes.pack(client, scenes.customer(client), expires_at=moments[1] + 3600)
        moments.append(moments[1] + 7200)
        with pytest.raises(ValueError, match="expired"):
            double.complete(other)
        last = scenes.pack(client, scenes.customer(client), expires_at=moments[2] + 3600)
        moments.append(moments[2] + 7200)
        double.catch_up()
        assert "expired" == double.account.objects[last]["status"]
        with pytest.raises(ValueError, match="does not go back"):
            double.advance_to(moments[0])
        assert [] == double.violations
