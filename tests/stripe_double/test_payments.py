"""Customers, prices, saved cards, payments without their owner, and refunds."""

from typing import Any

import pytest
import stripe

from tests.stripe_double import StripeDouble, scenes

DECLINES = [
    ("charge_declined", "card_declined", "generic_decline", "try_again_later"),
    ("insufficient_funds", "card_declined", "insufficient_funds", "try_again_later"),
    ("lost_card", "card_declined", "lost_card", "do_not_try_again"),
    ("stolen_card", "card_declined", "stolen_card", "do_not_try_again"),
    ("expired_card", "expired_card", "expired_card", "confirm_card_data"),
    ("processing_error", "processing_error", "processing_error", "try_again_later"),
    ("do_not_honor", "card_declined", "do_not_honor", "do_not_try_again"),
    ("authentication_required", "authentication_required", "authentication_required", None),
]


def metadata(found: stripe.StripeObject) -> Any:
    return found.to_dict()["metadata"]


def test_customers_are_made_changed_and_deleted(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """Metadata are merged and emptied; a deleted customer says so, and can do nothing any more."""
    made = stripe_client.v1.customers.create({"email": "ann@example.com", "metadata": {"a": "1", "b": "2"}})
    changed = stripe_client.v1.customers.update(made.id, {"name": "Ann", "metadata": {"b": "", "c": "3"}})
    assert {"a": "1", "c": "3"} == metadata(changed)
    assert {} == metadata(stripe_client.v1.customers.update(made.id, {"metadata": ""}))
    assert [made.id] == [
        each.id for each in stripe_client.v1.customers.list({"email": "ann@example.com"}).data
    ]
    assert [] == stripe_client.v1.customers.list({"email": "bob@example.com"}).data
    assert stripe_client.v1.customers.delete(made.id).deleted
    assert stripe_client.v1.customers.retrieve(made.id).deleted
    with pytest.raises(stripe.InvalidRequestError) as caught:
        stripe_client.v1.payment_intents.create({"amount": 1000, "currency": "usd", "customer": made.id})
    assert "resource_missing" == caught.value.code
    assert ["customer.created", "customer.updated", "customer.updated", "customer.deleted"] == scenes.types(
        stripe_double, "customer."
    )


@pytest.mark.parametrize(
    "metadata", [{str(place): "" for place in range(51)}, {"k" * 41: "text"}, {"key": "t" * 501}]
)
def test_metadata_have_limits(stripe_client: stripe.StripeClient, metadata: dict[str, str]) -> None:
    """Fifty keys of forty characters with five hundred characters each are the most."""
    found = {key: text or "text" for key, text in metadata.items()}
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.customers.create({"metadata": found})


def test_prices_belong_to_products(stripe_client: stripe.StripeClient) -> None:
    """A price is found by its product and by its look-up key; amounts of the yen have no decimals."""
    product = stripe_client.v1.products.create({"name": "Starter", "metadata": {"pack": "starter"}})
    price = stripe_client.v1.prices.create(
        {"product": product.id, "currency": "jpy", "unit_amount": 1500, "lookup_key": "starter"}
    )
    assert ("one_time", 1500, "1500", None) == (
        price.type,
        price.unit_amount,
        str(price.unit_amount_decimal),
        price.recurring,
    )
    other = scenes.monthly(stripe_client, "Pro", 1900)
    assert [price.id] == [each.id for each in stripe_client.v1.prices.list({"lookup_keys": ["starter"]}).data]
    assert [price.id] == [each.id for each in stripe_client.v1.prices.list({"product": product.id}).data]
    assert [other] == [each.id for each in stripe_client.v1.prices.list({"type": "recurring"}).data]
    assert "Starter" == stripe_client.v1.products.retrieve(product.id).name
    assert "Basic" == stripe_client.v1.products.update(product.id, {"name": "Basic"}).name
    assert not stripe_client.v1.prices.update(price.id, {"active": False}).active
    assert [other] == [each.id for each in stripe_client.v1.prices.list({"active": True}).data]
    assert 2 == len(stripe_client.v1.products.list().data)


def test_a_saved_card_pays_without_its_owner(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """The payment succeeds at once; its charge has a receipt and a line in the balance."""
    intent = scenes.paid(stripe_double, stripe_client)
    assert ("succeeded", 1000, 1000) == (intent.status, intent.amount, intent.amount_received)
    charge = stripe_client.v1.charges.retrieve(
        str(intent.latest_charge), {"expand": ["balance_transaction"]}
    ).to_dict()
    assert (True, 0, "succeeded") == (charge["paid"], charge["amount_refunded"], charge["status"])
    assert charge["receipt_url"].startswith("https://")
    assert (1000, 59, 941) == tuple(charge["balance_transaction"][key] for key in ("amount", "fee", "net"))
    assert ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"] == scenes.types(
        stripe_double, "payment_intent", "charge"
    )
    assert intent.id == stripe_client.v1.payment_intents.retrieve(intent.id).id


@pytest.mark.parametrize(("card", "code", "decline", "advice"), DECLINES)
def test_a_declined_card_leaves_a_payment_that_waits(
    stripe_double: StripeDouble,
    stripe_client: stripe.StripeClient,
    card: str,
    code: str,
    decline: str,
    advice: str | None,
) -> None:
    """The error names the payment, the charge and the reason; the payment waits for another card, and gets it."""
    owner = scenes.customer(stripe_client)
    asked = scenes.refill(owner, stripe_double.save_card(owner, card)["id"], metadata={"refill_id": "r"})
    with pytest.raises(stripe.CardError) as caught:
        stripe_client.v1.payment_intents.create(asked)
    error = caught.value.error
    assert error is not None
    assert (402, code) == (caught.value.http_status, caught.value.code)
    assert (decline, advice) == (error.decline_code, error.advice_code)
    assert error.payment_intent is not None
    found = stripe_client.v1.payment_intents.retrieve(error.payment_intent.id)
    assert ("requires_payment_method", {"refill_id": "r"}) == (found.status, metadata(found))
    assert found.last_payment_error is not None
    assert decline == found.last_payment_error.decline_code
    charge = stripe_client.v1.charges.retrieve(str(found.latest_charge))
    assert ("failed", code, False) == (charge.status, charge.failure_code, charge.paid)
    assert ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"] == scenes.types(
        stripe_double, "payment_intent", "charge"
    )
    other: Any = {"payment_method": stripe_double.save_card(owner)["id"], "off_session": True}
    assert "succeeded" == stripe_client.v1.payment_intents.confirm(found.id, other).status


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_present_owner_is_asked(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, *, succeeds: bool
) -> None:
    """Without `off_session` such a payment waits for its owner, who passes the check or fails it."""
    owner = scenes.customer(stripe_client)
    method = stripe_double.save_card(owner, "authentication_required")["id"]
    asked: Any = {
        "amount": 1000,
        "currency": "usd",
        "customer": owner,
        "payment_method": method,
        "confirm": True,
    }
    intent = stripe_client.v1.payment_intents.create(asked)
    assert "requires_action" == intent.status
    assert intent.next_action is not None
    stripe_double.authenticate(intent.id, succeeds=succeeds)
    found = stripe_client.v1.payment_intents.retrieve(intent.id)
    assert ("succeeded" if succeeds else "requires_payment_method") == found.status
    if not succeeds:
        assert found.last_payment_error is not None
        assert "payment_intent_authentication_failure" == found.last_payment_error.code


