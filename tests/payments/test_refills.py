"""Automatic refills on both providers: one payment for one gap, bounded, patient, and paused with a reason."""

import threading
import time
from functools import partial

import pytest

from tallystick.core.amounts import MICROS
from tallystick.core.times import DAY, HOUR, MINUTE, add_months, day_start, month_start
from tallystick.services.context import SYSTEM
from tests.payments.broken import Broken, Crash
from tests.payments.fixtures import Open
from tests.payments.shop import Shop
from tests.services.installation import at_once


def below(shop: Shop, left: int = 50, customer: str = "ann") -> None:
    """A charge takes the balance to so much."""
    if shop.balance(customer) > left:
        shop.spend(shop.balance(customer) - left, customer=customer)


def test_a_charge_below_the_threshold_leads_to_one_payment(shop: Shop) -> None:
    """Not at the threshold, and once below it; its credits are those of a refill, and lead to the payment."""
    shop.refill()
    below(shop, 100)
    shop.work()
    assert [] == shop.refills()
    shop.spend(1)
    shop.work()
    [row] = shop.refills()
    assert ("paid", 2_000, 2_099) == (row.status, row.amount_cents, shop.balance())
    grants = {each.id: each.category for each in shop.tally.billing.balance(SYSTEM, customer="ann").grants}
    assert "auto_refill" == grants[row.grant_id or 0]
    shop.work()
    assert 1 == len(shop.hands.payments())
    assert 1 == shop.tally.refills.outcomes["succeeded"]


def test_refills_that_are_set_at_once_for_the_first_time(shop: Shop) -> None:
    """Two tabs and a script set what was never set: each is heard, and the last one counts."""
    lows = (500, 600, 700, 800)
    for number in range(10):
        name = f"customer {number}"
        caller = shop.customer(name)
        assert [None] * 4 == at_once(
            [partial(shop.configure, customer=name, enabled=low != 500, threshold=low) for low in lows]
        )
        view = shop.tally.refills.get(caller)
        assert (view.threshold, view.enabled) in {(low * MICROS, low != 500) for low in lows}


def test_fifty_charges_at_once_lead_to_one_payment(shop: Shop) -> None:
    """From many threads, with two processes whose workers run all the while."""
    shop.refill(has=1_000)
    other = shop.open()
    try:
        ended = threading.Event()

        def worker(tally: object) -> None:
            while not ended.is_set():
                for each in tally.works:  # type: ignore[attr-defined]
                    each.run_once()
                time.sleep(0.001)

        threads = [threading.Thread(target=worker, args=(each,)) for each in (shop.tally, other)]
        for each in threads:
            each.start()
        try:
            at_once([lambda: shop.spend(19) for _ in range(50)])
            until = time.monotonic() + 20
            while not shop.refills() and time.monotonic() < until:
                time.sleep(0.02)
        finally:
            ended.set()
            for each in threads:
                each.join()
    finally:
        other.close()
    shop.work()
    shop.deliver()
    [row] = shop.refills()
    [paid] = shop.hands.payments()
    assert ("paid", row.reference) == (row.status, paid.id)
    assert 1_000 - 50 * 19 + 2_000 == shop.balance()


def test_the_whole_gap_is_closed_by_one_payment(shop: Shop) -> None:
    """As often the amount as it takes; also out of debt."""
    shop.refill(threshold=3_000, amount=10, has=3_500)
    below(shop, 500)
    shop.work()
    assert [(3_000, 3_500)] == [(row.amount_cents, shop.balance()) for row in shop.refills()]


def test_after_a_refill_the_next_one_rests(shop: Shop) -> None:
    """For the cool-down; then it comes without another charge."""
    shop.refill()
    below(shop)
    shop.work()
    below(shop)
    shop.work()
    assert 1 == len(shop.refills())
    shop.hands.advance("PT61S")
    shop.work()
    assert 2 == len(shop.refills())


