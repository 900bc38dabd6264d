"""Payments with a saved card, and what becomes of payments: refunds and disputes."""

import pytest

from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.ports.payments import Dispute, Payment
from tallystick.providers.stripe import StripePayments
from tests.providers.orders import moment, pack, refill, there
from tests.stripe_double import StripeDouble

WEEK = 7 * 24 * 3600 * 10**6


@pytest.fixture
def card(stripe_double: StripeDouble, payer: str) -> str:
    """A card that the payer has saved."""
    found: str = stripe_double.save_card(payer)["id"]
    return found


def charge_of(double: StripeDouble, payment: Payment) -> str:
    found: str = double.account.objects[payment.id]["latest_charge"]
    return found


def made(double: StripeDouble) -> int:
    """How many payments there are at Stripe."""
    return len(double.account.all("payment_intent"))


def test_a_key_that_is_not_valid_says_nothing_of_the_card(
    stripe_double: StripeDouble, payer: str, card: str
) -> None:
    """While an operator's key is wrong, no customer's card counts as declined: the outcome is not known."""
    del card
    wrong = StripePayments(
        "sk_test_of_somebody_else",
        webhook_secrets=[],
        api_base=stripe_double.url,
        now=lambda: moment(stripe_double),
    )
    with pytest.raises(OutcomeUnknown):
        wrong.charge_card(refill(payer), key="k")
    with pytest.raises(OutcomeUnknown):
        wrong.create_checkout(pack(payer, now=moment(stripe_double)), key="c")
    assert 0 == made(stripe_double)


