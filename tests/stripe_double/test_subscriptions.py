"""Subscriptions: begun, renewed, changed, unpaid, cancelled."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tests.stripe_double import StripeDouble, scenes
from tests.stripe_double.resources.periods import moment_after, period_at, share

JANUARY_31 = int(datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp())
DAY = 24 * 60 * 60


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def invoices(client: stripe.StripeClient, subscription: str) -> list[tuple[str | None, int, str | None]]:
    rows = client.v1.invoices.list({"subscription": subscription}).data[::-1]
    return [(each.billing_reason, each.total, each.status) for each in rows]


def period(subscription: stripe.Subscription) -> tuple[int, int]:
    [item] = subscription.to_dict()["items"]["data"]
    return item["current_period_start"], item["current_period_end"]


def item_of(subscription: stripe.Subscription) -> str:
    [item] = subscription.to_dict()["items"]["data"]
    name: str = item["id"]
    return name


@pytest.fixture
def pro(stripe_client: stripe.StripeClient) -> str:
    """A price of 19 dollars a month."""
    return scenes.monthly(stripe_client, "Pro", 1900)


@pytest.fixture
def team(stripe_client: stripe.StripeClient) -> str:
    """A price of 49 dollars a month."""
    return scenes.monthly(stripe_client, "Team", 4900)


def test_a_tier_is_subscribed_to(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """The first invoice is paid, tied to the subscription, and the card stays for the next."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    assert ("active", False) == (subscription.status, subscription.cancel_at_period_end)
    assert [("subscription_create", 1900, "paid")] == invoices(stripe_client, subscription.id)
    found = stripe_client.v1.invoices.retrieve(
        str(subscription.latest_invoice), {"expand": ["payments"]}
    ).to_dict()
    assert subscription.id == found["parent"]["subscription_details"]["subscription"]
    [line] = found["lines"]["data"]
    assert (pro, period(subscription)) == (
        line["pricing"]["price_details"]["price"],
        (line["period"]["start"], line["period"]["end"]),
    )
    [payment] = stripe_client.v1.invoice_payments.list({"invoice": found["id"]}).data
    assert ("paid", found["payments"]["data"][0]["id"]) == (payment.status, payment.id)
    by_intent: Any = {"payment": {"type": "payment_intent", "payment_intent": payment.payment.payment_intent}}
    assert [payment.id] == [each.id for each in stripe_client.v1.invoice_payments.list(by_intent).data]
    assert "customer.subscription.created" in scenes.types(stripe_double, "")
    assert [
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
    ] == scenes.types(stripe_double, "invoice.")