@pytest.mark.parametrize("cap", ["day", "month"])
def test_a_cap_refuses_and_says_so(shop: Shop, cap: str) -> None:
    """What the day or the month may cost is spent: the customer is told when the next one comes, and it comes then."""
    shop.refill()
    for _ in range(5 if cap == "month" else 1):
        for _ in range(3):
            below(shop)
            shop.work()
            shop.hands.advance("PT2M")
        if cap == "month":
            shop.hands.advance("P1D")
    if cap == "day":
        below(shop)
        shop.work()
    now = shop.hands.now()
    paid = sum(row.amount_cents for row in shop.refills())
    assert {"day": 6_000, "month": 14_000}[cap] == paid
    expected = day_start(now) + DAY if cap == "day" else add_months(month_start(now), 1)
    shop.spend(1)
    shop.work()
    assert (expected, 1) == (shop.next_charge(), shop.tally.refills.outcomes[f"{cap_name(cap)}"])
    assert [cap_name(cap)] == [each["reason"] for each in shop.told("auto_refill.failed")]
    shop.hands.advance("P1D" if cap == "day" else "P20D")
    for _ in range(2):  # who may have used nothing for days is not charged before the next usage
        shop.spend(1)
        shop.work()
    assert paid + 2_000 <= sum(row.amount_cents for row in shop.refills())


def cap_name(cap: str) -> str:
    """As the economy names it."""
    return {"day": "daily_cap", "month": "monthly_cap"}[cap]


def test_nobody_is_charged_who_uses_nothing(shop: Shop) -> None:
    """Credits that go without usage, and a wish of long ago, charge no card; the next usage does."""
    shop.refill("then_soft")
    below(shop)
    shop.work()
    [declined] = shop.refills()
    assert "failed" == declined.status
    shop.hands.advance("P4D")
    shop.work()
    assert 1 == len(shop.refills())
    shop.spend(1)
    shop.work()
    assert 2 == len(shop.refills())


@pytest.mark.parametrize(
    ("card", "waits"),
    [("insufficient_funds", DAY), ("processing_error", 10 * MINUTE), ("charge_declined", HOUR)],
)
def test_how_long_a_decline_waits(open_shop: Open, card: str, waits: int) -> None:
    """By its kind; a day for an empty account, minutes for a hiccup."""
    shop = open_shop()
    if shop.hands.name == "simulated":
        if card != "insufficient_funds":
            return  # its cards decline later for that only; the rule itself is the core's
        shop.refill("then_soft")
    else:
        shop.refill("good")
        shop.hands.driver.change_card(str(shop.hands.payments() or payer(shop)), card)  # type: ignore[attr-defined]
    now = shop.hands.now()
    below(shop)
    shop.work()
    assert now + waits == shop.next_charge()
    for _ in range(5):
        shop.work()
        shop.spend(1)
    assert 1 == len(shop.refills())
    assert 1 == len(shop.hands.payments())


def payer(shop: Shop) -> str:
    """What the provider knows ann as."""
    from tallystick.store import payments as store

    with shop.tally.database.read() as connection:
        found = store.payer_of(connection, shop.hands.name, shop.customer().customer_id or 0)
    assert found is not None
    return found


def test_repeated_declines_pause(shop: Shop) -> None:
    """After the third; the reason is told, and nothing is tried any more until the customer says so."""
    shop.refill("then_soft")
    below(shop, 60)
    for _ in range(10):
        shop.work()
        shop.hands.advance("P1D")
        shop.spend(1)
    shop.work()
    assert 3 == len(shop.refills())
    assert "declined 3 times in a row" in str(shop.pause())
    assert 3 == shop.tally.refills.outcomes["failed"]
    shop.save_card("good")
    shop.work()
    assert (None, "paid", 4) == (shop.pause(), shop.refills()[-1].status, len(shop.refills()))


