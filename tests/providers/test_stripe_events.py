"""Events: who has signed them, what they are about, and how those that were missed are listed."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tallystick.ports.payments import Event, SignatureInvalid
from tallystick.providers.stripe import SUBSCRIBED, StripePayments
from tests.providers.orders import moment, pack, refill, subscribe, there
from tests.stripe_double import StripeDouble

SECOND = 10**6


def event_of(double: StripeDouble, kind: str) -> dict[str, Any]:
    """The last event of a type."""
    found: dict[str, Any] = double.account.all("event", type=kind)[0]
    return found


def read(double: StripeDouble, payments: StripePayments, kind: str) -> Event:
    """The last event of a type, as a webhook gets it."""
    message = double.outbox.message(event_of(double, kind))
    return payments.read_event(message.body, message.signature)


def altered(double: StripeDouble, payments: StripePayments, kind: str, **changes: Any) -> Event:
    """As ``read``, with other fields."""
    body = json.dumps(event_of(double, kind) | changes).encode()
    return payments.read_event(body, double.outbox.signature(body))


# --- what they are about -----------------------------------------------------------------------------------


def page(double: StripeDouble, payments: StripePayments, payer: str) -> str:
    return payments.create_checkout(pack(payer, now=moment(double)), key="page").id


def paid_page(double: StripeDouble, payments: StripePayments, payer: str) -> str:
    made = page(double, payments, payer)
    double.complete(made)
    return made


def answered_page(double: StripeDouble, payments: StripePayments, payer: str, *, paid: bool) -> str:
    made = page(double, payments, payer)
    double.pay_later(made)
    double.bank_answers(made, paid=paid)
    return made


def expired_page(double: StripeDouble, payments: StripePayments, payer: str) -> str:
    made = page(double, payments, payer)
    double.expire(made)
    return made


def charge(double: StripeDouble, payments: StripePayments, payer: str, card: str = "visa") -> str:
    double.save_card(payer, card)
    return payments.charge_card(refill(payer), key="charge").id


def late_charge(double: StripeDouble, payments: StripePayments, payer: str) -> str:
    bank = double.save_card(payer, "us_bank_account")["id"]
    made = payments.charge_card(refill(payer, card=bank), key="charge").id
    double.bank_answers(made, paid=True)
    return made


def refunded(double: StripeDouble, payments: StripePayments, payer: str, then: str = "") -> str:
    made = late_charge(double, payments, payer) if then else charge(double, payments, payer)
    refund = payments.refund(made, amount_cents=100, reference="ref_1", key="refund")
    if then:
        getattr(double, then)(refund.id)
    return made


def disputed(
    double: StripeDouble, payments: StripePayments, payer: str, then: str = "", *, inquiry: bool = False
) -> str:
    made = charge(double, payments, payer)
    dispute = double.dispute(double.account.objects[made]["latest_charge"], inquiry=inquiry)
    if then:
        getattr(double, then)(dispute["id"])
    return made


def subscribed(double: StripeDouble, payments: StripePayments, payer: str) -> str:
    return there(subscribe(double, payments, payer).subscription)


def ended(double: StripeDouble, payments: StripePayments, payer: str, *, at_period_end: bool) -> str:
    made = subscribed(double, payments, payer)
    payments.cancel_subscription(made, at_period_end=at_period_end, key="end")
    return made


def invoiced(double: StripeDouble, payments: StripePayments, payer: str) -> str:
    return there(subscribe(double, payments, payer).invoice)


def failed_renewal(double: StripeDouble, payments: StripePayments, payer: str, card: str) -> str:
    made = subscribe(double, payments, payer)
    double.change_card(there(made.card), card)
    double.advance(days=32)
    return there(there(payments.subscription(there(made.subscription))).latest_invoice)


def detached(double: StripeDouble, _payments: StripePayments, payer: str) -> str:
    double.detach(double.save_card(payer)["id"])
    return payer


def deleted(double: StripeDouble, _payments: StripePayments, payer: str) -> str:
    double.delete_customer(payer)
    return payer


Scene = Callable[[StripeDouble, StripePayments, str], str]
SCENES: dict[str, tuple[str, Scene]] = {
    "checkout.session.completed": ("checkout", paid_page),
    "checkout.session.async_payment_succeeded": (
        "checkout",
        partial(answered_page, paid=True),
    ),
    "checkout.session.async_payment_failed": ("checkout", partial(answered_page, paid=False)),
    "checkout.session.expired": ("checkout", expired_page),
    "payment_intent.succeeded": ("payment", charge),
    "payment_intent.payment_failed": ("payment", partial(charge, card="lost_card")),
    "invoice.paid": ("invoice", invoiced),
    "invoice.payment_failed": ("invoice", partial(failed_renewal, card="lost_card")),
    "invoice.payment_action_required": (
        "invoice",
        partial(failed_renewal, card="authentication_required"),
    ),
    "customer.subscription.created": ("subscription", subscribed),
    "customer.subscription.updated": ("subscription", partial(ended, at_period_end=True)),
    "customer.subscription.deleted": ("subscription", partial(ended, at_period_end=False)),
    "charge.refunded": ("payment", refunded),
    "refund.created": ("payment", refunded),
    "refund.updated": ("payment", partial(refunded, then="refund_arrives")),
    "refund.failed": ("payment", partial(refunded, then="refund_fails")),
    "charge.dispute.created": ("payment", disputed),
    "charge.dispute.updated": ("payment", partial(disputed, then="escalate", inquiry=True)),
    "charge.dispute.closed": ("payment", partial(disputed, then="lose")),
    "charge.dispute.funds_withdrawn": ("payment", disputed),
    "charge.dispute.funds_reinstated": ("payment", partial(disputed, then="win")),
    "payment_method.detached": ("payer", detached),
    "customer.deleted": ("payer", deleted),
}


def test_there_is_a_scene_for_each_type() -> None:
    """What is subscribed to is what is tried below."""
    assert sorted(SCENES) == list(SUBSCRIBED)


@pytest.mark.parametrize("kind", sorted(SCENES))
def test_an_event_says_what_to_ask_for(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, kind: str
) -> None:
    """Whichever of a payment's objects it is about, the payment's id; and so on."""
    subject, scene = SCENES[kind]
    subject_id = scene(stripe_double, payments, payer)
    event, sent = read(stripe_double, payments, kind), event_of(stripe_double, kind)
    assert (sent["id"], kind, sent["created"] * SECOND, subject, subject_id, False) == (
        event.id,
        event.type,
        event.created_at,
        event.subject,
        event.subject_id,
        event.live,
    )
    assert event in list(payments.events(since=event.created_at))


def test_facts_are_hints(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """The object itself, its status and our reference, where it has them."""
    made = paid_page(stripe_double, payments, payer)
    completed = read(stripe_double, payments, "checkout.session.completed")
    assert {"object": made, "status": "complete", "reference": "pay_1"} == completed.facts
    stripe_double.delete_customer(payer)
    assert {"object": payer, "reference": "cus_1"} == read(stripe_double, payments, "customer.deleted").facts


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "charge.succeeded"},
        {"type": "a.type.of.the.future"},
        {"account": "acct_of_somebody_else"},
        {"data": {"object": {"id": "ch_1", "payment_intent": None}}, "type": "charge.refunded"},
        {"data": {"object": {"id": "dp_1"}}, "type": "charge.dispute.created"},
        {"data": {"object": {"id": "pm_1", "customer": None}}, "type": "payment_method.detached"},
    ],
)
def test_what_is_of_no_interest(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, changes: dict[str, Any]
) -> None:
    """Other types, other accounts, and charges that belong to no payment of the kind we make."""
    charge(stripe_double, payments, payer)
    event = altered(stripe_double, payments, "payment_intent.succeeded", **changes)
    assert ("other", changes.get("type", "payment_intent.succeeded")) == (event.subject, event.type)
    assert event.subject_id


def test_an_expanded_payment_and_a_live_event(
    stripe_double: StripeDouble, payments: StripePayments, payer: str
) -> None:
    """Whole objects in place of ids are read too, and whether real money moved is told."""
    charge(stripe_double, payments, payer)
    data = {"object": {"id": "ch_1", "payment_intent": {"id": "pi_1", "object": "payment_intent"}}}
    event = altered(
        stripe_double,
        payments,
        "payment_intent.succeeded",
        type="charge.refunded",
        data=data,
        livemode=True,
    )
    assert ("payment", "pi_1", True) == (event.subject, event.subject_id, event.live)


# --- who has signed them -----------------------------------------------------------------------------------


@pytest.fixture
def body(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> bytes:
    """An event as it is sent."""
    charge(stripe_double, payments, payer)
    return stripe_double.outbox.message(event_of(stripe_double, "payment_intent.succeeded")).body


def test_two_secrets_count_while_one_replaces_the_other(stripe_double: StripeDouble, body: bytes) -> None:
    """Signed with either, or with both, it is taken; with neither, it is not."""
    sign = stripe_double.outbox.signature
    payments = StripePayments(
        stripe_double.api_key,
        webhook_secrets=["whsec_new", "whsec_old"],
        api_base=stripe_double.url,
        now=lambda: moment(stripe_double),
    )
    new, old = sign(body, secret="whsec_new"), sign(body, secret="whsec_old")
    for signature in (new, old, f"{new},{old.partition(',')[2]}", f"{old},{new.partition(',')[2]}"):
        assert "payment_intent.succeeded" == payments.read_event(body, signature).type
    with pytest.raises(SignatureInvalid):
        payments.read_event(body, sign(body))


@pytest.mark.parametrize(("age", "taken"), [(299, True), (302, False), (-298, True), (-302, False)])
def test_an_event_is_good_for_five_minutes(
    stripe_double: StripeDouble, payments: StripePayments, body: bytes, age: int, *, taken: bool
) -> None:
    """Neither older ones nor those of the future are taken, for they could be kept and used later."""
    signature = stripe_double.outbox.signature(body, at=stripe_double.clock.now() - age)
    if taken:
        assert payments.read_event(body, signature).subject_id
    else:
        with pytest.raises(SignatureInvalid, match="too long ago, or in the future"):
            payments.read_event(body, signature)


def test_the_time_is_ours_to_give(stripe_double: StripeDouble, payments: StripePayments, body: bytes) -> None:
    """Not that of the machine: a day later, the same event is too old."""
    signature = stripe_double.outbox.signature(body)
    assert payments.read_event(body, signature).subject_id
    stripe_double.advance(days=1)
    with pytest.raises(SignatureInvalid):
        payments.read_event(body, signature)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "nonsense",
        "t=",
        "t=now,v1=00",
        "v1=00",
        "t=1",
        "t=1,v1=é",
        "t=1,v1=00",
        f"t={'9' * 5000},v1=00",
        "t=1,v0=00",
    ],
)
def test_a_signature_that_is_none(
    stripe_double: StripeDouble, payments: StripePayments, body: bytes, signature: str | None
) -> None:
    """Whatever stands in the header, it is no more than a refusal."""
    with pytest.raises(SignatureInvalid):
        payments.read_event(body, signature)
    good = stripe_double.outbox.signature(body)
    with pytest.raises(SignatureInvalid):
        payments.read_event(body, good.replace("t=", f"t={signature or 1},t="))


def test_somebody_else_and_another_body(
    stripe_double: StripeDouble, payments: StripePayments, body: bytes
) -> None:
    """A wrong secret, and a body that was changed on the way, are refused."""
    event = event_of(stripe_double, "payment_intent.succeeded")
    for message in (
        stripe_double.outbox.with_other_secret(event),
        stripe_double.outbox.with_other_body(event),
    ):
        with pytest.raises(SignatureInvalid):
            payments.read_event(message.body, message.signature)
    assert payments.read_event(body, stripe_double.outbox.signature(body)).id == event["id"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b'{"object": "event"}',
        b'{"id": 1, "type": "x", "created": 1, "livemode": true, "data": {"object": {}}}',
        b'{"id": "evt_1", "type": {}, "created": 1, "livemode": true, "data": {"object": {}}}',
        b'{"id": "evt_1", "type": "", "created": 1, "livemode": true, "data": {"object": {}}}',
        b'{"id": "evt_1", "type": "x", "created": Infinity, "livemode": true, "data": {"object": {}}}',
        b'{"id": "evt_1", "type": "x", "created": "1", "livemode": true, "data": {"object": {}}}',
        b'{"id": "evt_1", "type": "x", "created": 1, "livemode": true, "data": {"object": []}}',
        b'{"id": "evt_1", "type": "x", "created": 1, "livemode": true, "data": []}',
        b'{"id": "evt_1", "object": "v2.core.event", "type": "x", "created": "2026-01-01T00:00:00Z"}',
    ],
)
def test_a_body_that_is_no_event(
    stripe_double: StripeDouble, payments: StripePayments, garbage: bytes
) -> None:
    """Also with a good signature, it is no more than a refusal."""
    with pytest.raises(SignatureInvalid):
        payments.read_event(garbage, stripe_double.outbox.signature(garbage))


def test_bytes_that_are_no_text(stripe_double: StripeDouble, payments: StripePayments) -> None:
    """Are refused like any other body."""
    garbage = b'{"id": "\xff"}'
    with pytest.raises(SignatureInvalid):
        payments.read_event(garbage, stripe_double.outbox.signature(garbage))


def test_without_a_secret_nothing_is_taken(stripe_double: StripeDouble, body: bytes) -> None:
    """An installation that was given none believes nobody."""
    payments = StripePayments(
        stripe_double.api_key,
        webhook_secrets=[],
        api_base=stripe_double.url,
        now=lambda: moment(stripe_double),
    )
    with pytest.raises(SignatureInvalid):
        payments.read_event(body, stripe_double.outbox.signature(body))


# --- those that were missed --------------------------------------------------------------------------------


def test_all_events_are_listed(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Over several pages and of all types that we subscribe to, newest first; of others, none."""
    first = moment(stripe_double)
    stripe_double.save_card(payer)
    for number in range(130):
        payments.charge_card(refill(payer, reference=f"pay_{number}"), key=f"k{number}")
        if number % 50 == 0:
            stripe_double.advance(seconds=1)
    subscribe(stripe_double, payments, payer)
    expected = {each["id"] for each in stripe_double.account.all("event") if each["type"] in SUBSCRIBED}
    listed = list(payments.events(since=first))
    assert len(listed) == len(expected) > 130
    assert {each.id for each in listed} == expected
    times = [each.created_at for each in listed]
    assert sorted(times, reverse=True) == times
    assert {"payment", "checkout", "invoice", "subscription"} == {each.subject for each in listed}


def test_events_from_a_moment_on(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """Those of that second are listed, earlier ones are not."""
    charge(stripe_double, payments, payer)
    stripe_double.advance(seconds=60)
    later = moment(stripe_double)
    stripe_double.delete_customer(payer)
    listed = list(payments.events(since=later))
    assert {"customer.deleted", "payment_method.detached"} == {each.type for each in listed}
    assert [] == list(payments.events(since=moment(stripe_double) + 60 * SECOND))