def test_a_declined_card_makes_no_subscription(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """The page stays open until a card is accepted."""
    asked: Any = {"mode": "subscription", "line_items": [{"price": pro, "quantity": 1}]} | scenes.PAGES
    session = stripe_client.v1.checkout.sessions.create(asked).id
    stripe_double.decline(session, "lost_card")
    assert [] == stripe_client.v1.subscriptions.list({"status": "all"}).data
    stripe_double.complete(session)
    assert ["active"] == [each.status for each in stripe_client.v1.subscriptions.list().data]


def test_months_go_by_the_calendar() -> None:
    """A subscription of the 31st renews on the last day of shorter months, and comes back to the 31st."""
    month = {"interval": "month", "interval_count": 1}
    ends = [moment_after(JANUARY_31, month, count) for count in range(4)]
    assert ends == [
        at("2027-01-31T12:00"),
        at("2027-02-28T12:00"),
        at("2027-03-31T12:00"),
        at("2027-04-30T12:00"),
    ]
    assert (ends[1], ends[2]) == period_at(JANUARY_31, month, ends[1])
    assert (ends[0], ends[1]) == period_at(JANUARY_31, month, ends[1] - 1)
    assert at("2028-02-29T12:00") == moment_after(
        at("2024-02-29T12:00"), {"interval": "year", "interval_count": 1}, 4
    )
    assert JANUARY_31 + 14 * DAY == moment_after(JANUARY_31, {"interval": "week", "interval_count": 2}, 1)
    assert JANUARY_31 + 3 * DAY == moment_after(JANUARY_31, {"interval": "day", "interval_count": 1}, 3)
    assert (500, 334, 333) == (
        share(1000, left=1, whole=2),
        share(1001, left=1, whole=3),
        share(1000, left=1, whole=3),
    )


def test_a_subscription_renews_by_itself() -> None:
    """Each month has one invoice, one payment and one period; missed time is made up in order."""
    with StripeDouble(start=JANUARY_31) as double:
        client = double.client()
        subscription = scenes.subscribed(double, client, scenes.monthly(client, "Pro", 1900))
        assert (JANUARY_31, at("2027-02-28T12:00")) == period(subscription)
        double.outbox.drop()
        double.advance_to(at("2027-04-30T11:59:59"))
        renewed = client.v1.subscriptions.retrieve(subscription.id)
        assert (at("2027-03-31T12:00"), at("2027-04-30T12:00")) == period(renewed)
        expected = [("subscription_create", 1900, "paid"), *[("subscription_cycle", 1900, "paid")] * 2]
        assert expected == invoices(client, subscription.id)
        paid = double.outbox.pending("invoice.paid")
        assert [at("2027-02-28T12:00"), at("2027-03-31T12:00")] == [event["created"] for event in paid]
        first = paid[0]["data"]["object"]
        assert (JANUARY_31, at("2027-02-28T12:00")) == (first["period_start"], first["period_end"])
        [line] = first["lines"]["data"]
        assert {"start": at("2027-02-28T12:00"), "end": at("2027-03-31T12:00")} == line["period"]
        updated = double.outbox.pending("customer.subscription.updated")[0]["data"]
        assert JANUARY_31 == updated["previous_attributes"]["items"]["data"][0]["current_period_start"]
        assert [] == double.violations


def test_an_unpaid_renewal_is_tried_again(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """The subscription is past due until the card works again; the invoice is the same."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    card = str(subscription.default_payment_method)
    stripe_double.change_card(card, "insufficient_funds")
    stripe_double.advance_to(period(subscription)[1])
    late = stripe_client.v1.subscriptions.retrieve(subscription.id)
    invoice = stripe_client.v1.invoices.retrieve(str(late.latest_invoice))
    assert ("past_due", "open", 1) == (late.status, invoice.status, invoice.attempt_count)
    assert stripe_double.clock.now() + 3 * DAY == invoice.next_payment_attempt
    assert 1 == len(stripe_double.outbox.pending("invoice.payment_failed"))
    stripe_double.change_card(card, "visa")
    stripe_double.advance(days=3)
    assert "active" == stripe_client.v1.subscriptions.retrieve(subscription.id).status
    assert ("paid", 2) == (
        (paid := stripe_client.v1.invoices.retrieve(invoice.id)).status,
        paid.attempt_count,
    )


def test_a_subscription_that_stays_unpaid_ends(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """After four attempts Stripe gives up."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    stripe_double.change_card(str(subscription.default_payment_method), "charge_declined")
    stripe_double.advance_to(period(subscription)[1] + 15 * DAY)
    ended = stripe_client.v1.subscriptions.retrieve(subscription.id)
    assert ended.cancellation_details is not None
    assert ("canceled", "payment_failed") == (ended.status, ended.cancellation_details.reason)
    assert 4 == len(stripe_double.outbox.pending("invoice.payment_failed"))
    assert [("subscription_create", 1900, "paid"), ("subscription_cycle", 1900, "open")] == invoices(
        stripe_client, subscription.id
    )
    assert [] == stripe_client.v1.subscriptions.list().data
    assert [subscription.id] == [
        each.id for each in stripe_client.v1.subscriptions.list({"status": "ended"}).data
    ]


def test_an_open_invoice_is_paid_by_hand(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """Another card pays it; a second time there is nothing to pay."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro, card="authentication_required")
    stripe_double.advance_to(period(subscription)[1])
    assert 1 == len(stripe_double.outbox.pending("invoice.payment_action_required"))
    invoice = str(stripe_client.v1.subscriptions.retrieve(subscription.id).latest_invoice)
    with pytest.raises(stripe.CardError):
        stripe_client.v1.invoices.pay(invoice)
    other = stripe_double.save_card(str(subscription.customer))["id"]
    assert "paid" == stripe_client.v1.invoices.pay(invoice, {"payment_method": other}).status
    assert "active" == stripe_client.v1.subscriptions.retrieve(subscription.id).status
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        stripe_client.v1.invoices.pay(invoice)


def test_a_customer_without_a_card_is_past_due(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """A detached card pays nothing."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    stripe_double.detach(str(subscription.default_payment_method))
    stripe_double.advance_to(period(subscription)[1])
    assert "past_due" == stripe_client.v1.subscriptions.retrieve(subscription.id).status


def test_an_upgrade_is_billed_at_once(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str, team: str
) -> None:
    """What is left of the old price is credited, what is left of the new one costs; the period stays."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    start, end = period(subscription)
    stripe_double.advance_to(start + (end - start) // 2)
    changed = stripe_client.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item_of(subscription), "price": team}], "proration_behavior": "always_invoice"},
    )
    assert (start, end) == period(changed)
    assert item_of(subscription) == item_of(changed)
    invoice = stripe_client.v1.invoices.retrieve(str(changed.latest_invoice))
    assert ("subscription_update", 1500, "paid") == (invoice.billing_reason, invoice.total, invoice.status)
    assert [-950, 2450] == [line.amount for line in invoice.lines.data]
    assert all(
        line["parent"]["subscription_item_details"]["proration"]
        for line in invoice.to_dict()["lines"]["data"]
    )
    [event] = stripe_double.outbox.pending("customer.subscription.updated")
    assert {"items", "latest_invoice"} == set(event["data"]["previous_attributes"])


def test_a_downgrade_is_credited_on_the_next_invoice(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str, team: str
) -> None:
    """With `create_prorations` nothing is billed now; with `none` nothing is billed at all."""
    subscription = scenes.subscribed(stripe_double, stripe_client, team)
    start, end = period(subscription)
    stripe_double.advance_to(start + (end - start) // 2)
    stripe_client.v1.subscriptions.update(
        subscription.id, {"items": [{"id": item_of(subscription), "price": pro}]}
    )
    assert [("subscription_create", 4900, "paid")] == invoices(stripe_client, subscription.id)
    stripe_double.advance_to(end)
    assert ("subscription_cycle", 1900 - 1500, "paid") == invoices(stripe_client, subscription.id)[-1]
    stripe_client.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item_of(subscription), "price": team}], "proration_behavior": "none"},
    )
    assert 2 == len(invoices(stripe_client, subscription.id))


def test_a_credit_is_used_by_the_next_invoice(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str, team: str
) -> None:
    """A downgrade that is billed at once leaves the customer a balance, and less to pay next time."""
    subscription = scenes.subscribed(stripe_double, stripe_client, team)
    start, end = period(subscription)
    stripe_double.advance_to(start + (end - start) // 2)
    stripe_client.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item_of(subscription), "price": pro}], "proration_behavior": "always_invoice"},
    )
    owner = str(subscription.customer)
    assert -1500 == stripe_client.v1.customers.retrieve(owner).balance
    stripe_double.advance_to(end)
    latest = stripe_client.v1.subscriptions.retrieve(subscription.id).latest_invoice
    invoice = stripe_client.v1.invoices.retrieve(str(latest))
    assert (1900, 400, 400, -1500) == (
        invoice.total,
        invoice.amount_due,
        invoice.amount_paid,
        invoice.starting_balance,
    )
    assert 0 == stripe_client.v1.customers.retrieve(owner).balance


def test_a_new_cycle_begins_with_the_change(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str, team: str
) -> None:
    """With the anchor at now, the rest of the old month is credited and a whole new one is paid."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    start, end = period(subscription)
    stripe_double.advance_to(start + (end - start) // 2)
    changed = stripe_client.v1.subscriptions.update(
        subscription.id,
        {
            "items": [{"id": item_of(subscription), "price": team}],
            "billing_cycle_anchor": {"type": "now"},
            "proration_behavior": "always_invoice",
        },
    )
    assert stripe_double.clock.now() == period(changed)[0] == changed.billing_cycle_anchor
    assert ("subscription_update", 4900 - 950, "paid") == invoices(stripe_client, subscription.id)[-1]


def test_an_upgrade_that_is_not_paid(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str, team: str
) -> None:
    """With `error_if_incomplete` nothing changes; otherwise the subscription is changed and past due."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    stripe_double.change_card(str(subscription.default_payment_method), "insufficient_funds")
    asked: Any = {
        "items": [{"id": item_of(subscription), "price": team}],
        "proration_behavior": "always_invoice",
    }
    with pytest.raises(stripe.CardError):
        stripe_client.v1.subscriptions.update(
            subscription.id, asked | {"payment_behavior": "error_if_incomplete"}
        )
    same = stripe_client.v1.subscriptions.retrieve(subscription.id).to_dict()
    assert ("active", pro) == (same["status"], same["items"]["data"][0]["price"]["id"])
    changed = stripe_client.v1.subscriptions.update(subscription.id, asked).to_dict()
    assert ("past_due", team) == (changed["status"], changed["items"]["data"][0]["price"]["id"])


def test_a_subscription_ends_at_the_end_of_its_period(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """It can be resumed until then; at the end it is deleted and nothing is billed."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    ends = period(subscription)[1]
    ending = stripe_client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert ("active", True, ends) == (ending.status, ending.cancel_at_period_end, ending.cancel_at)
    resumed = stripe_client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})
    assert (False, None, None) == (resumed.cancel_at_period_end, resumed.cancel_at, resumed.canceled_at)
    stripe_double.cancel_in_portal(subscription.id)
    stripe_double.advance_to(ends)
    ended = stripe_client.v1.subscriptions.retrieve(subscription.id)
    assert ("canceled", ends) == (ended.status, ended.ended_at)
    assert [("subscription_create", 1900, "paid")] == invoices(stripe_client, subscription.id)
    assert "customer.subscription.deleted" == scenes.types(stripe_double, "customer.subscription")[-1]
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})