# --- with a saved card -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("card")
def test_the_default_card_is_charged(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """The answer is what looking it up gives later, apart from what followed."""
    begun = moment(stripe_double)
    charged = payments.charge_card(refill(payer), key="refill:pay_2:1")
    assert ("succeeded", "pay_2", payer, 5000, "usd", False) == (
        charged.status,
        charged.reference,
        charged.payer,
        charged.amount_cents,
        charged.currency,
        charged.live,
    )
    assert begun <= charged.created_at <= moment(stripe_double)
    assert charged.receipt_url is not None
    assert charged == payments.payment(charged.id)


def test_a_card_may_be_named(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Then it is that one, and a currency without cents stays as it is."""
    first = stripe_double.save_card(payer)["id"]
    stripe_double.save_card(payer, "insufficient_funds")
    charged = payments.charge_card(refill(payer, card=first, currency="jpy", amount_cents=700), key="k")
    assert ("succeeded", 700, "jpy") == (charged.status, charged.amount_cents, charged.currency)
    assert first == stripe_double.account.objects[charged.id]["payment_method"]


def test_without_a_card_nothing_is_tried(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """It is refused, also for a payer who had one and is gone, and the key stays free."""
    with pytest.raises(ProviderRefused) as caught:
        payments.charge_card(refill(payer), key="k")
    assert ("no_card", 0) == (caught.value.code, made(stripe_double))
    stripe_double.save_card(payer)
    assert "succeeded" == payments.charge_card(refill(payer), key="k").status
    stripe_double.delete_customer(payer)
    with pytest.raises(ProviderRefused) as caught:
        payments.charge_card(refill(payer), key="k2")
    assert ("no_card", 1) == (caught.value.code, made(stripe_double))


def test_a_card_that_is_not_there_is_refused(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """For good, with Stripe's own word for it."""
    with pytest.raises(ProviderRefused) as caught:
        payments.charge_card(refill(payer, card="pm_of_nobody"), key="k")
    assert "resource_missing" == caught.value.code
    assert 0 == made(stripe_double)


@pytest.mark.parametrize(
    ("card", "decline", "failure", "text"),
    [
        ("charge_declined", "soft", "generic_decline", "Your card was declined."),
        ("insufficient_funds", "soft", "insufficient_funds", "Your card has insufficient funds."),
        (
            "processing_error",
            "soft",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
        ("lost_card", "hard", "lost_card", "Your card was declined."),
        ("stolen_card", "hard", "stolen_card", "Your card was declined."),
        ("expired_card", "hard", "expired_card", "Your card has expired."),
        ("do_not_honor", "hard", "do_not_honor", "Your card was declined."),
        ("authentication_required", "authentication", "authentication_required", None),
    ],
)
def test_a_decline_is_an_answer(
    stripe_double: StripeDouble,
    payments: StripePayments,
    payer: str,
    card: str,
    decline: str,
    failure: str,
    text: str | None,
) -> None:
    """It says what may help, now and when it is looked up; a repeat tells the same and tries nothing."""
    stripe_double.save_card(payer, card)
    declined = payments.charge_card(refill(payer), key="k")
    assert ("failed", decline, failure, "pay_2", 5000) == (
        declined.status,
        declined.decline,
        declined.failure,
        declined.reference,
        declined.amount_cents,
    )
    assert declined.failure_text is not None
    assert text in {None, declined.failure_text}
    assert declined == payments.charge_card(refill(payer), key="k") == payments.payment(declined.id)
    assert 1 == made(stripe_double)


def test_a_later_attempt_has_a_key_of_its_own(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """The failed one does not stand in its way, and the newest is the one that is found."""
    card = stripe_double.save_card(payer, "insufficient_funds")["id"]
    first = payments.charge_card(refill(payer), key="refill:pay_2:1")
    stripe_double.change_card(card, "visa")
    stripe_double.advance(seconds=3600)
    second = payments.charge_card(refill(payer), key="refill:pay_2:2")
    assert ("failed", "succeeded") == (first.status, second.status)
    found = payments.find_payment(payer=payer, reference="pay_2", since=first.created_at)
    assert there(found).id == second.id


@pytest.mark.parametrize("paid", [True, False])
def test_processing_is_an_answer(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, *, paid: bool
) -> None:
    """The bank's own comes later, and a repeat tells it rather than what was said first."""
    account = stripe_double.save_card(payer, "us_bank_account")["id"]
    order = refill(payer, card=account)
    charged = payments.charge_card(order, key="k")
    assert ("processing", None, None) == (charged.status, charged.decline, charged.failure)
    stripe_double.bank_answers(charged.id, paid=paid)
    again = payments.charge_card(order, key="k")
    assert (charged.id, "succeeded" if paid else "failed") == (again.id, again.status)
    assert ([None, "soft"][not paid], 1) == (again.decline, made(stripe_double))


def test_a_canceled_payment(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Is neither failed nor under way."""
    stripe_double.save_card(payer, "insufficient_funds")
    declined = payments.charge_card(refill(payer), key="k")
    stripe_double.client().v1.payment_intents.cancel(declined.id)
    found = there(payments.payment(declined.id))
    assert ("canceled", None) == (found.status, found.decline)


@pytest.mark.parametrize("status", ["requires_confirmation", "requires_action", "requires_payment_method"])
def test_what_was_not_refused_may_still_succeed(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, status: str
) -> None:
    """A payment that waits for a confirmation, its owner or a first card counts as under way."""
    client = stripe_double.client()
    card = stripe_double.save_card(payer, "authentication_required")["id"]
    intent = client.v1.payment_intents.create(
        {"amount": 700, "currency": "usd", "customer": payer}
        if status == "requires_payment_method"
        else {
            "amount": 700,
            "currency": "usd",
            "customer": payer,
            "payment_method": card,
            "confirm": status == "requires_action",
        }
    )
    assert status == intent.status
    found = there(payments.payment(intent.id))
    assert ("processing", None, None) == (found.status, found.reference, found.failure)


def test_a_payment_that_is_not_there(payments: StripePayments, payer: str) -> None:
    """Is None, and has no refunds."""
    assert payments.payment("pi_of_nobody") is None
    assert [] == payments.refunds("pi_of_nobody")
    assert payments.find_payment(payer=payer, reference="pay_2", since=0) is None
    assert payments.find_payment(payer="cus_of_nobody", reference="pay_2", since=0) is None


@pytest.mark.usefixtures("card")
def test_finding_a_payment_by_its_reference(payments: StripePayments, payer: str) -> None:
    """Among more than a page of others, from a moment on; clocks may differ by a minute."""
    first = payments.charge_card(refill(payer), key="k")
    for number in range(101):
        payments.charge_card(refill(payer, reference=f"pay_other_{number}"), key=f"other:{number}")
    since = first.created_at
    assert first == payments.find_payment(payer=payer, reference="pay_2", since=since)
    assert first == payments.find_payment(payer=payer, reference="pay_2", since=since + 59 * 10**6)
    assert payments.find_payment(payer=payer, reference="pay_2", since=since + 62 * 10**6) is None
    assert payments.find_payment(payer=payer, reference="pay_3", since=since) is None


@pytest.mark.usefixtures("card")
def test_a_payment_outlives_its_payer(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """It can be looked up, found and refunded after the payer was deleted at Stripe."""
    charged = payments.charge_card(refill(payer), key="k")
    stripe_double.delete_customer(payer)
    assert charged == payments.payment(charged.id)
    refund = payments.refund(charged.id, amount_cents=5000, reference="ref_1", key="r")
    assert "succeeded" == refund.status


# --- refunds -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("card")
def test_refunds_add_up(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Ours and those of the dashboard, newest first, never more than is left."""
    charged = payments.charge_card(refill(payer), key="k")
    assert [] == payments.refunds(charged.id)
    ours = payments.refund(charged.id, amount_cents=1500, reference="ref_1", key="r1")
    assert (charged.id, "succeeded", 1500, "ref_1", None) == (
        ours.payment,
        ours.status,
        ours.amount_cents,
        ours.reference,
        ours.failure,
    )
    assert ours == payments.refund(charged.id, amount_cents=1500, reference="ref_1", key="r1")
    stripe_double.refund(charge_of(stripe_double, charged), amount=500)
    assert [(500, None), (1500, "ref_1")] == [
        (each.amount_cents, each.reference) for each in payments.refunds(charged.id)
    ]
    assert 2000 == there(payments.payment(charged.id)).refunded_cents

    with pytest.raises(ProviderRefused):
        payments.refund(charged.id, amount_cents=3001, reference="ref_2", key="r2")
    payments.refund(charged.id, amount_cents=3000, reference="ref_3", key="r3")
    with pytest.raises(ProviderRefused) as caught:
        payments.refund(charged.id, amount_cents=1, reference="ref_4", key="r4")
    assert "charge_already_refunded" == caught.value.code
    assert ("succeeded", 5000) == (
        there(payments.payment(charged.id)).status,
        there(payments.payment(charged.id)).refunded_cents,
    )


@pytest.mark.parametrize(("arrives", "left"), [(True, 1500), (False, 0)])
def test_a_refund_under_way_counts_until_it_fails(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, *, arrives: bool, left: int
) -> None:
    """And a repeat tells how it stands now."""
    account = stripe_double.save_card(payer, "us_bank_account")["id"]
    charged = payments.charge_card(refill(payer, card=account), key="k")
    stripe_double.bank_answers(charged.id, paid=True)
    refund = payments.refund(charged.id, amount_cents=1500, reference="ref_1", key="r")
    assert ("pending", 1500) == (refund.status, there(payments.payment(charged.id)).refunded_cents)
    if arrives:
        stripe_double.refund_arrives(refund.id)
    else:
        stripe_double.refund_fails(refund.id)
    again = payments.refund(charged.id, amount_cents=1500, reference="ref_1", key="r")
    assert (refund.id, "succeeded" if arrives else "failed") == (again.id, again.status)
    assert (None if arrives else "lost_or_stolen_card", [again]) == (
        again.failure,
        payments.refunds(charged.id),
    )
    assert left == there(payments.payment(charged.id)).refunded_cents


def test_a_failed_payment_cannot_be_refunded(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """Nothing was taken."""
    stripe_double.save_card(payer, "lost_card")
    declined = payments.charge_card(refill(payer), key="k")
    with pytest.raises(ProviderRefused):
        payments.refund(declined.id, amount_cents=5000, reference="ref_1", key="r")
    assert [] == payments.refunds(declined.id)


# --- disputes ----------------------------------------------------------------------------------------------


@pytest.fixture
def charged(payments: StripePayments, payer: str, card: str) -> Payment:
    """A payment that went well."""
    return payments.charge_card(refill(payer, card=card), key="k")


def only_dispute(payments: StripePayments, charged: Payment) -> Dispute:
    [dispute] = there(payments.payment(charged.id)).disputes
    return dispute


def test_a_dispute_takes_the_money(
    stripe_double: StripeDouble, payments: StripePayments, charged: Payment
) -> None:
    """All of it, but not Stripe's fee, and there are days to answer; losing changes no figure."""
    begun = moment(stripe_double)
    stripe_double.dispute(charge_of(stripe_double, charged), reason="fraudulent")
    opened = only_dispute(payments, charged)
    assert ("open", 5000, 5000, "fraudulent") == (
        opened.status,
        opened.amount_cents,
        opened.withdrawn_cents,
        opened.reason,
    )
    assert begun + WEEK <= there(opened.evidence_due_at) <= moment(stripe_double) + WEEK
    stripe_double.lose(opened.id)
    lost = only_dispute(payments, charged)
    assert ("lost", 5000) == (lost.status, lost.withdrawn_cents)


def test_a_dispute_that_is_won_gives_the_money_back(
    stripe_double: StripeDouble, payments: StripePayments, charged: Payment
) -> None:
    """Nothing is withdrawn any more."""
    stripe_double.dispute(charge_of(stripe_double, charged), amount=2000)
    opened = only_dispute(payments, charged)
    assert (2000, 2000) == (opened.amount_cents, opened.withdrawn_cents)
    stripe_double.win(opened.id)
    won = only_dispute(payments, charged)
    assert ("won", 2000, 0) == (won.status, won.amount_cents, won.withdrawn_cents)


@pytest.mark.parametrize("end", ["close_inquiry", "prevent"])
def test_an_inquiry_takes_nothing(
    stripe_double: StripeDouble, payments: StripePayments, charged: Payment, end: str
) -> None:
    """Neither while it is open nor when it ends without a dispute."""
    stripe_double.dispute(charge_of(stripe_double, charged), inquiry=True)
    opened = only_dispute(payments, charged)
    assert ("inquiry", 5000, 0) == (opened.status, opened.amount_cents, opened.withdrawn_cents)
    getattr(stripe_double, end)(opened.id)
    ended = only_dispute(payments, charged)
    assert ("closed", 0) == (ended.status, ended.withdrawn_cents)


def test_an_inquiry_may_become_a_dispute(
    stripe_double: StripeDouble, payments: StripePayments, charged: Payment
) -> None:
    """Then it takes the money."""
    stripe_double.dispute(charge_of(stripe_double, charged), inquiry=True)
    stripe_double.escalate(only_dispute(payments, charged).id)
    opened = only_dispute(payments, charged)
    assert ("open", 5000) == (opened.status, opened.withdrawn_cents)


def test_a_refund_and_a_dispute_of_one_payment(
    stripe_double: StripeDouble, payments: StripePayments, charged: Payment
) -> None:
    """Both are told, and what is disputed cannot be refunded."""
    payments.refund(charged.id, amount_cents=1000, reference="ref_1", key="r1")
    stripe_double.dispute(charge_of(stripe_double, charged))
    found = there(payments.payment(charged.id))
    assert (1000, [4000]) == (found.refunded_cents, [each.withdrawn_cents for each in found.disputes])
    with pytest.raises(ProviderRefused) as caught:
        payments.refund(charged.id, amount_cents=4000, reference="ref_2", key="r2")
    assert "charge_disputed" == caught.value.code


def test_a_dispute_settled_in_another_currency(
    stripe_double: StripeDouble, payments: StripePayments, charged: Payment
) -> None:
    """Its figures are of our balance: that it was taken is told in the payment's own currency."""
    dispute = stripe_double.dispute(charge_of(stripe_double, charged))
    in_euros = {"currency": "eur", "exchange_rate": 0.9}
    dispute["balance_transactions"][0] |= in_euros | {"amount": -4500}
    assert 5000 == only_dispute(payments, charged).withdrawn_cents
    stripe_double.win(dispute["id"])
    dispute["balance_transactions"][1] |= in_euros | {"amount": 4450}
    assert 0 == only_dispute(payments, charged).withdrawn_cents


def test_a_pack_that_is_disputed(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Is a payment like any other."""
    page = payments.create_checkout(pack(payer, now=moment(stripe_double)), key="k")
    stripe_double.complete(page.id)
    payment = there(payments.payment(there(there(payments.checkout(page.id)).payment)))
    stripe_double.dispute(charge_of(stripe_double, payment))
    assert 2500 == only_dispute(payments, payment).withdrawn_cents
