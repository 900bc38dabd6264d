"""Answers that do not come, come late or say nothing; and what is asked for twice."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tallystick.ports import OutcomeUnknown, ProviderRefused
from tallystick.providers import stripe_calls
from tallystick.providers.stripe import StripePayments
from tests.providers.orders import moment, pack, refill, subscribe, there
from tests.stripe_double import StripeDouble
from tests.stripe_double.faults import When

CHARGES = "/v1/payment_intents"
TRIES = 1 + stripe_calls.RETRIES


@pytest.fixture
def card(stripe_double: StripeDouble, payer: str) -> str:
    """A card that the payer has saved."""
    found: str = stripe_double.save_card(payer)["id"]
    return found


def made(double: StripeDouble) -> int:
    """How many payments there are at Stripe."""
    return len(double.account.all("payment_intent"))


def keys(double: StripeDouble, address: str) -> list[str | None]:
    """The idempotency keys of all requests to an address."""
    return [
        each.headers.get("idempotency-key")
        for each in double.requests
        if (each.method, each.address) == ("POST", address)
    ]


# --- the SDK tries again -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("status", [None, 500, 503, 409])
@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
def test_one_lost_answer_is_mended_by_the_sdk(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, when: When, status: int | None
) -> None:
    """It asks again with our key, whether or not the work was done before the answer was lost."""
    stripe_double.faults.fail(CHARGES, status=status, when=when)
    charged = payments.charge_card(refill(payer), key="k")
    assert ("succeeded", 1, ["k", "k"]) == (
        charged.status,
        made(stripe_double),
        keys(stripe_double, CHARGES),
    )
    assert charged == payments.payment(charged.id)


# --- and when that does not help ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("status", [None, 500])
@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
def test_an_unknown_outcome_is_resolved_by_asking_again(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, when: When, status: int | None
) -> None:
    """With the same key, the card is charged once; by its reference, it is found only if it was."""
    order, since = refill(payer), moment(stripe_double)
    stripe_double.faults.fail(CHARGES, status=status, when=when, times=TRIES)
    with pytest.raises(OutcomeUnknown):
        payments.charge_card(order, key="k")
    found = payments.find_payment(payer=payer, reference=order.reference, since=since)
    assert (when is When.AFTER) is (found is not None)
    charged = payments.charge_card(order, key="k")
    assert ("succeeded", 1, {"k"}) == (
        charged.status,
        made(stripe_double),
        set(keys(stripe_double, CHARGES)),
    )
    assert found in {None, charged}


@pytest.mark.slow
@pytest.mark.usefixtures("card")
def test_a_failure_that_stripe_repeats(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """The key gives the same 500 for ever, although the card was charged: it is found by its reference."""
    order, since = refill(payer), moment(stripe_double)
    stripe_double.faults.fail(CHARGES, when=When.REMEMBERED)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            payments.charge_card(order, key="k")
    found = payments.find_payment(payer=payer, reference=order.reference, since=since)
    assert ("succeeded", 1) == (there(found).status, made(stripe_double))


@pytest.mark.usefixtures("card")
def test_too_many_requests_say_nothing(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """Nothing was done, and nobody is told that it was refused for good."""
    stripe_double.faults.fail(CHARGES, status=429)
    with pytest.raises(OutcomeUnknown):
        payments.charge_card(refill(payer), key="k")
    assert "succeeded" == payments.charge_card(refill(payer), key="k").status


@pytest.mark.usefixtures("card")
def test_an_answer_that_comes_too_late(
    stripe_double: StripeDouble,
    payments: StripePayments,
    payer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Is not waited for any longer; the SDK asks again, and the card is charged once."""
    monkeypatch.setattr(stripe_calls, "READ_SECONDS", 0.2)
    hasty = StripePayments(
        stripe_double.api_key,
        webhook_secrets=[],
        api_base=stripe_double.url,
        now=lambda: moment(stripe_double),
    )
    stripe_double.faults.delay(CHARGES, seconds=0.4)
    assert "succeeded" == hasty.charge_card(refill(payer), key="k").status
    assert 1 == made(stripe_double)
    assert "succeeded" == payments.charge_card(refill(payer), key="k").status


