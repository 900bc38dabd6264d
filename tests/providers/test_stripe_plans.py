"""Monthly plans: how they begin, go on, change, fail and end, and what their bills say."""

from calendar import monthrange
from datetime import UTC, datetime

import pytest

from tallystick.core.times import add_months
from tallystick.ports import ProviderRefused
from tallystick.ports.payments import Invoice, Subscription
from tallystick.providers.stripe import StripePayments
from tests.providers.orders import moment, subscribe, there
from tests.stripe_double import StripeDouble


@pytest.fixture
def begun(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> Subscription:
    """The plan "pro", subscribed to just now."""
    page = subscribe(stripe_double, payments, payer)
    return there(payments.subscription(there(page.subscription)))


def latest_invoice(payments: StripePayments, subscription: str) -> Invoice:
    found = there(payments.subscription(subscription))
    return there(payments.invoice(there(found.latest_invoice)))


def change(
    payments: StripePayments, begun: Subscription, *, key: str = "change", cents: int = 9900
) -> Subscription:
    return payments.change_subscription(
        begun.id, plan="enterprise", title="Enterprise", amount_cents=cents, price=None, key=key
    )


def days_of_month(micros: int) -> int:
    begin = datetime.fromtimestamp(micros // 10**6, UTC)
    return monthrange(begin.year, begin.month)[1]


def test_a_subscription_begins(payments: StripePayments, payer: str, begun: Subscription) -> None:
    """It is active for a month, and knows our plan and reference."""
    assert ("active", payer, "pro", "sub_1", 2900, "usd", False, None, None) == (
        begun.status,
        begun.payer,
        begun.plan,
        begun.reference,
        begun.amount_cents,
        begun.currency,
        begun.live,
        begun.ends_at,
        begun.canceled_at,
    )
    assert begun.period_end == add_months(begun.period_start, 1)
    assert begun == payments.subscription(begun.id)


def test_the_first_invoice(payments: StripePayments, payer: str, begun: Subscription) -> None:
    """Is paid for the period that begins, and leads to its payment and back."""
    invoice = latest_invoice(payments, begun.id)
    assert (True, "create", payer, begun.id, "pro", 2900, "usd", False, None) == (
        invoice.paid,
        invoice.reason,
        invoice.payer,
        invoice.subscription,
        invoice.plan,
        invoice.amount_cents,
        invoice.currency,
        invoice.live,
        invoice.failure_text,
    )
    assert (begun.period_start, begun.period_end) == (invoice.period_start, invoice.period_end)
    payment = there(payments.payment(there(invoice.payment)))
    assert ("succeeded", 2900, invoice.id, invoice.url, None) == (
        payment.status,
        payment.amount_cents,
        payment.invoice,
        payment.invoice_url,
        payment.reference,
    )


def test_an_invoice_without_lines(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """Is for its own period."""
    invoice = stripe_double.account.objects[there(begun.latest_invoice)]
    invoice["lines"]["data"].clear()
    found = there(payments.invoice(invoice["id"]))
    assert (invoice["period_start"] * 10**6, invoice["period_end"] * 10**6) == (
        found.period_start,
        found.period_end,
    )


def test_a_renewal(stripe_double: StripeDouble, payments: StripePayments, begun: Subscription) -> None:
    """Its bill is for the period that begins then, not for the one that has just ended."""
    stripe_double.advance_to(begun.period_end // 10**6)
    renewed, invoice = there(payments.subscription(begun.id)), latest_invoice(payments, begun.id)
    assert (begun.period_end, "active") == (renewed.period_start, renewed.status)
    assert (True, "cycle", "pro", renewed.period_start, renewed.period_end) == (
        invoice.paid,
        invoice.reason,
        invoice.plan,
        invoice.period_start,
        invoice.period_end,
    )


def test_a_renewal_that_fails(stripe_double: StripeDouble, payments: StripePayments, payer: str) -> None:
    """It is past due, its bill says why, and after the last attempt it has ended."""
    page = subscribe(stripe_double, payments, payer)
    begun = there(payments.subscription(there(page.subscription)))
    stripe_double.change_card(there(page.card), "insufficient_funds")
    stripe_double.advance_to(begun.period_end // 10**6)
    late, invoice = there(payments.subscription(begun.id)), latest_invoice(payments, begun.id)
    assert ("past_due", None, False, "cycle", 2900, "Your card has insufficient funds.") == (
        late.status,
        late.canceled_at,
        invoice.paid,
        invoice.reason,
        invoice.amount_cents,
        invoice.failure_text,
    )
    payment = there(payments.payment(there(invoice.payment)))
    assert ("failed", "soft", invoice.id) == (payment.status, payment.decline, payment.invoice)
    stripe_double.advance(days=20)
    ended = there(payments.subscription(begun.id))
    assert "canceled" == ended.status
    assert begun.period_end < there(ended.canceled_at) <= moment(stripe_double)


def test_a_change_is_billed_at_once(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """The difference for the rest of the period, on a bill that is none for a new period."""
    stripe_double.advance(days=10)
    changed = change(payments, begun)
    assert ("active", "enterprise", "sub_1", 9900, begun.period_start, begun.period_end) == (
        changed.status,
        changed.plan,
        changed.reference,
        changed.amount_cents,
        changed.period_start,
        changed.period_end,
    )
    invoice = latest_invoice(payments, begun.id)
    assert (True, "update", "enterprise", begun.period_end) == (
        invoice.paid,
        invoice.reason,
        invoice.plan,
        invoice.period_end,
    )
    days = days_of_month(begun.period_start)
    assert abs(7000 * (days - 10) // days - invoice.amount_cents) <= 1
    stripe_double.advance_to(begun.period_end // 10**6)
    renewal = latest_invoice(payments, begun.id)
    assert ("cycle", "enterprise", 9900) == (renewal.reason, renewal.plan, renewal.amount_cents)


def test_a_change_to_a_price_of_the_operator(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """What it costs is what the price says."""
    price = stripe_double.client().v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 5000,
            "recurring": {"interval": "month"},
            "product_data": {"name": "E"},
        }
    )
    changed = payments.change_subscription(
        begun.id, plan="enterprise", title="Enterprise", amount_cents=9900, price=price.id, key="k"
    )
    assert ("enterprise", 5000) == (changed.plan, changed.amount_cents)


def test_a_change_is_made_once(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """A repeat bills nothing, not even when Stripe has long forgotten the key."""
    change(payments, begun)
    invoices = len(stripe_double.account.all("invoice"))
    assert change(payments, begun).id == begun.id
    stripe_double.advance(days=2)
    assert "enterprise" == change(payments, begun).plan
    assert invoices == len(stripe_double.account.all("invoice"))


def test_a_change_without_a_product_is_refused(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """Where Stripe does not let us make one, nothing changes."""
    stripe_double.faults.fail("/v1/products", status=400)
    with pytest.raises(ProviderRefused):
        change(payments, begun)
    assert begun == payments.subscription(begun.id)


def test_plans_share_a_product(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """However often somebody changes to one, the catalogue has one entry of it more."""
    for number, cents in enumerate((9900, 5900, 9900)):
        change(payments, begun, key=f"k{number}", cents=cents)
    assert 1 == sum(each["name"] == "Enterprise" for each in stripe_double.account.all("product"))


def test_a_downgrade_leaves_a_credit(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """Its bill takes no money, and the next one takes less."""
    stripe_double.advance(days=10)
    changed = change(payments, begun, cents=900)
    invoice = latest_invoice(payments, begun.id)
    assert (900, True, "update", 0, None) == (
        changed.amount_cents,
        invoice.paid,
        invoice.reason,
        invoice.amount_cents,
        invoice.payment,
    )
    stripe_double.advance_to(begun.period_end // 10**6)
    renewal = latest_invoice(payments, begun.id)
    assert ("cycle", True, 0) == (renewal.reason, renewal.paid, renewal.amount_cents)


@pytest.mark.parametrize("card", ["lost_card", "authentication_required"])
def test_a_change_that_cannot_be_paid_changes_nothing(
    stripe_double: StripeDouble, payments: StripePayments, payer: str, card: str
) -> None:
    """It is refused, also when it is repeated, and the plan stays."""
    page = subscribe(stripe_double, payments, payer)
    begun = there(payments.subscription(there(page.subscription)))
    stripe_double.change_card(there(page.card), card)
    for _ in range(2):
        with pytest.raises(ProviderRefused) as caught:
            change(payments, begun)
        assert card == caught.value.code
    found = there(payments.subscription(begun.id))
    assert ("active", "pro", 2900) == (found.status, found.plan, found.amount_cents)


def test_an_end_with_the_period(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """It goes on until then, when it has ended; a repeat tells so."""
    told = payments.cancel_subscription(begun.id, at_period_end=True, key="end")
    assert ("active", begun.period_end, None) == (told.status, told.ends_at, told.canceled_at)
    assert told == payments.cancel_subscription(begun.id, at_period_end=True, key="end")
    stripe_double.advance_to(begun.period_end // 10**6)
    ended = there(payments.subscription(begun.id))
    assert ("canceled", begun.period_end) == (ended.status, ended.canceled_at)
    assert ended == payments.cancel_subscription(begun.id, at_period_end=True, key="end")
    assert ended == payments.cancel_subscription(begun.id, at_period_end=True, key="another")


def test_an_end_at_once(stripe_double: StripeDouble, payments: StripePayments, begun: Subscription) -> None:
    """And once more, with the same key or another, it is as it was."""
    ended = payments.cancel_subscription(begun.id, at_period_end=False, key="end")
    assert "canceled" == ended.status
    assert begun.period_start <= there(ended.canceled_at) <= moment(stripe_double)
    for key in ("end", "another"):
        assert ended == payments.cancel_subscription(begun.id, at_period_end=False, key=key)


def test_a_change_takes_an_end_back(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """Also one that the payer has asked for in the portal."""
    stripe_double.cancel_in_portal(begun.id)
    assert begun.period_end == there(payments.subscription(begun.id)).ends_at
    changed = change(payments, begun)
    assert (None, "active") == (changed.ends_at, changed.status)
    stripe_double.advance_to(begun.period_end // 10**6)
    assert "active" == there(payments.subscription(begun.id)).status


def test_a_change_takes_an_end_on_a_day_back(
    stripe_double: StripeDouble, payments: StripePayments, begun: Subscription
) -> None:
    """Which the operator has set in the dashboard."""
    subscription = stripe_double.account.objects[begun.id]
    stripe_double.account.change(subscription, cancel_at=begun.period_end // 10**6 - 1000)
    assert begun.period_end - 1000 * 10**6 == there(payments.subscription(begun.id)).ends_at
    assert change(payments, begun).ends_at is None
    assert subscription["cancel_at"] is None


def test_what_has_ended_cannot_be_changed(payments: StripePayments, begun: Subscription) -> None:
    """A new one must be subscribed to."""
    payments.cancel_subscription(begun.id, at_period_end=False, key="end")
    with pytest.raises(ProviderRefused):
        change(payments, begun)


def test_what_is_not_there(payments: StripePayments) -> None:
    """Looks up as None, and cannot be changed or ended."""
    assert payments.subscription("sub_of_nobody") is None
    assert payments.invoice("in_of_nobody") is None
    with pytest.raises(ProviderRefused):
        payments.cancel_subscription("sub_of_nobody", at_period_end=False, key="k")
    with pytest.raises(ProviderRefused) as caught:
        payments.change_subscription(
            "sub_of_nobody", plan="pro", title="Pro", amount_cents=1, price=None, key="k"
        )
    assert "resource_missing" == caught.value.code
