"""The same provider against Stripe itself, in its test mode: what no double can prove.

Runs when ``STRIPE_TEST_SECRET_KEY`` holds a key of test mode, makes customers, payments and subscriptions there, and
leaves them. Without it, each test run says at its end that these tests were not run.
"""

import os
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

import pytest
import stripe

from tallystick.ports import ProviderRefused
from tallystick.providers.stripe import StripePayments
from tests.providers.orders import HOUR, pack, refill, there

Found = TypeVar("Found")

KEY = os.environ.get("STRIPE_TEST_SECRET_KEY", "")
API_BASE = os.environ.get("STRIPE_API_BASE", stripe.DEFAULT_API_BASE)
assert KEY.startswith(("sk_test_", "rk_test_")), (
    "STRIPE_TEST_SECRET_KEY: expected a key of Stripe's test mode"
)

RUN = uuid.uuid4().hex  # so that no run meets the idempotency keys of another
PATIENCE_SECONDS = 60


def real_time() -> int:
    return time.time_ns() // 1000


def key(name: str) -> str:
    return f"{RUN}:{name}"


def eventually(look: Callable[[], Found | None]) -> Found:
    """What Stripe shows a little later."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (found := look()) is None and time.monotonic() < until:
        time.sleep(1)
    return there(found)


@pytest.fixture(scope="module")
def payments() -> StripePayments:
    """Our side of the account."""
    return StripePayments(KEY, webhook_secrets=["whsec_unused"], api_base=API_BASE, now=real_time)


@pytest.fixture(scope="module")
def client() -> stripe.StripeClient:
    """The SDK, for what only a payer can do."""
    return stripe.StripeClient(KEY, base_addresses={"api": API_BASE})


@pytest.fixture
def payer(payments: StripePayments, request: pytest.FixtureRequest) -> str:
    """A customer of this test's own."""
    name = request.node.name
    return payments.create_payer(reference=name, email="ann@example.com", key=key(f"payer:{name}"))


def save(client: stripe.StripeClient, payer: str, card: str) -> str:
    return client.v1.payment_methods.attach(card, {"customer": payer}).id


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"save_card": True, "expires_at": 0},
        {"currency": "jpy"},
        {"mode": "setup", "amount_cents": 0},
        {"mode": "subscription", "plan": "pro", "amount_cents": 2900},
    ],
)
def test_stripe_takes_each_kind_of_page(
    payments: StripePayments, payer: str, fields: dict[str, object]
) -> None:
    """It can be looked up, asked for again with its end moved by the clock, and ended."""
    order = pack(payer, now=real_time(), **{"expires_at": real_time() + 100 * HOUR} | fields)
    made = payments.create_checkout(order, key=key(f"page:{payer}"))
    assert ("open", order.reference, payer, False) == (made.status, made.reference, made.payer, made.live)
    assert made == payments.checkout(made.id)
    time.sleep(1.1)  # so that the repeat has another end, which Stripe refuses under the same key
    assert made.id == payments.create_checkout(order, key=key(f"page:{payer}")).id
    payments.expire_checkout(made.id)
    payments.expire_checkout(made.id)
    assert "expired" == there(payments.checkout(made.id)).status


def test_a_saved_card_pays_and_is_refunded(
    payments: StripePayments, client: stripe.StripeClient, payer: str
) -> None:
    """Once, however often it is asked for; and never more is given back than was taken."""
    assert payments.default_card(payer) is None
    card = save(client, payer, "pm_card_visa")
    assert card == there(payments.default_card(payer)).id
    since = real_time()
    charged = payments.charge_card(refill(payer), key=key("charge"))
    assert ("succeeded", "pay_2", 5000, payer) == (
        charged.status,
        charged.reference,
        charged.amount_cents,
        charged.payer,
    )
    save(client, payer, "pm_card_mastercard")
    assert charged.id == payments.charge_card(refill(payer), key=key("charge")).id
    found = eventually(lambda: payments.find_payment(payer=payer, reference="pay_2", since=since))
    assert charged.id == found.id

    refund = payments.refund(charged.id, amount_cents=2000, reference="ref_1", key=key("refund"))
    assert (2000, "ref_1") == (refund.amount_cents, refund.reference)
    assert 2000 == there(payments.payment(charged.id)).refunded_cents
    assert [refund.id] == [each.id for each in payments.refunds(charged.id)]
    with pytest.raises(ProviderRefused):
        payments.refund(charged.id, amount_cents=3001, reference="ref_2", key=key("too much"))

    event = eventually(
        lambda: next(
            (each for each in payments.events(since=since - HOUR) if each.subject_id == charged.id), None
        )
    )
    assert "payment" == event.subject


@pytest.mark.parametrize(
    ("card", "authentication"),
    [("pm_card_chargeCustomerFail", False), ("pm_card_authenticationRequired", True)],
)
def test_a_card_is_declined(
    payments: StripePayments, client: stripe.StripeClient, payer: str, card: str, *, authentication: bool
) -> None:
    """That is an answer, which looking it up and a repeat give too."""
    save(client, payer, card)
    declined = payments.charge_card(refill(payer), key=key(f"decline:{card}"))
    assert ("failed", authentication) == (declined.status, declined.decline == "authentication")
    assert declined.failure_text
    assert declined == payments.charge_card(refill(payer), key=key(f"decline:{card}"))
    assert declined == payments.payment(declined.id)


def test_a_dispute_takes_the_money(payments: StripePayments, client: stripe.StripeClient, payer: str) -> None:
    """Stripe opens it a moment after the payment."""
    charged = payments.charge_card(
        refill(payer, card=save(client, payer, "pm_card_createDispute")), key=key("disputed")
    )
    [dispute] = eventually(lambda: there(payments.payment(charged.id)).disputes or None)
    assert ("open", 5000, 5000) == (dispute.status, dispute.amount_cents, dispute.withdrawn_cents)


def test_a_plan_is_changed_and_ended(
    payments: StripePayments, client: stripe.StripeClient, payer: str
) -> None:
    """The difference is billed at once, and the end is told."""
    price = client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Pro"},
        }
    )
    begun = client.v1.subscriptions.create(
        {
            "customer": payer,
            "items": [{"price": price.id}],
            "default_payment_method": save(client, payer, "pm_card_visa"),
            "metadata": {"plan": "pro", "reference": "sub_1"},
        }
    )
    subscription = there(payments.subscription(begun.id))
    assert ("active", "pro", "sub_1", 2900) == (
        subscription.status,
        subscription.plan,
        subscription.reference,
        subscription.amount_cents,
    )
    first = there(payments.invoice(there(subscription.latest_invoice)))
    assert (True, "create", "pro", subscription.period_start, subscription.period_end) == (
        first.paid,
        first.reason,
        first.plan,
        first.period_start,
        first.period_end,
    )
    assert first.id == there(payments.payment(there(first.payment))).invoice

    ending = payments.cancel_subscription(begun.id, at_period_end=True, key=key("end"))
    assert ending.period_end == ending.ends_at
    for _ in range(2):
        changed = payments.change_subscription(
            begun.id, plan="enterprise", title="Enterprise", amount_cents=9900, price=None, key=key("change")
        )
        assert ("enterprise", 9900, None) == (changed.plan, changed.amount_cents, changed.ends_at)
    update = there(payments.invoice(there(changed.latest_invoice)))
    assert (True, "update", "enterprise") == (update.paid, update.reason, update.plan)
    assert 6900 <= update.amount_cents <= 7000
    ended = payments.cancel_subscription(begun.id, at_period_end=False, key=key("end now"))
    assert "canceled" == ended.status
    assert ended.canceled_at is not None
