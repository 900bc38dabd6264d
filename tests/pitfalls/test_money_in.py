"""Bugs that other systems had where money comes in: each is a test of ours, by name and number, with both providers."""

import json
from typing import Any

import pytest

from tallystick.core.errors import PaymentsUnavailable
from tallystick.core.ids import to_text
from tallystick.core.times import DAY, HOUR
from tallystick.ports.payments import CardOrder, CheckoutOrder
from tallystick.store import payments as store
from tallystick.store.schema_payments import stripe_events
from tests.payments.broken import Broken, Crash
from tests.payments.shop import Shop, refused
from tests.services.installation import at_once


def _handled(shop: Shop) -> int:
    """How many events are marked as handled."""
    with shop.tally.database.read() as connection:
        return len(connection.execute(stripe_events.select()).all())


def test_pitfall_28_two_events_of_one_payment_credit_once(shop: Shop) -> None:
    """The page's and the payment's, each twice, in any order, at the same moment, beside the success page and the worker."""
    view = shop.order()
    shop.hands.pay(view.session_id)
    events = shop.hands.take_events()
    assert 2 <= len(events)
    row = shop.payment(view.payment_id)
    looks = [lambda: shop.tally.checkouts.look(to_text("pay", row.id), row.token).status] * 2
    at_once([*(lambda event=event: shop.send(event) for event in events * 2), *looks])
    for event in reversed(events):
        shop.send(event)
    assert 2_000 == shop.balance()
    assert [] == shop.reconcile().differences