def test_a_subscription_ends_at_once(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """A cancelled subscription is gone for good; a deleted customer has none either."""
    first, second, third = (scenes.subscribed(stripe_double, stripe_client, pro) for _ in range(3))
    gone = stripe_client.v1.subscriptions.cancel(first.id, {"cancellation_details": {"comment": "too dear"}})
    assert gone.cancellation_details is not None
    assert ("canceled", "too dear") == (gone.status, gone.cancellation_details.comment)
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.subscriptions.cancel(first.id)
    stripe_double.cancel_in_portal(second.id, at_period_end=False)
    stripe_double.delete_customer(str(third.customer))
    assert [] == stripe_client.v1.subscriptions.list().data
    assert 3 == len(stripe_double.outbox.pending("customer.subscription.deleted"))


@pytest.mark.parametrize("paid", [True, False])
def test_a_first_month_can_be_paid_later(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str, *, paid: bool
) -> None:
    """By bank account the subscription begins at once, and is past due if the bank says no."""
    asked: Any = {"mode": "subscription", "line_items": [{"price": pro, "quantity": 1}]} | scenes.PAGES
    session = stripe_client.v1.checkout.sessions.create(asked).id
    stripe_double.pay_later(session)
    [subscription] = stripe_client.v1.subscriptions.list().data
    assert [("subscription_create", 1900, "open")] == invoices(stripe_client, subscription.id)
    stripe_double.bank_answers(session, paid=paid)
    assert [("subscription_create", 1900, "paid" if paid else "open")] == invoices(
        stripe_client, subscription.id
    )
    found = stripe_client.v1.subscriptions.retrieve(subscription.id)
    assert ("active" if paid else "past_due") == found.status


def test_what_comes_with_a_subscription_is_on_its_first_invoice(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """A one-time price beside a recurring one is paid once."""
    once = stripe_client.v1.prices.create(
        {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Set-up"}}
    )
    rows = [{"price": pro, "quantity": 1}, {"price": once.id, "quantity": 1}]
    asked: Any = {
        "mode": "subscription",
        "line_items": rows,
        "subscription_data": {"metadata": {"tier": "pro"}},
    }
    stripe_double.complete(stripe_client.v1.checkout.sessions.create(asked | scenes.PAGES).id)
    [subscription] = stripe_client.v1.subscriptions.list({"price": pro}).data
    assert {"tier": "pro"} == subscription.to_dict()["metadata"]
    stripe_double.advance_to(period(subscription)[1])
    assert [("subscription_create", 2400, "paid"), ("subscription_cycle", 1900, "paid")] == invoices(
        stripe_client, subscription.id
    )
    with pytest.raises(stripe.InvalidRequestError, match="recurring"):
        stripe_client.v1.checkout.sessions.create(asked | {"line_items": rows[1:]} | scenes.PAGES)


@pytest.mark.parametrize("paid", [True, False])
def test_a_renewal_can_be_paid_later(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str, *, paid: bool
) -> None:
    """While the bank takes its time nothing is tried again; its answer decides, and a refusal is tried again later."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    stripe_double.change_card(str(subscription.default_payment_method), "us_bank_account")
    stripe_double.advance_to(period(subscription)[1] + 5 * DAY)
    invoice = str(stripe_client.v1.subscriptions.retrieve(subscription.id).latest_invoice)
    waiting = stripe_client.v1.invoices.retrieve(invoice)
    assert ("open", 1, None) == (waiting.status, waiting.attempt_count, waiting.next_payment_attempt)
    with pytest.raises(stripe.InvalidRequestError, match="still processing"):
        stripe_client.v1.invoices.pay(invoice)
    [payment] = stripe_client.v1.invoice_payments.list({"invoice": invoice}).data
    with pytest.raises(ValueError, match="answer about that"):
        stripe_double.bank_answers(str(payment.payment.payment_intent), paid=paid)
    stripe_double.bank_answers(invoice, paid=paid)
    answered = stripe_client.v1.invoices.retrieve(invoice)
    assert ("paid" if paid else "open", paid) == (answered.status, answered.next_payment_attempt is None)
    found = stripe_client.v1.subscriptions.retrieve(subscription.id)
    assert ("active" if paid else "past_due") == found.status
    stripe_double.advance(days=3)
    assert paid is (stripe_client.v1.invoices.retrieve(invoice).attempt_count == 1)


def test_a_cancelled_subscription_is_not_collected_any_more(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, pro: str
) -> None:
    """Its open invoice stays open, and no further attempt is made."""
    subscription = scenes.subscribed(stripe_double, stripe_client, pro)
    stripe_double.change_card(str(subscription.default_payment_method), "insufficient_funds")
    stripe_double.advance_to(period(subscription)[1])
    stripe_client.v1.subscriptions.cancel(subscription.id)
    stripe_double.advance(days=20)
    assert 1 == len(stripe_double.outbox.pending("invoice.payment_failed"))
    assert "canceled" == stripe_client.v1.subscriptions.retrieve(subscription.id).status