@pytest.mark.parametrize(
    ("card", "reason"), [("then_hard", "declined for good"), ("authentication", "confirm")]
)
def test_what_no_later_try_can_change_pauses_at_once(shop: Shop, card: str, reason: str) -> None:
    """After one; a new card ends the pause."""
    shop.refill(card)  # type: ignore[arg-type]
    below(shop)
    for _ in range(5):
        shop.work()
        shop.hands.advance("P1D")
        shop.spend(1)
    assert 1 == len(shop.refills())
    assert reason in str(shop.pause())
    shop.save_card("good")
    shop.work()
    assert (None, "paid") == (shop.pause(), shop.refills()[-1].status)


def test_a_card_that_is_gone_pauses(shop: Shop) -> None:
    """With the reason; another card ends it."""
    row = shop.buy()
    shop.configure(threshold=100, amount=20)
    shop.work()
    shop.hands.detach_card(str(row.reference))
    shop.deliver()
    assert "no card is saved" in str(shop.pause())
    below(shop)
    shop.work()
    assert [] == shop.refills()
    shop.save_card()
    shop.work()
    assert ["paid"] == [each.status for each in shop.refills()]


def test_a_card_whose_end_nobody_told_us_of(shop: Shop) -> None:
    """The refill finds none, and pauses for that."""
    row = shop.buy()
    shop.configure(threshold=100, amount=20)
    shop.work()
    shop.hands.detach_card(str(row.reference))
    shop.lose_events()
    below(shop)
    shop.work(deliver=False)
    assert "no card is saved" in str(shop.pause())


def test_a_deleted_payer_pauses(shop: Shop) -> None:
    """There is nobody to charge any more."""
    row = shop.buy()
    shop.configure(threshold=100, amount=20)
    shop.work()
    shop.hands.delete_payer(str(row.payer))
    shop.deliver()
    below(shop)
    shop.work()
    assert "no card is saved" in str(shop.pause())
    assert 1 == len(shop.hands.payments())


@pytest.mark.parametrize("card", ["then_unknown_done", "then_unknown_lost"])
@pytest.mark.parametrize("told", [True, False])
def test_an_outcome_that_is_not_known_is_asked_for(shop: Shop, card: str, *, told: bool) -> None:
    """It is never charged again: neither by further charges, nor by another process, nor when the event comes."""
    shop.refill(card)  # type: ignore[arg-type]
    below(shop)
    shop.tally.works[0].run_once()
    shop.tally.refills.run_once()
    assert ["unknown"] == [row.status for row in shop.refills()]
    shop.spend(1)
    if not told:
        shop.lose_events()
    shop.restart()
    shop.work(deliver=told)
    for _ in range(3):
        shop.hands.advance("PT1M")
        shop.work(deliver=told)
    [row] = shop.refills()
    [paid] = shop.hands.payments()
    assert ("paid", paid.id, 2_049) == (row.status, row.reference, shop.balance())
    assert 1 == shop.tally.refills.outcomes["succeeded"]


def test_a_request_that_never_arrived_within_a_day(shop: Shop) -> None:
    """Its key is forgotten by then: it has failed, nothing is charged, and another one may follow later."""
    shop.refill("then_unknown_lost")
    below(shop)
    shop.tally.works[0].run_once()
    shop.tally.refills.run_once()
    shop.hands.advance("P1DT1H")
    shop.work()
    first = shop.refills()[0]
    assert ("failed", "never_arrived", None) == (first.status, first.failure, shop.pause())
    shop.hands.advance("PT2H")
    if shop.hands.name == "simulated":  # its card loses the first request of each refill
        return
    shop.work()
    assert ["failed", "paid"] == [row.status for row in shop.refills()]
    assert 1 == len(shop.hands.payments())


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("told", [True, False])
def test_a_crash_in_the_middle_of_a_refill(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, after: bool, told: bool
) -> None:
    """Another process ends it: one payment, whether it was made or not."""
    shop.refill()
    below(shop)
    shop.tally.works[0].run_once()
    with monkeypatch.context() as patch:
        broken = Broken(shop.tally.payment_provider, "charge_card", after=after)
        patch.setattr(shop.tally.refills, "_provider", broken)
        with pytest.raises(Crash):
            shop.tally.refills.begin(shop.customer().customer_id or 0)
    shop.restart()
    if not told:
        shop.lose_events()
    shop.hands.advance("PT3M")
    shop.work(deliver=told)
    assert ["paid"] == [row.status for row in shop.refills()]
    assert (1, 2_050) == (len(shop.hands.payments()), shop.balance())