@pytest.mark.slow
def test_nobody_is_there(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Every question ends as unknown, never as "there is no such thing"."""
    order = pack(payer, now=moment(stripe_double))
    stripe_double.close()
    for ask in (
        lambda: payments.payment("pi_1"),
        lambda: payments.create_checkout(order, key="k"),
        lambda: list(payments.events(since=0)),
    ):
        with pytest.raises(OutcomeUnknown):
            ask()


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 429])
def test_a_look_that_fails_is_no_answer(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, status: int
) -> None:
    """Of a payment with its refunds and disputes, all must be known or nothing is said."""
    charged = payments.charge_card(refill(payer, card=stripe_double.save_card(payer)["id"]), key="k")
    for address in ("/v1/payment_intents/.*", "/v1/refunds", "/v1/disputes", "/v1/invoice_payments"):
        stripe_double.faults.fail(address, status=status, method="GET", times=TRIES)
        with pytest.raises(OutcomeUnknown):
            payments.payment(charged.id)
        stripe_double.faults.clear()
    assert charged == payments.payment(charged.id)


def test_a_key_that_stripe_does_not_know(stripe_double: StripeDouble, payer: str) -> None:
    """Stripe says no to us and not to the request: nothing is known, and nobody's card is blamed for it."""
    stranger = StripePayments(
        "sk_test_revoked", webhook_secrets=[], api_base=stripe_double.url, now=lambda: moment(stripe_double)
    )
    with pytest.raises(OutcomeUnknown):
        stranger.create_checkout(pack(payer, now=moment(stripe_double)), key="k")
    with pytest.raises(OutcomeUnknown):
        stranger.payment("pi_1")
    with pytest.raises(OutcomeUnknown):
        list(stranger.events(since=0))


@pytest.mark.usefixtures("card")
def test_a_refusal_that_is_none_of_the_usual(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """A 402 without a payment is no decline, and a page that may not be ended is still open."""
    stripe_double.faults.fail(CHARGES, status=402)
    with pytest.raises(ProviderRefused):
        payments.charge_card(refill(payer), key="k")
    page = payments.create_checkout(pack(payer, now=moment(stripe_double)), key="page")
    stripe_double.faults.fail("/v1/checkout/sessions/.*/expire", status=403)
    with pytest.raises(OutcomeUnknown):
        payments.expire_checkout(page.id)
    assert "open" == there(payments.checkout(page.id)).status


def test_an_address_that_is_not_stripes(stripe_double: StripeDouble, payer: str) -> None:
    """A 404 that Stripe has not written is no "there is no such thing"."""
    lost = StripePayments(
        stripe_double.api_key,
        webhook_secrets=[],
        api_base=f"{stripe_double.url}/elsewhere",
        now=lambda: moment(stripe_double),
    )
    with pytest.raises(OutcomeUnknown):
        lost.payment("pi_1")
    with pytest.raises(OutcomeUnknown):
        lost.default_card(payer)
    stripe_double.violations.clear()


# --- asked for twice ---------------------------------------------------------------------------------------


def test_a_charge_repeated_with_another_default_card(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """The card that was the default has paid: the other one is not charged as well."""
    first = stripe_double.save_card(payer)["id"]
    charged = payments.charge_card(refill(payer), key="k")
    stripe_double.save_card(payer, "mastercard")
    assert charged == payments.charge_card(refill(payer), key="k")
    stripe_double.detach(first)
    assert charged == payments.charge_card(refill(payer), key="k")
    assert 1 == made(stripe_double)


def test_a_decline_repeated_with_another_default_card(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """Stays the answer to its key; the new card needs a new one."""
    stripe_double.save_card(payer, "lost_card")
    declined = payments.charge_card(refill(payer), key="k")
    stripe_double.save_card(payer)
    assert declined == payments.charge_card(refill(payer), key="k")
    assert ("failed", "succeeded") == (declined.status, payments.charge_card(refill(payer), key="k2").status)


@pytest.mark.parametrize("change", [{"amount_cents": 1}, {"reference": "pay_9"}, {"currency": "eur"}])
def test_a_key_is_for_one_charge(
    stripe_double: StripeDouble,
    payments: StripePayments,
    payer: str,
    card: str,
    change: dict[str, int],
) -> None:
    """Another order with the same key is refused, and nothing is taken."""
    order = refill(payer, card=card)
    payments.charge_card(order, key="k")
    with pytest.raises(ProviderRefused) as caught:
        payments.charge_card(replace(order, **change), key="k")  # type: ignore[arg-type] # of several fields
    assert ("idempotency_error", 1) == (caught.value.code, made(stripe_double))


def test_a_charge_asked_for_by_many_at_once(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, card: str
) -> None:
    """With one key, one payment; whoever comes while it is under way may hear that nothing is known."""
    order = refill(payer, card=card)

    def ask(_number: int) -> str | None:
        try:
            return payments.charge_card(order, key="k").id
        except OutcomeUnknown:
            return None

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(ask, range(8)))
    [intent] = stripe_double.account.all("payment_intent")
    assert {intent["id"]} == answers - {None}


@pytest.mark.slow
@pytest.mark.usefixtures("card")
def test_all_that_is_made_can_be_asked_for_again(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """When each answer but that of the second asking is lost after the work was done, each thing is there once."""
    page = pack(payer, now=moment(stripe_double))
    charged = payments.charge_card(refill(payer), key="charge")
    subscription = there(subscribe(stripe_double, payments, payer).subscription)
    things: dict[str, Callable[[], object]] = {
        "/v1/customers": lambda: payments.create_payer(reference="cus_2", email=None, key="payer"),
        "/v1/checkout/sessions": lambda: payments.create_checkout(page, key="page"),
        "/v1/refunds": lambda: payments.refund(charged.id, amount_cents=100, reference="ref_1", key="refund"),
        f"/v1/subscriptions/{subscription}": lambda: payments.change_subscription(
            subscription, plan="enterprise", title="E", amount_cents=9900, price=None, key="change"
        ),
    }
    kinds = ("customer", "checkout.session", "refund", "invoice", "product")
    for address, make in things.items():
        stripe_double.faults.fail(address, status=None, when=When.AFTER, times=TRIES)
        with pytest.raises(OutcomeUnknown):
            make()
        counts = {kind: len(stripe_double.account.all(kind)) for kind in kinds}
        make()
        assert counts == {kind: len(stripe_double.account.all(kind)) for kind in kinds}


# --- what it keeps to itself -------------------------------------------------------------------------------


@pytest.mark.usefixtures("card")
def test_it_keeps_quiet(
    stripe_double: StripeDouble,
    payments: StripePayments,
    payer: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nothing is logged or printed, and Stripe is told nothing about this machine or our other requests."""
    logging.getLogger().setLevel(logging.DEBUG)
    payments.charge_card(refill(payer), key="k")
    payments.create_checkout(pack(payer, now=moment(stripe_double)), key="page")
    with pytest.raises(ProviderRefused) as caught:
        payments.refund("pi_of_nobody", amount_cents=1, reference="ref_1", key="refund")
    assert [] == [each for each in caplog.records if each.name.startswith("stripe")]
    assert ("", "") == tuple(capfd.readouterr())
    for each in stripe_double.requests:
        assert "x-stripe-client-telemetry" not in each.headers
        assert "platform" not in each.headers["x-stripe-client-user-agent"]
        assert "telemetry_id" not in each.headers["x-stripe-client-user-agent"]
    shown = f"{payments!r} {vars(caught.value)} {caught.value!r}"
    assert stripe_double.api_key not in shown
    assert stripe_double.outbox.secret not in shown