@pytest.mark.parametrize("paid", [True, False])
def test_a_bank_answers_later(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient, *, paid: bool
) -> None:
    """A payment by bank account is processing until the bank has answered."""
    intent = scenes.paid(stripe_double, stripe_client, card="us_bank_account")
    assert "processing" == intent.status
    stripe_double.bank_answers(intent.id, paid=paid)
    found = stripe_client.v1.payment_intents.retrieve(intent.id)
    assert ("succeeded" if paid else "requires_payment_method") == found.status
    ending = "succeeded" if paid else "payment_failed"
    assert ["created", "processing", ending] == [
        each.removeprefix("payment_intent.") for each in scenes.types(stripe_double, "payment_intent")
    ]


def test_a_payment_that_was_not_made_can_be_canceled(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """An open payment ends; one that succeeded does not."""
    intent = stripe_client.v1.payment_intents.create({"amount": 1000, "currency": "usd"})
    canceled = stripe_client.v1.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert ("canceled", "abandoned") == (canceled.status, canceled.cancellation_reason)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        stripe_client.v1.payment_intents.cancel(scenes.paid(stripe_double, stripe_client).id)
    assert "payment_intent_unexpected_state" == caught.value.code


@pytest.mark.parametrize(("amount", "code"), [(0, "parameter_invalid_integer"), (49, "amount_too_small")])
def test_amounts_have_limits(stripe_client: stripe.StripeClient, amount: int, code: str) -> None:
    """Nothing is charged that costs more than it brings."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        stripe_client.v1.payment_intents.create({"amount": amount, "currency": "usd"})
    assert code == caught.value.code


def test_a_card_belongs_to_one_customer(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """Another customer cannot pay with it; once it is detached, nobody can."""
    ann, bob = scenes.customer(stripe_client), scenes.customer(stripe_client)
    card = stripe_client.v1.payment_methods.attach("pm_card_visa", {"customer": ann}).id
    stripe_client.v1.customers.update(ann, {"invoice_settings": {"default_payment_method": card}})
    assert [card] == [each.id for each in stripe_client.v1.payment_methods.list({"customer": ann}).data]
    assert [card] == [each.id for each in stripe_client.v1.customers.payment_methods.list(ann).data]
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.payment_intents.create(scenes.refill(bob, card))
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.payment_methods.attach(card, {"customer": bob})
    assert stripe_client.v1.payment_methods.detach(card).customer is None
    settings = stripe_client.v1.customers.retrieve(ann).invoice_settings
    assert settings is not None
    assert settings.default_payment_method is None
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        stripe_client.v1.payment_intents.create(scenes.refill(ann, card))
    [event] = stripe_double.outbox.pending("payment_method.detached")
    assert {"customer": ann} == event["data"]["previous_attributes"]
    with pytest.raises(stripe.InvalidRequestError):
        stripe_client.v1.payment_methods.detach(card)


def test_a_card_that_declines_cannot_be_attached(stripe_client: stripe.StripeClient) -> None:
    """The bank is asked when a card is saved."""
    with pytest.raises(stripe.CardError):
        stripe_client.v1.payment_methods.attach(
            "pm_card_expired_card", {"customer": scenes.customer(stripe_client)}
        )


def test_cards_are_saved_without_a_payment(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """A setup intent attaches a card, refuses one, and can be canceled."""
    owner = scenes.customer(stripe_client)
    done = stripe_client.v1.setup_intents.create(
        {"customer": owner, "payment_method": "pm_card_visa", "confirm": True}
    )
    assert ("succeeded", "off_session") == (done.status, done.usage)
    assert [done.payment_method] == [
        each.id for each in stripe_client.v1.payment_methods.list({"customer": owner}).data
    ]
    waiting = stripe_client.v1.setup_intents.create({"customer": owner})
    with pytest.raises(stripe.CardError):
        stripe_client.v1.setup_intents.confirm(waiting.id, {"payment_method": "pm_card_lost_card"})
    assert "requires_payment_method" == stripe_client.v1.setup_intents.retrieve(waiting.id).status
    assert "canceled" == stripe_client.v1.setup_intents.cancel(waiting.id).status
    assert 2 == len(stripe_client.v1.setup_intents.list({"customer": owner}).data)
    assert ["created", "succeeded", "created", "setup_failed", "canceled"] == [
        each.removeprefix("setup_intent.") for each in scenes.types(stripe_double, "setup_intent")
    ]


def test_refunds_add_up_to_the_charge(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """Parts are refunded until nothing is left; the charge carries the total, and its event the total before."""
    intent = scenes.paid(stripe_double, stripe_client)
    part = stripe_client.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 300, "metadata": {"why": "part"}}
    )
    assert ("succeeded", 300, intent.latest_charge) == (part.status, part.amount, part.charge)
    charge = stripe_client.v1.charges.retrieve(str(intent.latest_charge), {"expand": ["refunds"]}).to_dict()
    assert (300, False, [300]) == (
        charge["amount_refunded"],
        charge["refunded"],
        [each["amount"] for each in charge["refunds"]["data"]],
    )
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        stripe_client.v1.refunds.create({"payment_intent": intent.id, "amount": 701})
    rest = stripe_client.v1.refunds.create(
        {"charge": str(intent.latest_charge), "reason": "requested_by_customer"}
    )
    assert 700 == rest.amount
    with pytest.raises(stripe.InvalidRequestError) as caught:
        stripe_client.v1.refunds.create({"payment_intent": intent.id, "amount": 1})
    assert "charge_already_refunded" == caught.value.code
    assert [rest.id, part.id] == [
        each.id for each in stripe_client.v1.refunds.list({"payment_intent": intent.id}).data
    ]
    first, second = stripe_double.outbox.pending("charge.refunded")
    assert {"amount_refunded": 0} == first["data"]["previous_attributes"]
    assert {"amount_refunded": 300, "refunded": False} == second["data"]["previous_attributes"]
    assert 1000 == second["data"]["object"]["amount_refunded"]


def test_a_refund_can_fail(stripe_double: StripeDouble, stripe_client: stripe.StripeClient) -> None:
    """What comes back from the bank is not refunded any more, and can be refunded again."""
    intent = scenes.paid(stripe_double, stripe_client)
    refund = stripe_double.refund(str(intent.latest_charge))["id"]
    stripe_double.refund_fails(refund)
    found = stripe_client.v1.refunds.retrieve(refund)
    assert ("failed", "lost_or_stolen_card") == (found.status, found.failure_reason)
    charge = stripe_client.v1.charges.retrieve(str(intent.latest_charge))
    assert (0, False) == (charge.amount_refunded, charge.refunded)
    assert ["refund.created", "refund.failed", "refund.updated"] == scenes.types(stripe_double, "refund")
    with pytest.raises(ValueError, match="the refund is failed"):
        stripe_double.refund_fails(refund)
    assert 1000 == stripe_client.v1.refunds.create({"payment_intent": intent.id}).amount


def test_a_refund_to_a_bank_account_arrives_later(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """It is pending until the bank has it."""
    intent = scenes.paid(stripe_double, stripe_client, card="us_bank_account")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        stripe_client.v1.refunds.create({"payment_intent": intent.id})
    assert "charge_not_refundable" == caught.value.code
    stripe_double.bank_answers(intent.id, paid=True)
    refund = stripe_client.v1.refunds.create({"payment_intent": intent.id})
    assert "pending" == refund.status
    stripe_double.refund_arrives(refund.id)
    assert "succeeded" == stripe_client.v1.refunds.retrieve(refund.id).status


def test_the_balance_adds_up(stripe_double: StripeDouble, stripe_client: stripe.StripeClient) -> None:
    """Each payment and refund is a line of the balance."""
    intent = scenes.paid(stripe_double, stripe_client)
    stripe_client.v1.refunds.create({"payment_intent": intent.id, "amount": 400})
    rows = stripe_client.v1.balance_transactions.list().data
    assert [("refund", -400), ("charge", 941)] == [(each.type, each.net) for each in rows]
    assert rows[0].id == stripe_client.v1.balance_transactions.retrieve(rows[0].id).id


def test_payments_are_found_by_customer(
    stripe_double: StripeDouble, stripe_client: stripe.StripeClient
) -> None:
    """Whoever lost an answer finds the payment in the customer's list."""
    first, second = (scenes.paid(stripe_double, stripe_client) for _ in range(2))
    assert [first.id] == [
        each.id for each in stripe_client.v1.payment_intents.list({"customer": str(first.customer)}).data
    ]
    assert [second.latest_charge] == [
        each.id for each in stripe_client.v1.charges.list({"payment_intent": second.id}).data
    ]