def test_a_charge_never_waits_for_a_refill(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider hangs; charges, balances and the ledger's own due work go on."""
    shop.refill()
    below(shop)
    hangs, asked = threading.Event(), threading.Event()
    real = shop.tally.payment_provider.charge_card

    def hanging(*arguments: object, **named: object) -> object:
        asked.set()
        assert hangs.wait(30)
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(shop.tally.payment_provider, "charge_card", hanging)
    shop.tally.works[0].run_once()
    thread = threading.Thread(target=shop.tally.refills.run_once)
    thread.start()
    try:
        assert asked.wait(10)
        for _ in range(20):
            shop.spend(1)
        shop.tally.works[0].run_once()
        assert 30 == shop.balance()
        assert ["new"] == [row.status for row in shop.refills()]
    finally:
        hangs.set()
        thread.join()
    assert (2_030, ["paid"]) == (shop.balance(), [row.status for row in shop.refills()])


def test_a_frozen_wallet_is_not_refilled(open_shop: Open) -> None:
    """Nobody charges the card of somebody who disputes a payment; after the thaw it goes on."""
    shop = open_shop(freeze=True)
    shop.refill(has=100)
    row = shop.buy(10)
    below(shop, 90)
    shop.hands.dispute(str(row.reference))
    shop.deliver()
    shop.configure(threshold=100, amount=20)
    shop.work()
    assert (True, []) == (shop.frozen(), shop.refills())
    shop.hands.decide(str(row.reference), won=False)
    shop.deliver()
    shop.work()
    shop.configure(threshold=100, amount=20)
    shop.work()
    assert ["paid"] == [each.status for each in shop.refills()]


def test_refills_that_are_off(shop: Shop) -> None:
    """Nothing is charged."""
    shop.refill()
    shop.configure(enabled=False)
    below(shop)
    shop.work()
    assert [] == shop.refills()


def test_a_refill_that_is_not_what_was_ordered(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not credited, further ones are paused, and the operator is told."""
    shop.refill()
    below(shop)
    shop.tally.works[0].run_once()
    with monkeypatch.context() as patch:
        patch.setattr(
            shop.tally.refills, "_provider", Broken(shop.tally.payment_provider, "charge_card", after=True)
        )
        with pytest.raises(Crash):
            shop.tally.refills.begin(shop.customer().customer_id or 0)
    [paid] = shop.hands.payments()
    shop.hands.change(paid.id, amount_cents=1_999)
    shop.deliver()
    assert (["mismatch"], 50) == ([row.status for row in shop.refills()], shop.balance())
    assert "not what was ordered" in str(shop.pause())
    assert ["order and payment"] == [each.what for each in shop.reconcile().differences]


def test_one_customer_that_fails_does_not_hold_up_the_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with it."""
    for name in ("ann", "bob"):
        shop.refill(customer=name)
    for name in ("ann", "bob"):
        below(shop, customer=name)
    shop.tally.works[0].run_once()
    real, ann = shop.tally.refills.charge, shop.customer().customer_id

    def charge(row: object) -> None:
        if row.customer_id == ann:  # type: ignore[attr-defined]
            raise Crash
        real(row)  # type: ignore[arg-type]

    monkeypatch.setattr(shop.tally.refills, "charge", charge)
    shop.tally.refills.run_once()
    assert (["new"], ["paid"]) == (
        [row.status for row in shop.refills("ann")],
        [row.status for row in shop.refills("bob")],
    )
    monkeypatch.undo()
    shop.hands.advance("PT3M")
    shop.work()
    assert ["paid"] == [row.status for row in shop.refills("ann")]