def test_pitfall_29_an_event_is_marked_with_its_effect_or_not_at_all(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after the credits and before the mark, or the other way round, leaves neither."""
    view = shop.order()
    shop.hands.pay(view.session_id)
    events = shop.hands.take_events()

    def crash(*_: object, **__: object) -> None:
        raise Crash

    for place in ("mark_event", "change"):
        with monkeypatch.context() as patch:
            patch.setattr(store, place, crash)
            for event in events:
                if _shown(event)["type"].startswith("checkout."):
                    with pytest.raises(Crash):
                        shop.send(event)
        assert (0, 0) == (shop.balance(), _handled(shop))
    for event in events:
        shop.send(event)
    assert (2_000, len(events)) == (shop.balance(), _handled(shop))


def test_pitfall_30_an_event_that_was_not_handled_is_not_acknowledged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the provider cannot be asked, the event is refused with a status that brings it again."""
    view = shop.order()
    shop.hands.pay(view.session_id)
    events = [each for each in shop.hands.take_events() if view.session_id in json.dumps(_shown(each))]

    def away(*_: object) -> None:
        raise PaymentsUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(shop.tally.fulfilment, "_ask", away)
        for event in events:
            assert "payments_unavailable" == refused(lambda event=event: shop.send(event))  # type: ignore[misc]
    assert (0, 0) == (shop.balance(), _handled(shop))
    for event in events:
        shop.send(event)
    assert 2_000 == shop.balance()


def _shown(event: Any) -> Any:
    return event if isinstance(event, dict) else {"type": event.type, "subject": event.subject_id}


def test_pitfall_31_a_page_that_is_complete_and_unpaid_credits_nothing(shop: Shop) -> None:
    """The money of an asynchronous payment has not come; when it comes, it is credited, and when not, never."""
    first, second = shop.buy(card="later"), shop.buy(card="later")
    assert ("processing", 0) == (shop.status(first), shop.balance())
    shop.work()
    assert [] == shop.reconcile().differences
    assert 0 == shop.balance()
    shop.hands.settle(str(first.reference), succeeded=True)
    shop.hands.settle(str(second.reference), succeeded=False)
    shop.deliver()
    assert 2_000 == shop.balance()


def test_pitfall_32_credits_are_ours_to_say_not_the_events(shop: Shop) -> None:
    """Whatever an event's metadata claims, the credits are those of the order that is written down here."""
    view = shop.order()
    shop.hands.pay(view.session_id)
    if shop.hands.name == "stripe":
        page = shop.hands.double.account.objects[view.session_id]  # type: ignore[attr-defined]
        page["metadata"] = {**page["metadata"], "credits": "999999999", "amount": "1"}
    for event in shop.hands.take_events():
        if isinstance(event, dict):
            event["data"]["object"]["metadata"] = {"credits": "999999999"}
            event["data"]["object"]["amount_total"] = 99_999_999
        shop.send(event)
    assert (2_000, 2_000_000_000) == (shop.balance(), shop.payment(view.payment_id).credits)


def test_pitfall_33_refund_totals_are_cumulative(shop: Shop) -> None:
    """Three refunds, of whose events two come late, twice and backwards, take what was refunded and no more."""
    row = shop.buy()
    for cents in (300, 400, 500):
        shop.hands.refund(str(row.reference), cents)
    events = shop.hands.take_events()
    for event in [*reversed(events), *events]:
        shop.send(event)
        assert 800 == shop.balance()
    assert 1_200 == shop.payment(row.id).refunded_cents


def test_pitfall_34_disputes_end_right_beside_a_refund(shop: Shop) -> None:
    """Lost, won, an inquiry, and a refund before it: never more is taken than came, and what is won comes back."""
    lost, won, asked = shop.buy(), shop.buy(), shop.buy()
    for row in (lost, won, asked):
        shop.refund(row, "5")
    shop.hands.dispute(str(lost.reference))
    shop.hands.dispute(str(won.reference))
    shop.hands.inquire(str(asked.reference))
    shop.deliver()
    assert 1_500 == shop.balance()
    shop.hands.decide(str(lost.reference), won=False)
    shop.hands.decide(str(won.reference), won=True)
    shop.hands.decide(str(asked.reference), won=True)
    shop.deliver()
    assert (3_000, 3_000, 0) == shop.figures()
    assert ("charged_back", "partially_refunded", "partially_refunded") == (
        shop.status(lost), shop.status(won), shop.status(asked)
    )  # fmt: skip


def test_pitfall_35_a_refund_of_spent_credits_is_debt(shop: Shop) -> None:
    """It is shown, it stops the spending, and the next credit repays it first."""
    row = shop.buy()
    shop.spend(2_000)
    shop.refund(row, "12")
    assert (-1_200, 0, 1_200) == shop.figures()
    assert "insufficient_credits" == refused(lambda: shop.spend(1))
    shop.buy()
    assert (800, 800, 0) == shop.figures()


def test_pitfall_36_a_currency_without_cents_is_not_multiplied(shop: Shop) -> None:
    """700 yen are 700 of its smallest units, on a page and with a saved card; and yen for dollars are no payment."""
    provider = shop.tally.payment_provider
    view = shop.order()
    shop.hands.pay(view.session_id)
    payer = str(shop.payment(view.payment_id).payer)
    order = CheckoutOrder(
        reference="yen_1",
        mode="payment",
        payer=payer,
        title="Yen",
        success_url="https://shop.example.test/done",
        cancel_url="https://shop.example.test/back",
        expires_at=shop.hands.now() + HOUR,
        amount_cents=700,
        currency="jpy",
    )
    page = provider.create_checkout(order, key="yen")
    assert (700, "jpy") == (page.amount_cents, page.currency)
    charged = provider.charge_card(
        CardOrder(reference="yen_2", payer=payer, amount_cents=700, description="Yen", currency="jpy"),
        key="y2",
    )
    assert (700, "jpy") == (charged.amount_cents, charged.currency)
    shop.hands.change(view.session_id, currency="jpy")
    shop.deliver()
    assert ("mismatch", 0) == (shop.payment(view.payment_id).status, shop.balance())


def test_pitfall_37_a_forged_success_address_credits_nothing(shop: Shop) -> None:
    """Before the payment it tells that nothing came; with another's token, or none, it tells nothing."""
    view, paid = shop.order(amount=1_000), shop.buy(10)
    name = to_text("pay", view.payment_id)
    assert "not_found" == refused(lambda: shop.tally.checkouts.look(name, paid.token))
    assert "not_found" == refused(lambda: shop.tally.checkouts.look("pay_0000000000000", paid.token))
    row = shop.tally.checkouts.look(name, shop.payment(view.payment_id).token)
    assert ("open", 1_000) == (row.status, shop.balance())


def test_pitfall_38_one_payment_for_one_gap(shop: Shop) -> None:
    """Many charges below the threshold, and many turns of two workers, are one payment."""
    shop.refill(has=150)
    other = shop.open()
    at_once([lambda: shop.spend(10)] * 10)
    shop.tally.works[0].run_once()
    at_once([each.refills.run_once for each in (shop.tally, other)] * 3)
    other.close()
    shop.work()
    assert (1, 2_050) == (len(shop.hands.payments()), shop.balance())


def test_pitfall_38_a_declined_card_is_not_tried_every_few_seconds(shop: Shop) -> None:
    """An empty account waits a day, and after the third decline nothing is tried any more: told, never silent."""
    shop.refill("then_soft")
    shop.spend(450)
    for _ in range(100):
        shop.work()
        shop.hands.advance("PT10S")
    assert 1 == len(shop.refills())
    assert shop.next_charge() == shop.refills()[0].created_at + DAY
    assert 1 == len(shop.told("auto_refill.failed"))
    for _ in range(12):
        shop.spend(1)
        shop.hands.advance("P1D")
        shop.work()
    assert (3, 1) == (len(shop.refills()), len(shop.told("auto_refill.paused")))
    assert shop.pause() == shop.told("auto_refill.paused")[0]["reason"]


def test_pitfall_38_refills_do_not_run_for_weeks_without_a_cap(shop: Shop) -> None:
    """A leak that eats every refill stops at the day's cap, and at the month's."""
    shop.refill()
    for _ in range(20):
        for _ in range(5):
            if shop.balance():
                shop.spend(shop.balance())
            shop.work()
            shop.hands.advance("PT1H")
        shop.hands.advance("PT19H")
    assert 15_000 >= sum(row.amount_cents for row in shop.refills()) > 6_000


def test_pitfall_38_an_idle_wallet_is_not_charged(shop: Shop) -> None:
    """Days after the last usage nothing is bought, although the balance is below the threshold."""
    shop.refill("then_soft")
    shop.spend(450)
    shop.work()
    shop.hands.advance("P5D")
    for _ in range(5):
        shop.work()
        shop.hands.advance("P1D")
    assert 1 == len(shop.refills())


def test_pitfall_38_no_lock_outlives_its_process(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends while a refill is under way holds it up for minutes, not for hours."""
    shop.refill()
    shop.spend(450)
    shop.tally.works[0].run_once()
    with monkeypatch.context() as patch:
        patch.setattr(shop.tally.refills, "_provider", Broken(shop.tally.payment_provider, "charge_card"))
        with pytest.raises(Crash):
            shop.tally.refills.begin(shop.customer().customer_id or 0)
    shop.restart()
    shop.hands.advance("PT3M")
    shop.work()
    assert (["paid"], 2_050) == ([row.status for row in shop.refills()], shop.balance())


def test_pitfall_38_a_failed_attempt_does_not_block_the_next(shop: Shop) -> None:
    """Each attempt has a key of its own: another card pays the next one."""
    shop.refill("then_hard")
    shop.spend(450)
    shop.work()
    shop.save_card("good")
    shop.hands.advance("PT2M")
    shop.work()
    assert ["failed", "paid"] == [row.status for row in shop.refills()]


def test_pitfall_38_a_lost_answer_is_not_charged_again(shop: Shop) -> None:
    """The card was charged and nobody heard of it: it is found, never charged anew."""
    shop.refill("then_unknown_done")
    shop.spend(450)
    shop.tally.works[0].run_once()
    shop.tally.refills.run_once()
    shop.lose_events()
    for _ in range(10):
        shop.hands.advance("PT1M")
        shop.work(deliver=False)
    assert (1, 2_050) == (len(shop.hands.payments()), shop.balance())
